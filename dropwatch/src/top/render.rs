//! Draws the view, on whatever room there is.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::{
    app::{App, Mode, Overlay},
    help,
    level::Grouping,
    overlay,
    table::Table,
    theme::Theme,
    units::{Cut, clock, count, fit, plain, short},
};

use crate::groups::Groups;

/// Lines that the table and its header get before anything else is shown.
const TABLE_FIRST: u16 = 4;

impl App {
    /// Draws everything; `groups` as of the last [`App::update`].
    pub fn render(&mut self, groups: &Groups, frame: &mut Frame<'_>) {
        let area = frame.area();
        self.draw(groups, area, frame.buffer_mut());
    }

    fn draw(&mut self, groups: &Groups, area: Rect, buffer: &mut Buffer) {
        let theme = self.theme();
        let mut page = Page { area, buffer };
        for line in self.head(usize::from(area.width), area.height) {
            page.top(line);
        }
        // A filter that is being typed is seen even where there is room for nothing else.
        if area.height >= TABLE_FIRST || self.mode == Mode::Filter {
            page.bottom(self.foot(theme));
        }
        let body = page.area;
        self.height = usize::from(body.height.saturating_sub(1));
        self.window = self.window.fitted(self.height, self.len());
        if self.level.grouping == Grouping::Packets {
            self.draw_lines(body, buffer);
        } else {
            let table = Table::new(self, groups, usize::from(body.width));
            let (lines, widths) = table.lines();
            draw_lines(body, buffer, lines);
            self.level.widths = widths;
        }
        self.draw_overlay(area, buffer);
    }

    pub(super) fn theme(&self) -> Theme {
        Theme {
            color: self.options.color,
        }
    }

