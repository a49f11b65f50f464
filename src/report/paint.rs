//! Colours, each with one meaning. Everything reads as well without them.

use crate::terminal::{self, Styled, style};

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
        Self::new(terminal::colours().1)
    }

    /// Returns one that does as standard output and the user's environment want it.
    #[must_use]
    pub fn for_stdout() -> Self {
        Self::new(terminal::colours().0)
    }

    /// Green: done.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with(text, style(text).green())
    }

    /// Red: an error.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with(text, style(text).red().bold())
    }

    /// Yellow: a warning.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.with(text, style(text).yellow())
    }

    /// Cyan: what to do next, a command, a path.
    #[must_use]
    pub fn hint(self, text: &str) -> String {
        self.with(text, style(text).cyan())
    }

    /// Bold: what it is about.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.with(text, style(text).bold())
    }

    /// Dim: beside the point.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with(text, style(text).dim())
    }

    fn with(self, text: &str, styled: Styled<&str>) -> String {
        if self.colour {
            styled.to_string()
        } else {
            text.to_owned()
        }
    }

    /// Returns whether it paints.
    #[must_use]
    pub fn is_coloured(self) -> bool {
        self.colour
    }
}
