//! Color on terminals: the terminal's own sixteen, and few of them.

use std::{fmt, io};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::classify::Class;

/// Whether standard output takes color: what `--color` says or, left to itself, if it is a
/// terminal that has color, and `NO_COLOR` is not set.
#[must_use]
pub fn is_wanted() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Makes the choice of `--color` that of the process, diagnostics included.
pub fn choose(choice: clap::ColorChoice) {
    match choice {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    }
    .write_global();
}

/// How things look.
#[derive(Clone, Copy)]
pub(crate) struct Palette {
    is_on: bool,
}

impl Palette {
    /// No color at all unless `is_on`.
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// A loss stands out, what belongs to every day stands back.
    pub(crate) fn class(self, class: Class) -> Paint {
        match class {
            Class::Drop => self.bad(),
            Class::Refused => self.middling(),
            Class::Teardown | Class::Expected => self.paint(Style::new().dimmed()),
        }
    }

    /// All is well.
    pub(crate) fn good(self) -> Paint {
        self.paint(AnsiColor::Green.on_default())
    }

    /// To be looked at, if there is time.
    pub(crate) fn middling(self) -> Paint {
        self.paint(AnsiColor::Yellow.on_default())
    }

    /// To be looked at.
    pub(crate) fn bad(self) -> Paint {
        self.paint(AnsiColor::Red.on_default().bold())
    }

    fn paint(self, style: Style) -> Paint {
        Paint(if self.is_on { style } else { Style::new() })
    }
}

/// A style, that of plain text where there is no color.
#[derive(Clone, Copy)]
pub(crate) struct Paint(Style);

impl Paint {
    /// `text` in this style.
    pub(crate) fn on<T: fmt::Display>(self, text: T) -> impl fmt::Display {
        let Self(style) = self;
        fmt::from_fn(move |to| write!(to, "{style}{text}{style:#}"))
    }

    /// Appends `word` in this style, and returns how many bytes of that take no column.
    pub(crate) fn write(self, word: &str, line: &mut Vec<u8>) -> usize {
        if self.0.is_plain() {
            line.extend_from_slice(word.as_bytes());
            return 0;
        }
        let text = self.on(word).to_string();
        line.extend_from_slice(text.as_bytes());
        text.len() - word.len()
    }
}
