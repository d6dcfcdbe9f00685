//! Colours: the terminal's own sixteen, few of them, and none with `NO_COLOR`.

use ratatui::style::{Color, Modifier, Style};

/// How things look.
#[derive(Clone, Copy)]
pub(super) struct Theme {
    pub(super) color: bool,
}

impl Theme {
    fn colored(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    /// What is there every time, beside what is looked for.
    pub(super) fn dim(self) -> Style {
        if self.color {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    /// Names, numbers of the whole, the place one is at.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Keys, and what is chosen.
    pub(super) fn accent(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// What is chosen of several.
    pub(super) fn chosen(self) -> Style {
        let style = self.accent().add_modifier(Modifier::BOLD);
        if self.color {
            style
        } else {
            style.add_modifier(Modifier::UNDERLINED)
        }
    }

    /// The last minute.
    pub(super) fn spark(self) -> Style {
        self.colored(Color::Blue)
    }

    /// What is missing from the numbers.
    pub(super) fn alert(self) -> Style {
        if self.color {
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
        }
    }

    /// That the display is paused.
    pub(super) fn paused(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::Yellow)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// The row of the cursor.
    pub(super) fn selected(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// The line with the columns' names.
    pub(super) fn header(self) -> Style {
        self.strong().add_modifier(Modifier::UNDERLINED)
    }
}
