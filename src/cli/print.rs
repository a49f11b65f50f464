//! Data goes to standard output, here. A reader that went away (`| head`) is no error.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::exit::{CliError, CliResult};

/// How a listing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes `text` to standard output.
pub fn print(text: &str) -> CliResult {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes to standard error what people are to know on the way.
pub fn say(text: &str) {
    // Nobody is left to tell when standard error itself is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a warning to standard error.
pub fn warn(text: &str) {
    let mut err = std::io::stderr().lock();
    // Nobody is left to tell when standard error itself is gone.
    let _ = writeln!(
        err,
        "{} {text}",
        console::style("warning:").yellow().bold().for_stderr()
    );
}

/// Writes `data` to standard output as JSON.
pub fn print_json(data: &impl Serialize) -> CliResult {
    let mut text = serde_json::to_string_pretty(data).map_err(CliError::failed)?;
    text.push('\n');
    print(&text)
}

/// Lays rows out in columns; the last column is not padded. Colours don't count as width.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| console::measure_text_width(cell));
        cells
            .chain(head.get(column).map(|title| title.len()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| {
                console::pad_str(cell, *width, console::Alignment::Left, None).into_owned()
            })
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = console::style(line(&mut head.iter().copied()).trim_end())
        .dim()
        .to_string()
        + "\n";
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
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
        console::set_colors_enabled(false);
        let rows = vec![
            vec!["a".into(), "long one".into()],
            vec!["bbbb".into(), "x".into()],
        ];
        assert_eq!(
            table(&["N", "WHAT"], &rows),
            "N     WHAT\na     long one\nbbbb  x\n"
        );
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
