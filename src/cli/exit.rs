//! How a command ends: exit codes, and errors as the person at the terminal reads them.
//! The only place that knows numbers of exit codes.

use std::fmt::Display;
use std::process::ExitCode;

use crate::terminal::{self, Page, from_ansi, style};

/// Ways for a command to end other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 1: something was tried and did not work.
    Failed,
    /// 2: nothing failed, but not everything is as wanted (`status`, `drift`, `plan --detailed-exitcode`).
    Pending,
    /// 3: the config or the command line is wrong; nothing was touched.
    Usage,
    /// 130: interrupted by the user.
    Interrupted,
}

impl Ending {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Pending => 2,
            Self::Usage => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}

/// Why a command ended other than well.
#[derive(Debug)]
pub struct CliError {
    /// How it ended.
    pub ending: Ending,
    /// What to say; `None` when a report has said it all.
    pub message: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// A ready rendered diagnostic (source snippets), shown in place of `message`.
    pub rendered: Option<String>,
}

/// What commands return.
pub type CliResult = Result<(), CliError>;

impl CliError {
    /// Makes an error that ends with `ending` and says `message`.
    pub fn new(ending: Ending, message: impl Display) -> Self {
        Self {
            ending,
            message: Some(message.to_string()),
            hint: None,
            rendered: None,
        }
    }

    /// Makes a failure.
    pub fn failed(message: impl Display) -> Self {
        Self::new(Ending::Failed, message)
    }

    /// Makes a complaint about the config or the command line.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Ending::Usage, message)
    }

    /// Makes an error from one that brings its own snippet or help.
    #[must_use]
    pub fn from_diagnostic(ending: Ending, report: &miette::Report) -> Self {
        Self {
            ending,
            message: None,
            hint: None,
            rendered: Some(format!("{report:?}")),
        }
    }

    /// Makes an ending about which everything has been said.
    #[must_use]
    pub fn quiet(ending: Ending) -> Self {
        Self {
            ending,
            message: None,
            hint: None,
            rendered: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Writes it to standard error.
    pub fn show(&self) {
        terminal::tell(&self.page());
    }

    fn page(&self) -> Page {
        let mut page = Page::new();
        if let Some(rendered) = &self.rendered {
            page.drawn(from_ansi(rendered).trim_end());
        } else if let Some(message) = &self.message {
            page.message(format_args!("{} {message}", style("error:").red().bold()));
        }
        if let Some(hint) = &self.hint {
            page.gap();
            page.message(format_args!("{} {hint}", style("hint:").cyan().bold()));
        }
        page
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            self.message
                .as_deref()
                .or(self.rendered.as_deref())
                .unwrap_or("failed"),
        )?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_stay_within_the_message() {
        let error = CliError::failed("a said: x\n::error::y\r\n\u{1b}[2Jz").hint("b\n::notice::c");
        assert_eq!(
            error.page().to_string(),
            "error: a said: x\n  ::error::y\n  ^[[2Jz\n\nhint: b\n  ::notice::c\n"
        );
    }
}
