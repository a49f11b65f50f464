//! Who reads the events of a run: the screen or lines, the log, and the files that were asked for. Draws nothing itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::exit::{CliError, CliResult};
use super::print::{Output, warn};
use super::session::Session;
use crate::report::{EventLog, GitHub, Kept, Kind, Lines, Live, Paint, Plain, Report, Reporter};
use crate::terminal;

/// Where the page of timings goes unless said.
const TIMINGS: &str = "foundry-timings.html";

/// Reports in files.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportOptions {
    /// Write a report of a kind to a file: junit, events, json, trace or timings
    #[arg(long = "report", value_name = "KIND=FILE", value_parser = report_file)]
    reports: Vec<(Kind, PathBuf)>,
    /// Write one self-contained HTML page of what ran when, and why
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = TIMINGS)]
    timings: Option<PathBuf>,
    /// Write Chrome's trace format, for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Reads `KIND=FILE`.
pub fn report_file(text: &str) -> Result<(Kind, PathBuf), String> {
    let (kind, file) = text
        .split_once('=')
        .filter(|(_, file)| !file.is_empty())
        .ok_or_else(|| format!("`{text}` names no file: `junit=report.xml`"))?;
    Ok((kind.parse()?, PathBuf::from(file)))
}

impl ReportOptions {
    fn files(&self) -> Vec<(Kind, PathBuf)> {
        let more = [(Kind::Timings, &self.timings), (Kind::Trace, &self.trace)];
        let more = more
            .into_iter()
            .filter_map(|(kind, path)| Some((kind, path.clone()?)));
        self.reports.iter().cloned().chain(more).collect()
    }
}

/// Who reads the events: always the log; a screen, plain lines or JSON lines; files; GitHub, where it listens.
///
/// # Errors
/// When a file that was asked for can't be written: before anything is changed for a report that nobody gets.
pub fn reports(
    session: &Session,
    output: Output,
    options: &ReportOptions,
) -> Result<Vec<Box<dyn Report>>, CliError> {
    let paint = Paint::for_stderr();
    let shown: Box<dyn Report> = match output {
        Output::Json => Box::new(Lines::new(terminal::events())),
        Output::Text if terminal::stderr_is_terminal() => Box::new(Live::stderr(paint)),
        Output::Text => Box::new(Plain::new(terminal::runner(), paint)),
    };
    let mut all: Vec<Box<dyn Report>> = vec![Box::new(EventLog::new(session.home.runs())), shown];
    let (events, files): (Vec<_>, Vec<_>) = options
        .files()
        .into_iter()
        .partition(|(kind, _)| *kind == Kind::Events);
    for (_, path) in events {
        // Written as they come: a run that is killed leaves what it told until then.
        let file = File::create(&path).map_err(|error| unwritable(&path, &error))?;
        all.push(Box::new(Lines::asked_for(file)));
    }
    for (_, path) in &files {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map_err(|error| unwritable(path, &error))?;
    }
    if !files.is_empty() {
        all.push(Box::new(Kept::new(files)));
    }
    if on_github() {
        all.push(Box::new(GitHub::new(terminal::runner(), summary_file())));
    }
    Ok(all)
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::usage(format!(
        "can't write the report {}: {error}",
        path.display()
    ))
    .hint("nothing was done: name a file that can be written")
}

/// Ends the reports. What is wrong with one that nobody asked for is a warning.
///
/// # Errors
/// When one that was asked for could not be written: its reader would take an old one, or none, for this run's.
pub fn close(reporter: Reporter) -> CliResult {
    let (asked, other): (Vec<_>, Vec<_>) = reporter
        .finish()
        .into_iter()
        .partition(|defect| defect.asked_for);
    for defect in other {
        warn(&defect.message);
    }
    if asked.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = asked.into_iter().map(|defect| defect.message).collect();
    Err(CliError::failed(all.join("; ")).hint(
        "the run itself is over and on record: `foundry report merge RUN --report KIND=FILE` writes its reports anew",
    ))
}

/// Returns whether this is a job of GitHub's.
pub fn on_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == *"true")
}

/// Returns the file that GitHub shows as the job's summary.
pub fn summary_file() -> Option<PathBuf> {
    std::env::var_os("GITHUB_STEP_SUMMARY")
        .map(PathBuf::from)
        .filter(|path| path.as_path() != Path::new(""))
}
