//! The border to terminals, plain logs and CI runners: everything that Foundry shows passes here, and nothing else writes
//! to standard output or standard error. Knows neither what is shown nor why.
//!
//! Text from outside (hosts, servers, files, names) is data. Its control characters are shown (`^[`, `\u{9b}`), never
//! sent; invisible characters that turn text around are shown too; none of its line breaks begins a line of ours; and no line
//! is a command to a CI runner. What our own styling adds is no text but marks ([`style`]), which only the writer
//! turns into escape sequences: an escape sequence in a text is always somebody else's. The most that a text from
//! outside can do is to bear such marks itself, and be coloured up to the end of its line.

mod ansi;
mod clean;
mod guard;
mod page;
mod style;
mod writer;

pub use ansi::from_ansi;
pub use clean::{escape_json, one_line, shown};
pub use page::{Page, block, line};
pub use style::{Styled, plain, style, truncate, width};
pub use writer::{
    colours, data, events, page, paged, runner, stderr_is_terminal, stdout_is_terminal, tell,
    to_ansi, written,
};
