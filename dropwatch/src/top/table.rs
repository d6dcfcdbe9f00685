//! The table of groups: which columns there is room for, and its lines.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    app::App,
    level::{Row, STEPS},
    units::{Cut, count, fit, share, short, sparkline},
    view::{Column, Sort},
};
use crate::groups::{Counts, Dimension, Groups};

/// Space between columns.
const GAP: usize = 1;

/// Columns that the values of `dimension` get, if there are as many, before numbers take them: what
/// most of them need.
fn usual_width(dimension: Dimension) -> usize {
    match dimension {
        Dimension::Dport => 5,
        Dimension::Proto => 7,
        Dimension::If | Dimension::Class => 10,
        Dimension::Saddr | Dimension::Daddr | Dimension::Comm | Dimension::Netns => 15,
        Dimension::Reason | Dimension::Owner | Dimension::Container => 24,
        Dimension::At => 42,
        Dimension::Stack => 60,
    }
}

/// A column in front of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Rank,
    Rate(Column),
    Total,
    Share,
    Minute,
}

/// All of them in their order.
const FIELDS: [Field; 7] = [
    Field::Rank,
    Field::Rate(Column::Drops),
    Field::Rate(Column::Packets),
    Field::Rate(Column::Bytes),
    Field::Total,
    Field::Share,
    Field::Minute,
];

/// The one that goes first where there is no room for all.
const DISPENSABLE: [Field; 7] = [
    Field::Rank,
    Field::Rate(Column::Packets),
    Field::Rate(Column::Bytes),
    Field::Share,
    Field::Minute,
    Field::Total,
    Field::Rate(Column::Drops),
];

impl Field {
    fn width(self) -> usize {
        match self {
            Self::Rank => 6,
            Self::Rate(Column::Packets) => 10,
            Self::Rate(_) => 8,
            Self::Total => 9,
            Self::Share => 5,
            Self::Minute => STEPS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rank => "#",
            Self::Rate(Column::Packets) => "PACKETS/S",
            Self::Rate(Column::Bytes) => "BYTES/S",
            Self::Rate(_) => "DROPS/S",
            Self::Total => "TOTAL",
            Self::Share => "SHARE",
            Self::Minute => "LAST MINUTE",
        }
    }

    fn column(self) -> Option<Column> {
        match self {
            Self::Rate(column) => Some(column),
            Self::Total => Some(Column::Total),
            Self::Rank | Self::Share | Self::Minute => None,
        }
    }
}

/// The table as it is drawn on a screen of some width.
pub(super) struct Table<'a> {
    app: &'a App,
    groups: &'a Groups,
    fields: Vec<Field>,
    columns: Vec<Dimension>,
    /// Of the value columns.
    widths: Vec<usize>,
    /// Drops of all rows, of which a row has a share.
    whole: u64,
}

impl<'a> Table<'a> {
    pub(super) fn new(app: &'a App, groups: &'a Groups, width: usize) -> Self {
        let columns = app.columns();
        let usual = columns.iter().map(|column| usual_width(*column) + GAP);
        let needed: usize = usual.sum();
        let mut fields = FIELDS.to_vec();
        let taken = |fields: &[Field]| {
            fields
                .iter()
                .map(|field| field.width() + GAP)
                .sum::<usize>()
        };
        for field in DISPENSABLE {
            let narrow = needed.min(width / 2);
            if taken(&fields) + narrow > width {
                fields.retain(|kept| *kept != field);
            }
        }
        let room = width.saturating_sub(taken(&fields));
        let totals = app.shown.rows.iter().map(|row| row.total);
        let whole = totals.fold(0, u64::saturating_add);
        let mut table = Self {
            app,
            groups,
            fields,
            columns,
            widths: Vec::new(),
            whole,
        };
        table.widths = shrink(table.natural_widths(), room);
        table
    }

    /// The header and the rows in the window; and the widths that the value columns would like.
    pub(super) fn lines(&self) -> (Vec<Line<'static>>, [u16; 4]) {
        let app = self.app;
        let mut lines = vec![self.header()];
        for (number, row) in self.rows() {
            let line = self.row(number, row);
            lines.push(if number == app.window.cursor {
                // One colour: the row's own would not be readable on it.
                let text: String = line
                    .spans
                    .iter()
                    .map(|span| span.content.as_ref())
                    .collect();
                Line::styled(text, app.theme().selected())
            } else {
                line
            });
        }
        if app.shown.order.is_empty() {
            let why = if app.level.filter.is_empty() {
                "no drops yet"
            } else {
                "nothing matches the filter"
            };
            lines.push(Line::styled(why, app.theme().dim()));
        }
        let mut widths = app.level.widths;
        for (width, natural) in widths.iter_mut().zip(self.natural_widths()) {
            *width = u16::try_from(natural).unwrap_or(u16::MAX);
        }
        (lines, widths)
    }

