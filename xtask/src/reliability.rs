//! What runs write into docs/reliability.md, between `<!-- begin NAME -->` and `<!-- end NAME -->`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Puts `text` into the section `name`, in place of what an earlier run wrote.
pub(crate) fn replace(name: &str, text: &str) -> Result<()> {
    edit(name, |_| text.to_owned())
}

/// Puts `rows` into the table of the section `name`: in place of rows with the same first two cells,
/// or behind the others.
pub(crate) fn merge_rows(name: &str, rows: &[String]) -> Result<()> {
    edit(name, |table| merged(table, rows))
}

fn edit(name: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let changed = edited(&text, name, change)
        .with_context(|| format!("{} has no section {name}", path.display()))?;
    fs::write(&path, changed).with_context(|| format!("writing {}", path.display()))
}

fn path() -> PathBuf {
    workspace::root().join("docs/reliability.md")
}

fn edited(text: &str, name: &str, change: impl FnOnce(&str) -> String) -> Option<String> {
    let (before, rest) = text.split_once(&format!("<!-- begin {name} -->\n"))?;
    let end = format!("<!-- end {name} -->");
    let (inside, after) = rest.split_once(&end)?;
    let changed = change(inside.trim());
    Some(format!(
        "{before}<!-- begin {name} -->\n\n{}\n\n{end}{after}",
        changed.trim()
    ))
}

fn merged(table: &str, rows: &[String]) -> String {
    let key = |row: &str| -> Vec<String> {
        let cells = row.split('|').skip(1).take(2);
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let is_new = |line: &&str| rows.iter().all(|row| key(row) != key(line));
    let mut lines: Vec<&str> = table.lines().filter(is_new).collect();
    lines.extend(rows.iter().map(String::as_str));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\n<!-- begin x -->\n\n| k | c | n |\n|---|---|---|\n| 1 | 2 | old |\n| 3 | 4 | old |\n\n<!-- end x -->\nb\n";

    #[test]
    fn sections_are_replaced() {
        let changed = edited(TEXT, "x", |_| "new\n".to_owned());
        let expected = "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n";
        assert_eq!(changed.as_deref(), Some(expected));
        assert_eq!(edited(TEXT, "y", str::to_owned), None);
    }

    #[test]
    fn rows_of_the_same_machine_are_replaced() {
        let rows = ["| 1 | 2 | new |", "| 1 | 4 | new |"].map(str::to_owned);
        let changed = edited(TEXT, "x", |table| merged(table, &rows)).unwrap();
        let lines: Vec<&str> = changed.lines().skip(5).take(3).collect();
        assert_eq!(
            lines,
            ["| 3 | 4 | old |", "| 1 | 2 | new |", "| 1 | 4 | new |"]
        );
    }
}
