//! Text for people, line by line. A line has no line break in it, so whatever is put into one can't begin another: a break
//! that stands there is somebody else's, and shown.

use std::fmt::{self, Display, Write as _};

use super::clean::shown;

/// Lines to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    text: String,
}

/// Returns a page of one line, by `format_args!`.
#[must_use]
pub fn line(text: impl Display) -> Page {
    let mut page = Page::new();
    page.line(text);
    page
}

/// Returns a page of one message, which may have several lines: all but the first are indented.
#[must_use]
pub fn block(text: impl Display) -> Page {
    let mut page = Page::new();
    page.message(text);
    page
}

impl Page {
    /// Returns an empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line. Line breaks in `text` are shown.
    pub fn line(&mut self, text: impl Display) {
        self.piece(&text.to_string());
        self.text.push('\n');
    }

    /// Adds an empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Adds what somebody else's words say, a line for each of theirs, each after `margin`.
    pub fn words(&mut self, margin: &str, words: &str) {
        for line in words.lines() {
            self.line(format_args!("{margin}{line}"));
        }
    }

    /// Adds a message: the first line as it is, others indented.
    pub fn message(&mut self, text: impl Display) {
        let text = text.to_string();
        let (first, rest) = text
            .trim_end()
            .split_once('\n')
            .unwrap_or((text.trim_end(), ""));
        self.line(first.trim_end());
        self.words("  ", rest);
    }

    /// Adds what was drawn in lines that are ours, such as a source snippet in its frame.
    pub fn drawn(&mut self, text: &str) {
        self.words("", text);
    }

    /// Adds another page.
    pub fn page(&mut self, page: &Self) {
        self.text.push_str(&page.text);
    }

    /// Returns the page after `change` went over its text, to mask what may not be shown say.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&str) -> String) -> Self {
        Self {
            text: change(&self.text),
        }
    }

    /// Returns whether nothing is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns the lines as text, marks and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For `write!` and `writeln!`: a line break at the very end ends the line; any other is shown.
    ///
    /// # Errors
    /// Never.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        let text = text.to_string();
        match text.strip_suffix('\n') {
            Some(whole) => self.line(whole),
            None => self.piece(&text),
        }
        Ok(())
    }

    fn piece(&mut self, text: &str) {
        self.text.push_str(&shown(text));
    }
}

/// As it would be in a file: without styles.
impl Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text
            .chars()
            .filter(|c| super::style::sgr(*c).is_none())
            .try_for_each(|c| f.write_char(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_put_into_a_line_begins_another() {
        let mut page = Page::new();
        let evil = "x\n::error::y\r\u{1b}[2J";
        let _ = write!(page, "a {evil}");
        let _ = writeln!(page, " b {evil}");
        page.line(evil);
        page.words("  │ ", evil);
        page.message(format_args!("error: {evil}"));
        assert_eq!(
            page.as_str(),
            "a x^J::error::y^M^[[2J b x^J::error::y^M^[[2J\nx^J::error::y^M^[[2J\n  │ x\n  │ ::error::y^M^[[2J\nerror: x\n  ::error::y^M^[[2J\n"
        );
    }
}