    /// The rows in the window, with their numbers from 0.
    fn rows(&self) -> impl Iterator<Item = (usize, &'a Row)> {
        let app = self.app;
        let numbered = app.shown.order.iter().enumerate();
        let window = numbered.skip(app.window.offset).take(app.height);
        window.filter_map(|(number, row)| Some((number, app.shown.rows.get(*row as usize)?)))
    }

    /// The widest that the values and names of the columns have been.
    fn natural_widths(&self) -> Vec<usize> {
        let app = self.app;
        let names = self.columns.iter().zip(app.level.widths);
        let mut widths: Vec<usize> = names
            .map(|(column, known)| usize::from(known).max(column.name().len() + GAP))
            .collect();
        for (_, row) in self.rows() {
            for (width, id) in widths.iter_mut().zip(row.key) {
                *width = (*width).max(self.groups.text(id).chars().count());
            }
        }
        widths
    }

    fn header(&self) -> Line<'static> {
        let theme = self.app.theme();
        let Sort { column, descending } = self.app.level.sort;
        let arrow = if descending { "▼" } else { "▲" };
        let mark = |of: Option<Column>| if of == Some(column) { arrow } else { "" };
        let mut text = String::new();
        for field in &self.fields {
            let width = field.width();
            let name = format!("{}{}", mark(field.column()), field.name());
            if *field == Field::Minute {
                text.push_str(&format!("{name:<width$} "));
            } else {
                text.push_str(&format!("{name:>width$} "));
            }
        }
        let columns = self.columns.iter().zip(&self.widths).enumerate();
        for (number, (dimension, width)) in columns {
            let name = dimension.name().to_uppercase();
            let name = format!("{name}{}", mark(Some(Column::Value(number))));
            // The mark is no ASCII, but one column wide all the same.
            text.push_str(&name.chars().take(*width).collect::<String>());
            text.push_str(&" ".repeat(width.saturating_sub(name.chars().count()) + GAP));
        }
        Line::styled(text, theme.header())
    }

    fn row(&self, number: usize, row: &Row) -> Line<'static> {
        let app = self.app;
        let theme = app.theme();
        let mut spans = Vec::new();
        for field in &self.fields {
            let width = field.width();
            let (text, style) = match field {
                Field::Rank => ((number + 1).to_string(), theme.dim()),
                Field::Rate(column) => {
                    let rate = self.rate(row.recent, *column);
                    let style = if rate > 0.0 {
                        theme.strong()
                    } else {
                        theme.dim()
                    };
                    (short(rate), style)
                }
                Field::Total => (count(row.total), Style::new()),
                Field::Share => (share(row.total, self.whole), theme.dim()),
                Field::Minute => {
                    let rates = app.shown.history.rates(&row.key);
                    (sparkline(&rates), theme.spark())
                }
            };
            spans.push(Span::styled(format!("{text:>width$} "), style));
        }
        let values = self.columns.iter().zip(&self.widths).zip(row.key);
        for ((dimension, width), id) in values {
            let cut = match dimension {
                Dimension::At => Cut::Middle,
                _ => Cut::End,
            };
            let text = fit(self.groups.text(id), *width, cut);
            spans.push(Span::raw(format!("{text:<width$} ")));
        }
        Line::from(spans)
    }

    fn rate(&self, recent: Counts, column: Column) -> f64 {
        let number = match column {
            Column::Packets => recent.packets,
            Column::Bytes => recent.bytes,
            _ => recent.drops,
        };
        let seconds = self.app.shown.summary.interval.as_secs_f64();
        if seconds > 0.0 {
            number as f64 / seconds
        } else {
            0.0
        }
    }
}

/// Takes from the widest columns until all fit into `room`; the last one gets what is left.
fn shrink(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    let room = room.saturating_sub(widths.len().saturating_sub(1) * GAP);
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 0 => *widest -= 1,
            _ => break,
        }
    }
    let taken: usize = widths.iter().sum();
    if let Some(last) = widths.last_mut() {
        *last += room.saturating_sub(taken);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_give_way() {
        assert_eq!(shrink(vec![3, 20, 30, 5], 43), [3, 16, 16, 5]);
        assert_eq!(shrink(vec![5], 20), [20]);
        assert_eq!(shrink(vec![5, 5], 0), [0, 0]);
        assert_eq!(shrink(Vec::new(), 7), Vec::<usize>::new());
    }
}
