//! Manual pages, one for each command.

use std::{io::Write as _, path::Path};

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;

/// Writes the page of `command` and those of its subcommands into `folder`, with the release's
/// date, as `2026-11-27`.
pub(crate) fn write(mut command: Command, date: &str, folder: &Path) -> Result<()> {
    // Gives subcommands their full names, by which their pages are called.
    command.build();
    let main = command.get_name().to_owned();
    write_pages(&command, &main, date, folder)
}

fn write_pages(command: &Command, main: &str, date: &str, folder: &Path) -> Result<()> {
    let shown = |it: &&Command| !it.is_hide_set() && it.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
        write_pages(subcommand, main, date, folder)?;
    }
    let page = page(command, main, date)?;
    crate::write(&folder.join(file_name(command)), page)
}

/// As `dropwatch-summary.1`.
fn file_name(command: &Command) -> String {
    Man::new(command.clone()).get_filename()
}

fn page(command: &Command, main: &str, date: &str) -> Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .date(date)
        .source(format!("{main} {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        // Examples and tables: their lines have to stay as they are.
        writeln!(page, ".SH NOTES\n.nf\n{}\n.fi", as_is(&text.to_string()))?;
    }
    Ok(page)
}

/// Text that troff prints as it stands.
fn as_is(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', r"\e").replace('-', r"\-");
        match line.chars().next() {
            Some('.' | '\'') => format!(r"\&{line}"),
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use dropwatch::cli::Cli;

    use super::*;

    #[test]
    fn lines_are_no_requests() {
        assert_eq!(
            as_is(".so x\n'a\\b\n--by x"),
            "\\&.so x\n\\&'a\\eb\n\\-\\-by x"
        );
    }

    #[test]
    fn every_command_has_a_page_with_its_flags_and_examples() {
        let folder = tempfile::tempdir().unwrap();
        write(Cli::command(), "2026-11-27", folder.path()).unwrap();
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let pages = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(pages, 1 + Cli::command().get_subcommands().count());
        assert!(read("dropwatch.1").contains(r"\-\-comm curl"));
        assert!(read("dropwatch-summary.1").contains(r"\-\-max\-groups"));
    }
}
