//! Colours, each with one meaning. Everything reads as well without them.

use console::Style;

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// Returns one that paints if `colour` is true.
    #[must_use]
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Returns one that does as standard error and the user's environment (`NO_COLOR`, `CLICOLOR`) want it.
    #[must_use]
    pub fn for_stderr() -> Self {
        Self::new(console::colors_enabled_stderr())
    }

    /// Returns one that does as standard output and the user's environment want it.
    #[must_use]
    pub fn for_stdout() -> Self {
        Self::new(console::colors_enabled())
    }

    /// Green: done.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with(Style::new().green(), text)
    }

    /// Red: an error.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with(Style::new().red().bold(), text)
    }

    /// Yellow: a warning.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// Cyan: what to do next, a command, a path.
    #[must_use]
    pub fn hint(self, text: &str) -> String {
        self.with(Style::new().cyan(), text)
    }

    /// Bold: what it is about.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// Dim: beside the point.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().dim(), text)
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.colour {
            style.force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }
}
