//! `dropwatch locate`: where in the source frames of lines are.

mod words;

use std::{io, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use rustc_hash::FxHashSet;

use self::words::{Place, Word};
use crate::{
    cli::{LocateArgs, PlaceFormat},
    enrich::symbol::{HIDDEN_REMEDY, KALLSYMS, MODULES, Symbols},
    format,
    groups::hash,
    output::{Quoted, Reader, print},
    source::{self, BuildId, Located, Sources, frame::Frame},
    stdin::{INPUT, each_line},
};

/// Columns for frames at most; longer ones move what is behind them.
const FRAMES: usize = 100;

/// Most stacks that are remembered as shown, and most reasons as told.
const MAX_SEEN: usize = 1 << 16;

/// What `dropwatch locate` was asked to do, validated.
pub struct Locate {
    finder: Finder,
    /// The arguments.
    what: Vec<String>,
    /// Stacks that were shown, by hash.
    seen: FxHashSet<u64>,
}

/// Finds places.
struct Finder {
    sources: Sources,
    /// Names of addresses; read when the first one is asked for.
    symbols: Option<Symbols>,
    format: PlaceFormat,
    /// Why there were frames without a place: each reason is told once.
    told: FxHashSet<String>,
    found_any: bool,
}

impl Locate {
    /// Looks at the arguments, and for the kernel's debug file.
    ///
    /// # Errors
    /// An argument is nothing that can be located, or the kernel's build id can't be read.
    pub fn new(args: &LocateArgs) -> Result<Self> {
        let build_id = args.build_id.as_deref().map(parse_build_id).transpose()?;
        for argument in args.what.iter().filter(|argument| *argument != INPUT) {
            ensure!(
                !words::of_argument(argument).is_empty(),
                "{} is neither a function, as udp_rcv+0x4bc or nft_do_chain+0x3e8[nf_tables], nor \
                 an address, nor a line with such",
                Quoted(argument)
            );
        }
        let sources = Sources::new(&source::Options {
            vmlinux: args.source.vmlinux.clone(),
            build_id,
            debuginfod: args.source.debuginfod,
        })?;
        match sources.vmlinux() {
            Ok(path) => log::info!("the kernel's debug file is {}", path.display()),
            Err(error) => log::info!("{error:#}"),
        }
        Ok(Self {
            finder: Finder {
                sources,
                symbols: None,
                format: args.output,
                told: FxHashSet::default(),
                found_any: false,
            },
            what: args.what.clone(),
            seen: FxHashSet::default(),
        })
    }

    /// Prints the places of the arguments and of the input's lines, as they come. False if there
    /// was none.
    ///
    /// # Errors
    /// Standard input or output can't be used, or the input held no frames.
    pub fn run(mut self) -> Result<bool> {
        for argument in std::mem::take(&mut self.what) {
            let reader = match argument.as_str() {
                INPUT => self.read_input()?,
                argument => self.show(&words::of_argument(argument))?,
            };
            if reader == Reader::Gone {
                return Ok(true);
            }
        }
        Ok(self.finder.found_any)
    }

    fn read_input(&mut self) -> Result<Reader> {
        let wanted = "has a function with an offset";
        each_line(io::stdin().lock(), wanted, |line| {
            let places = words::of_line(line);
            let shown = (!places.is_empty()).then(|| self.show(&places));
            shown.transpose()
        })
    }

    /// Shows places that belong together, unless they were shown before.
    fn show(&mut self, places: &[Place<'_>]) -> Result<Reader> {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let texts: Vec<&str> = places.iter().map(|place| place.text).collect();
        let is_first = self.seen.is_empty();
        if places.is_empty() || !self.seen.insert(hash(&texts)) {
            return Ok(Reader::Present);
        }
        let mut output = Vec::new();
        if places.len() > 1 && !is_first && self.finder.format == PlaceFormat::Text {
            output.push(b'\n');
        }
        let width = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let width = width.min(FRAMES);
        for place in places {
            let found = self.finder.find(&place.word);
            match self.finder.format {
                PlaceFormat::Text => {
                    format::write_places(place.text, found.as_ref(), width, &mut output);
                }
                PlaceFormat::Json => {
                    format::write_places_json(place.text, found.as_ref(), &mut output);
                }
            }
        }
        print(&output)
    }
}

impl Finder {
    /// Says why there is none where there is none.
    fn find(&mut self, word: &Word<'_>) -> Option<Located> {
        match self.locate(word) {
            Ok(located) => {
                self.found_any = true;
                Some(located)
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.told.len() < MAX_SEEN && !self.told.contains(&error) {
                    log::warn!("{error}");
                    self.told.insert(error);
                }
                None
            }
        }
    }

    fn locate(&mut self, word: &Word<'_>) -> Result<Located> {
        let address = match word {
            Word::Frame(frame) => return self.sources.locate(frame),
            Word::Address(address) => *address,
        };
        let symbols = match &self.symbols {
            Some(symbols) => symbols,
            None => {
                let loaded = Symbols::load(Path::new(KALLSYMS), Path::new(MODULES))?;
                self.symbols.insert(loaded)
            }
        };
        ensure!(
            !symbols.hidden(),
            "addresses need the kernel's symbols: {HIDDEN_REMEDY}; or give functions"
        );
        let Some(symbol) = symbols.lookup_return(address) else {
            bail!("no function of the running kernel is at {address:#x}");
        };
        self.sources.locate(&Frame {
            function: symbol.name,
            offset: symbol.offset,
            size: None,
            module: symbol.module,
        })
    }
}

fn parse_build_id(text: &str) -> Result<BuildId> {
    BuildId::parse(text).with_context(|| {
        format!(
            "--build-id takes hexadecimal digits, as file(1) shows them, not {}",
            Quoted(text)
        )
    })
}
