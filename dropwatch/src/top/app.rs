//! What the view shows and how keys change it, without a terminal.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    level::{Grouping, History, Level, Row, Scope},
    packets::{self, Lines},
    view::{Column, Sort, Window, contains, position},
};
use crate::groups::{Counts, Dimension, Groups};

/// Characters that a filter may have.
const LONGEST_FILTER: usize = 200;

/// What the header says of the run, and how it is drawn.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the host.
    pub host: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The filter flags as given; empty if there are none.
    pub filters: String,
    /// The time between readings, for the header alone.
    pub interval: Duration,
    /// When counting began.
    pub started: Instant,
    /// Whether colours are used.
    pub color: bool,
}

/// What the caller has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but to draw.
    Continue,
    /// End.
    Quit,
    /// Give the terminal back and stop, as Ctrl-Z does.
    Suspend,
    /// Draw everything anew, for another program may have written on the screen.
    Redraw,
}

/// The state of the view. It is fed with [`App::update`], [`App::packet`] and [`App::key`], and drawn
/// by [`App::render`]. The groups themselves are not part of it: it is shown them each time.
pub struct App {
    pub(super) options: Options,
    /// What groups are told apart by.
    pub(super) by: Vec<Dimension>,
    /// As of the last reading, also during a pause.
    latest: Summary,
    /// The level that is shown.
    pub(super) level: Level,
    /// Those that Enter was pressed on before, the first one first.
    pub(super) above: Vec<Level>,
    lines: Lines,
    pub(super) shown: Shown,
    pub(super) window: Window,
    /// Rows that the screen had room for when it was last drawn.
    pub(super) height: usize,
    pub(super) paused: bool,
    pub(super) mode: Mode,
}

/// What stands still during a pause.
pub(super) struct Shown {
    pub(super) summary: Summary,
    pub(super) rows: Vec<Row>,
    /// Numbers of rows: those that the filter lets through, in order.
    pub(super) order: Vec<u32>,
    pub(super) history: History,
    /// Instead of rows, on the level of packets.
    pub(super) lines: Lines,
}

/// What the header says of all drops.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) at: Instant,
    pub(super) interval: Duration,
    pub(super) total: Counts,
    pub(super) recent: Counts,
    pub(super) other: Counts,
    pub(super) account: String,
}

/// What keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They move and choose.
    Table,
    /// They are text of the filter.
    Filter,
    /// They scroll an overlay, or close it.
    Overlay(Overlay, usize),
}

/// Text over the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Packet(Rc<str>),
}

impl App {
    /// A view of groups by `by` that waits for the first counts.
    pub fn new(options: Options, by: &[Dimension]) -> Self {
        let nothing = Summary::nothing(options.started);
        Self {
            level: first_level(by),
            above: Vec::new(),
            lines: Lines::default(),
            shown: Shown {
                summary: nothing.clone(),
                rows: Vec::new(),
                order: Vec::new(),
                history: History::default(),
                lines: Lines::default(),
            },
            by: by.to_vec(),
            latest: nothing,
            options,
            window: Window::default(),
            height: 1,
            paused: false,
            mode: Mode::Table,
        }
    }

    /// Takes new counts, read at `at`, and the account of that moment. During a pause they are kept,
    /// and shown after it.
    pub fn update(&mut self, groups: &Groups, at: Instant, account: String) {
        let from = self.latest.at;
        self.latest = Summary::of(groups, from, at, account);
        if !self.paused {
            // Not held beside those that take their place.
            self.shown.rows = Vec::new();
        }
        for level in &mut self.above {
            let rows = level.rows(groups);
            level.history.record(from, at, &rows);
        }
        let rows = self.level.rows(groups);
        self.level.history.record(from, at, &rows);
        if !self.paused {
            self.show(groups, rows);
        }
    }

    /// Takes the line of a dropped packet, as lines are printed.
    pub fn packet(&mut self, line: &str) {
        let line = packets::kept(line);
        self.lines.add(&line);
        let level = &self.level;
        if self.paused || level.grouping != Grouping::Packets || !level.has_line(&line) {
            return;
        }
        self.shown.lines.add(&line);
        // Who has moved down wants to read: the lines stay where they are.
        if self.window.cursor > 0 {
            let len = self.shown.lines.len();
            self.window.offset += 1;
            self.window = self.window.moved(1, len).fitted(self.height, len);
        }
    }

