//! Our own styling: marks within a text, which only the writer turns into escape sequences. They are characters that
//! Unicode sets aside for a program's own use and that no text holds.

use std::fmt::{self, Display, Write as _};

use super::clean;

/// Marks, with the numbers of their SGR sequences.
const MARKS: [(char, u8); 11] = [
    (RESET, 0),
    ('\u{fdd1}', 1),
    ('\u{fdd2}', 2),
    ('\u{fdd3}', 31),
    ('\u{fdd4}', 32),
    ('\u{fdd5}', 33),
    ('\u{fdd6}', 35),
    ('\u{fdd7}', 36),
    ('\u{fdd8}', 34),
    ('\u{fdd9}', 4),
    ('\u{fdda}', 3),
];

/// Ends all styles.
pub(super) const RESET: char = '\u{fdd0}';

/// Returns the SGR number of a mark.
pub(super) fn sgr(mark: char) -> Option<u8> {
    let found = MARKS.iter().find(|(known, _)| *known == mark);
    found.map(|(_, number)| *number)
}

/// Returns the mark of an SGR number.
pub(super) fn mark(number: u8) -> Option<char> {
    let found = MARKS.iter().find(|(_, known)| *known == number);
    found.map(|(mark, _)| *mark)
}

/// A value with styles, which show wherever colours are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Styled<D> {
    value: D,
    styles: [Option<u8>; 3],
}

/// Styles a value; by itself it looks as before.
pub fn style<D>(value: D) -> Styled<D> {
    Styled {
        value,
        styles: [None; 3],
    }
}

impl<D> Styled<D> {
    fn with(mut self, number: u8) -> Self {
        if let Some(free) = self.styles.iter_mut().find(|style| style.is_none()) {
            *free = Some(number);
        }
        self
    }

    /// What it is about.
    #[must_use]
    pub fn bold(self) -> Self {
        self.with(1)
    }

    /// Beside the point.
    #[must_use]
    pub fn dim(self) -> Self {
        self.with(2)
    }

    /// An error.
    #[must_use]
    pub fn red(self) -> Self {
        self.with(31)
    }

    /// Done.
    #[must_use]
    pub fn green(self) -> Self {
        self.with(32)
    }

    /// A warning.
    #[must_use]
    pub fn yellow(self) -> Self {
        self.with(33)
    }

    /// Something that moved.
    #[must_use]
    pub fn magenta(self) -> Self {
        self.with(35)
    }

    /// What to do next.
    #[must_use]
    pub fn cyan(self) -> Self {
        self.with(36)
    }
}

impl<D: Display> Display for Styled<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for style in self.styles.iter().flatten() {
            f.write_char(mark(*style).unwrap_or(RESET))?;
        }
        self.value.fmt(f)?;
        f.write_char(RESET)
    }
}

/// Returns `text` without marks.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| sgr(*c).is_none()).collect()
}

/// Returns how many columns `text` takes once it is shown.
#[must_use]
pub fn width(text: &str) -> usize {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.len();
    }
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    if sgr(c).is_some() {
        return 0;
    }
    let mut piece = String::new();
    clean::push(&mut piece, c);
    console::measure_text_width(&piece)
}

/// Cuts one line to `width` columns; `…` stands for what is lost.
#[must_use]
pub fn truncate(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut used = 0;
    for c in text.chars() {
        used += width_of(c);
        if used >= most && sgr(c).is_none() {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out.push(RESET);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_take_no_room_and_what_is_shown_takes_what_it_takes() {
        let text = style("abc").red().bold().to_string();
        assert_eq!((width(&text), plain(&text).as_str()), (3, "abc"));
        assert_eq!(width("a\u{1b}b"), 4);
        assert_eq!(width("日本"), 4);
        assert_eq!(plain(&truncate(&format!("{text} and more"), 6)), "abc a…");
        assert_eq!(truncate("short", 5), "short");
        assert_eq!(plain(&truncate("\u{1b}\u{1b}\u{1b}", 4)), "\u{1b}…");
        assert!(width(&truncate("日本語日本語", 5)) <= 5);
        for (mark_of, number) in MARKS {
            assert_eq!((sgr(mark_of), mark(number)), (Some(number), Some(mark_of)));
        }
    }
}