    /// The lines above the table that fit, the least important left out first.
    fn head(&self, width: usize, height: u16) -> Vec<Line<'static>> {
        let theme = self.theme();
        let mut lines = vec![
            (1, self.title(theme, width)),
            (0, self.rates(theme)),
            (3, self.account(theme)),
        ];
        if !self.options.filters.is_empty() {
            let filters = plain(&self.options.filters).into_owned();
            let label = Span::styled("filters ", theme.dim());
            lines.push((5, Line::from(vec![label, Span::raw(filters)])));
        }
        lines.push((6, Line::default()));
        lines.push((4, self.choices(theme)));
        lines.push((2, self.path(theme, width)));
        let room = usize::from(height.saturating_sub(TABLE_FIRST));
        while lines.len() > room {
            let least = lines.iter().map(|(rank, _)| *rank).max();
            lines.retain(|(rank, _)| Some(*rank) != least);
        }
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn title(&self, theme: Theme, width: usize) -> Line<'static> {
        let options = &self.options;
        let summary = &self.shown.summary;
        let uptime = clock(summary.at.saturating_duration_since(options.started));
        let title = "dropwatch top";
        let facts = format!(
            "   {}   Linux {}   up {uptime}   every {}",
            plain(&options.host),
            plain(&options.kernel),
            every(options.interval.as_secs_f64()),
        );
        let mut spans = vec![Span::styled(title, theme.strong())];
        if self.paused {
            let mark = " PAUSED ";
            let room = width.saturating_sub(title.len() + mark.len() + 1);
            let facts = fit(&facts, room, Cut::End).into_owned();
            spans.push(Span::styled(format!("{facts:<room$} "), theme.dim()));
            spans.push(Span::styled(mark, theme.paused()));
        } else {
            spans.push(Span::styled(facts, theme.dim()));
        }
        Line::from(spans)
    }

    fn rates(&self, theme: Theme) -> Line<'static> {
        let summary = &self.shown.summary;
        let seconds = summary.interval.as_secs_f64();
        let rate = |number: u64| {
            let rate = if seconds > 0.0 {
                number as f64 / seconds
            } else {
                0.0
            };
            Span::styled(format!("{:>6}", short(rate)), theme.strong())
        };
        let mut spans = vec![
            rate(summary.recent.drops),
            Span::styled(" drops/s", theme.dim()),
            rate(summary.recent.packets),
            Span::styled(" packets/s", theme.dim()),
            rate(summary.recent.bytes),
            Span::styled(" bytes/s", theme.dim()),
            Span::styled(
                format!("{:>11}", count(summary.total.drops)),
                theme.strong(),
            ),
            Span::styled(" drops in all", theme.dim()),
        ];
        if summary.other.drops > 0 {
            let other = format!(
                "   {} of them in no row: too many",
                count(summary.other.drops)
            );
            spans.push(Span::styled(other, theme.alert()));
        }
        Line::from(spans)
    }

    /// The account, with what was lost in a colour of its own.
    fn account(&self, theme: Theme) -> Line<'static> {
        let account = plain(&self.shown.summary.account);
        let mut spans = Vec::new();
        for (number, part) in account.split(" + ").enumerate() {
            if number > 0 {
                spans.push(Span::styled(" + ", theme.dim()));
            }
            let is_loss = part.ends_with(" lost") && !part.starts_with("0 ");
            let style = if is_loss { theme.alert() } else { theme.dim() };
            spans.push(Span::styled(part.to_owned(), style));
        }
        Line::from(spans)
    }

    /// What can be grouped by.
    fn choices(&self, theme: Theme) -> Line<'static> {
        let by = &self.by;
        let mut spans = Vec::new();
        for (number, choice) in Grouping::choices(by).into_iter().enumerate() {
            let is_here = choice == self.level.grouping;
            let (key, name) = if is_here {
                (theme.chosen(), theme.chosen())
            } else if choice.is_settled(by, &self.level.scope) {
                (theme.dim(), theme.dim())
            } else {
                (theme.accent(), Style::new())
            };
            // There are keys for nine.
            let digit = if number < 9 {
                format!("{} ", number + 1)
            } else {
                String::new()
            };
            spans.push(Span::styled(digit, key));
            spans.push(Span::styled(choice.name(), name));
            spans.push(Span::raw("  "));
        }
        Line::from(spans)
    }

    /// The way down to here, and the filter.
    fn path(&self, theme: Theme, width: usize) -> Line<'static> {
        let mut path = "all".to_owned();
        let levels = self.above.iter().skip(1).chain([&self.level]);
        for level in levels {
            let added = level.scope.0.iter().skip(level.inherited);
            let added: Vec<_> = added.collect();
            match added.as_slice() {
                [] => {}
                [(dimension, value)] => path.push_str(&format!(" > {} {value}", dimension.name())),
                flow => {
                    path.push_str(" > flow");
                    flow.iter()
                        .for_each(|(_, value)| path.push_str(&format!(" {value}")));
                }
            }
        }
        let filter = &self.level.filter;
        let filter = if filter.is_empty() || self.mode == Mode::Filter {
            String::new()
        } else {
            format!("   /{filter}")
        };
        let room = width.saturating_sub(filter.len());
        Line::from(vec![
            Span::styled(fit(&path, room, Cut::Start).into_owned(), theme.strong()),
            Span::styled(filter, theme.accent()),
        ])
    }

    fn foot(&self, theme: Theme) -> Line<'static> {
        if self.mode == Mode::Filter {
            return Line::from(vec![
                Span::styled("filter: ", theme.accent()),
                Span::raw(self.level.filter.clone()),
                Span::styled(" ", theme.selected()),
                Span::styled(
                    format!("  {} match   Enter keeps it, Esc clears it", self.len()),
                    theme.dim(),
                ),
            ]);
        }
        let keys = [
            ("?", "help"),
            ("q", "quit"),
            ("Enter", "open"),
            ("Esc", "back"),
            ("/", "filter"),
            ("s", "sort"),
            ("r", "reverse"),
            ("space", if self.paused { "go on" } else { "pause" }),
            ("Tab", "group by"),
        ];
        let mut spans = Vec::new();
        for (key, meaning) in keys {
            spans.push(Span::styled(key, theme.accent()));
            spans.push(Span::styled(format!(" {meaning}  "), theme.dim()));
        }
        Line::from(spans)
    }

    fn draw_lines(&self, body: Rect, buffer: &mut Buffer) {
        let theme = self.theme();
        let width = usize::from(body.width);
        let header = format!("{:<width$}", "LAST PACKETS, THE NEWEST FIRST");
        let header = fit(&header, width, Cut::End).into_owned();
        let mut lines = vec![Line::styled(header, theme.header())];
        let rows = self.window.offset..self.window.offset + self.height;
        for number in rows {
            let Some(line) = self.shown.lines.get(number) else {
                break;
            };
            let text = fit(line, width, Cut::End);
            let line = Line::raw(format!("{text:<width$}"));
            lines.push(if number == self.window.cursor {
                line.style(theme.selected())
            } else {
                line
            });
        }
        if self.shown.lines.len() == 0 {
            lines.push(Line::styled("none yet", theme.dim()));
        }
        draw_lines(body, buffer, lines);
    }

    fn draw_overlay(&mut self, area: Rect, buffer: &mut Buffer) {
        let theme = self.theme();
        let Mode::Overlay(what, scroll) = &mut self.mode else {
            return;
        };
        let room = overlay::text_width(area);
        let (title, lines) = match what {
            Overlay::Help => (" keys ", help::lines(theme)),
            Overlay::Packet(line) => (" packet ", overlay::packet(line, room, theme)),
        };
        *scroll = overlay::draw(area, buffer, title, lines, *scroll, theme);
    }
}

fn every(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", (seconds * 1000.0).round())
    } else {
        format!("{} s", (seconds * 10.0).round() / 10.0)
    }
}

/// Lines from the top of `area` on, as far as they fit.
pub(super) fn draw_lines(area: Rect, buffer: &mut Buffer, lines: Vec<Line<'_>>) {
    for (row, line) in area.rows().zip(lines) {
        line.render(row, buffer);
    }
}

/// Room on the screen that is given away line by line.
struct Page<'a> {
    area: Rect,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    fn top(&mut self, line: Line<'_>) {
        if let Some(row) = self.area.rows().next() {
            line.render(row, self.buffer);
            self.area.y += 1;
            self.area.height -= 1;
        }
    }

    fn bottom(&mut self, line: Line<'_>) {
        if let Some(row) = self.area.rows().next_back() {
            line.render(row, self.buffer);
            self.area.height -= 1;
        }
    }
}
