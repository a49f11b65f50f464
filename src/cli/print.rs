//! Data goes to standard output, what people are to know on the way to standard error; both by the one border of
//! [`crate::terminal`].

use std::time::Duration;

use serde::Serialize;

use super::exit::{CliError, CliResult};
use crate::terminal::{self, Page, one_line, style, width};

/// How a listing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes a page to standard output.
pub fn print(page: &Page) -> CliResult {
    Ok(terminal::page(page)?)
}

/// Writes data to standard output: byte for byte, unless that is a terminal.
pub fn print_data(text: &str) -> CliResult {
    Ok(terminal::data(text)?)
}

/// Writes to standard error what people are to know on the way.
pub fn say(text: &str) {
    terminal::tell(&terminal::block(text));
}

/// Writes a warning to standard error.
pub fn warn(text: &str) {
    let head = style("warning:").yellow().bold();
    terminal::tell(&terminal::block(format_args!("{head} {text}")));
}

/// Writes `data` to standard output as JSON.
pub fn print_json(data: &impl Serialize) -> CliResult {
    let mut text = serde_json::to_string_pretty(data).map_err(CliError::failed)?;
    text.push('\n');
    Ok(terminal::data(&terminal::escape_json(&text))?)
}

/// Lays rows out in columns; the last column is not padded. Styles don't count as width. Words of others stay in their cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Page {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| one_line(cell)).collect())
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| width(cell));
            cells.chain([head[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, wanted)| {
                format!("{cell}{}", " ".repeat(wanted.saturating_sub(width(cell))))
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut page = Page::new();
    page.line(style(line(&mut head.iter().copied())).dim());
    for row in &rows {
        page.line(line(&mut row.iter().map(AsRef::as_ref)));
    }
    page
}

/// Returns a duration in seconds as people read it.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:.0} s", duration.as_secs() / 60, seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".into(), "long one".into()],
            vec!["bbbb".into(), "x".into()],
            vec!["c\nd".into(), "\u{1b}[2J\r\n::error::".into()],
        ];
        assert_eq!(
            table(&["N", "WHAT"], &rows).to_string(),
            "N     WHAT\na     long one\nbbbb  x\nc d   ^[[2J ::error::\n"
        );
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
