//! Text in a frame over the table.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Rect},
    text::{Line, Span},
    widgets::{Block, Clear, Widget as _},
};

use super::{render::draw_lines, theme::Theme, units::plain};

/// Columns of text that a frame has room for.
pub(super) fn text_width(area: Rect) -> usize {
    usize::from(area.width.saturating_sub(4))
}

/// Draws `lines` from number `scroll` on, and returns the number of the first one that was drawn.
pub(super) fn draw(
    area: Rect,
    buffer: &mut Buffer,
    title: &str,
    lines: Vec<Line<'_>>,
    scroll: usize,
    theme: Theme,
) -> usize {
    let width = lines.iter().map(Line::width).max().unwrap_or(0);
    let frame = area.centered(
        Constraint::Length(u16::try_from(width + 4).unwrap_or(u16::MAX)),
        Constraint::Length(u16::try_from(lines.len() + 2).unwrap_or(u16::MAX)),
    );
    Clear.render(frame, buffer);
    let block = Block::bordered()
        .title(Span::styled(title.to_owned(), theme.strong()))
        .border_style(theme.accent());
    let mut inside = block.inner(frame);
    block.render(frame, buffer);
    inside.x += inside.width.min(1);
    inside.width = inside.width.saturating_sub(2);
    let height = usize::from(inside.height);
    let scroll = scroll.min(lines.len().saturating_sub(height));
    draw_lines(inside, buffer, lines.into_iter().skip(scroll).collect());
    scroll
}

/// The line of a packet with each token and each caller in a line of its own.
pub(super) fn packet(line: &str, width: usize, theme: Theme) -> Vec<Line<'static>> {
    const NAME: usize = 10;
    let line = plain(line);
    let mut columns = Vec::new();
    let mut tokens = Vec::new();
    for word in line.split(' ') {
        match word.split_once('=') {
            Some((name, value)) => tokens.push((name, value)),
            None => columns.push(word),
        }
    }
    let value_width = width.saturating_sub(NAME).max(1);
    let mut lines: Vec<Line<'static>> = wrapped(&columns.join(" "), width)
        .map(|part| Line::styled(part, theme.strong()))
        .collect();
    for (name, value) in tokens {
        let values: Vec<_> = match name {
            "stack" => value.split(',').collect(),
            _ => vec![value],
        };
        let parts = values
            .into_iter()
            .flat_map(|value| wrapped(value, value_width));
        for (number, part) in parts.enumerate() {
            let name = if number == 0 { name } else { "" };
            let name = Span::styled(format!("{name:<NAME$}"), theme.accent());
            lines.push(Line::from(vec![name, Span::raw(part)]));
        }
    }
    lines
}

/// A plain text in pieces of `width` columns.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = chars
        .chunks(width.max(1))
        .map(|piece| piece.iter().collect())
        .collect();
    pieces.into_iter()
}