    /// Does what a key means.
    pub fn key(&mut self, groups: &Groups, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Continue;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Action::Quit,
                KeyCode::Char('z') => return Action::Suspend,
                KeyCode::Char('l') => return Action::Redraw,
                KeyCode::Char('u') if self.mode == Mode::Filter => {
                    self.set_filter(groups, String::new())
                }
                _ => {}
            }
            return Action::Continue;
        }
        match &self.mode {
            Mode::Table => return self.table_key(groups, key.code),
            Mode::Filter => self.filter_key(groups, key.code),
            Mode::Overlay(..) => self.overlay_key(key.code),
        }
        Action::Continue
    }

    fn table_key(&mut self, groups: &Groups, code: KeyCode) -> Action {
        let page = self.height.max(1) as isize;
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.mode = Mode::Overlay(Overlay::Help, 0);
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-page),
            KeyCode::PageDown => self.move_by(page),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            KeyCode::Enter | KeyCode::Right => self.open(groups),
            KeyCode::Esc if !self.level.filter.is_empty() => self.set_filter(groups, String::new()),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.close(groups),
            KeyCode::Tab => self.choose_next(groups, false),
            KeyCode::BackTab => self.choose_next(groups, true),
            KeyCode::Char(digit @ '1'..='9') => self.choose(groups, digit as usize - '1' as usize),
            KeyCode::Char('s' | '>') => self.sort(groups, |sort, values| sort.next(values, false)),
            KeyCode::Char('S' | '<') => self.sort(groups, |sort, values| sort.next(values, true)),
            KeyCode::Char('r') => self.sort(groups, |sort, _| Sort {
                descending: !sort.descending,
                ..sort
            }),
            KeyCode::Char(' ') => self.pause(groups),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            _ => {}
        }
        Action::Continue
    }

    fn filter_key(&mut self, groups: &Groups, code: KeyCode) {
        let mut filter = self.level.filter.clone();
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.mode = Mode::Table;
                self.set_filter(groups, String::new());
            }
            KeyCode::Backspace => match filter.pop() {
                Some(_) => self.set_filter(groups, filter),
                None => self.mode = Mode::Table,
            },
            // Values have no other characters.
            KeyCode::Char(char @ ' '..='~') if filter.len() < LONGEST_FILTER => {
                filter.push(char);
                self.set_filter(groups, filter);
            }
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            _ => {}
        }
    }

    fn overlay_key(&mut self, code: KeyCode) {
        let page = self.height.max(1);
        let Mode::Overlay(_, scroll) = &mut self.mode else {
            return;
        };
        match code {
            KeyCode::Up | KeyCode::Char('k') => *scroll = scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *scroll = scroll.saturating_add(1),
            KeyCode::PageUp => *scroll = scroll.saturating_sub(page),
            KeyCode::PageDown => *scroll = scroll.saturating_add(page),
            _ => self.mode = Mode::Table,
        }
    }

    /// The value columns of the table.
    pub(super) fn columns(&self) -> Vec<Dimension> {
        self.level.grouping.columns(&self.by)
    }

    /// Rows or lines that can be moved to.
    pub(super) fn len(&self) -> usize {
        match self.level.grouping {
            Grouping::Packets => self.shown.lines.len(),
            _ => self.shown.order.len(),
        }
    }

    /// The row that the cursor is on.
    fn current_row(&self) -> Option<Row> {
        let number = self.shown.order.get(self.window.cursor)?;
        self.shown.rows.get(*number as usize).copied()
    }

    fn move_by(&mut self, distance: isize) {
        self.window = self.window.moved(distance, self.len());
        let row = self.current_row().filter(|_| self.window.cursor > 0);
        self.level.selected = row.map(|row| row.key);
    }

    /// Goes down into the current row.
    fn open(&mut self, groups: &Groups) {
        if self.level.grouping == Grouping::Packets {
            if let Some(line) = self.shown.lines.get(self.window.cursor) {
                self.mode = Mode::Overlay(Overlay::Packet(Rc::clone(line)), 0);
            }
            return;
        }
        let Some(row) = self.current_row() else {
            return;
        };
        let level = &self.level;
        let inherited = level.scope.0.len();
        let mut scope = level.scope.clone();
        for (dimension, id) in self.columns().into_iter().zip(row.key) {
            if !scope.has(dimension) {
                scope.0.push((dimension, groups.text(id).into()));
            }
        }
        let grouping = Grouping::below(&self.by, &scope);
        let sort = level.sort.without_value();
        // The row is found again on the way back.
        self.level.selected = Some(row.key);
        let below = Level::new(grouping, scope, inherited, sort);
        self.above.push(std::mem::replace(&mut self.level, below));
        self.enter(groups);
    }

    /// Goes back up.
    fn close(&mut self, groups: &Groups) {
        if let Some(level) = self.above.pop() {
            self.level = level;
            self.enter(groups);
        }
    }

    fn choose(&mut self, groups: &Groups, number: usize) {
        let choices = Grouping::choices(&self.by);
        let Some(grouping) = choices.get(number).copied() else {
            return;
        };
        let level = &self.level;
        if grouping == level.grouping || grouping.is_settled(&self.by, &level.scope) {
            return;
        }
        let sort = level.sort.without_value();
        let (scope, inherited) = (level.scope.clone(), level.inherited);
        self.level = Level::new(grouping, scope, inherited, sort);
        self.enter(groups);
    }

    fn choose_next(&mut self, groups: &Groups, backwards: bool) {
        let by = &self.by;
        let level = &self.level;
        let choices = Grouping::choices(by);
        let here = choices.iter().position(|choice| *choice == level.grouping);
        let here = here.unwrap_or_default();
        let numbers = (1..choices.len()).map(|distance| {
            let distance = if backwards {
                choices.len() - distance
            } else {
                distance
            };
            (here + distance) % choices.len()
        });
        let open = |number: &usize| {
            let choice = choices.get(*number);
            choice.is_some_and(|choice| !choice.is_settled(by, &level.scope))
        };
        if let Some(number) = numbers.into_iter().find(open) {
            self.choose(groups, number);
        }
    }

    /// Shows a level that is new, or was left; also during a pause, which then goes on with what is
    /// known at this moment.
    fn enter(&mut self, groups: &Groups) {
        self.window = Window::default();
        let rows = self.level.rows(groups);
        let to = self.latest.at;
        let from = to.checked_sub(self.latest.interval).unwrap_or(to);
        if self.level.history.is_empty() {
            self.level.history.record(from, to, &rows);
        }
        self.show(groups, rows);
    }

    fn pause(&mut self, groups: &Groups) {
        self.paused = !self.paused;
        if !self.paused {
            let rows = self.level.rows(groups);
            self.show(groups, rows);
        }
    }

    fn sort(&mut self, groups: &Groups, change: impl FnOnce(Sort, usize) -> Sort) {
        let values = self.columns().len();
        self.level.sort = change(self.level.sort, values);
        self.arrange(groups);
    }

    fn set_filter(&mut self, groups: &Groups, filter: String) {
        self.level.filter = filter;
        if self.level.grouping == Grouping::Packets {
            self.window = Window::default();
            self.show_lines();
        } else {
            self.arrange(groups);
        }
    }

    /// Puts what is known now on the screen.
    fn show(&mut self, groups: &Groups, rows: Vec<Row>) {
        self.shown.summary = self.latest.clone();
        self.shown.history = self.level.history.clone();
        self.shown.rows = rows;
        if self.level.grouping == Grouping::Packets {
            self.show_lines();
        }
        self.arrange(groups);
    }

    fn show_lines(&mut self) {
        let level = &self.level;
        self.shown.lines = self.lines.filtered(|line| level.has_line(line));
    }

    fn arrange(&mut self, groups: &Groups) {
        let level = &self.level;
        let values = self.columns().len();
        let rows = &self.shown.rows;
        let order = level.sort.arrange(rows, groups, values, &level.filter);
        let cursor = match (level.grouping, &level.selected) {
            (Grouping::Packets, _) => self.window.cursor,
            (_, None) => 0,
            (_, Some(key)) => position(rows, &order, key).unwrap_or(self.window.cursor),
        };
        self.shown.order = order;
        self.window.cursor = cursor.min(self.len().saturating_sub(1));
    }
}

fn first_level(by: &[Dimension]) -> Level {
    let grouping = Grouping::choices(by).first().copied();
    let sort = Sort::by(Column::Drops);
    let grouping = grouping.unwrap_or(Grouping::Packets);
    Level::new(grouping, Scope::default(), 0, sort)
}

impl Level {
    fn has_line(&self, line: &str) -> bool {
        let mut words = self.filter.split_whitespace();
        words.all(|word| contains(line, word)) && self.scope.has_line(line)
    }
}

impl Summary {
    fn nothing(at: Instant) -> Self {
        Self {
            at,
            interval: Duration::ZERO,
            total: Counts::default(),
            recent: Counts::default(),
            other: Counts::default(),
            account: String::new(),
        }
    }

    /// What `groups` has at `at`, and gained since `from`.
    fn of(groups: &Groups, from: Instant, at: Instant, account: String) -> Self {
        let (total, recent) = groups.totals();
        Self {
            at,
            interval: at.saturating_duration_since(from),
            total,
            recent,
            other: groups.other(),
            account,
        }
    }
}
