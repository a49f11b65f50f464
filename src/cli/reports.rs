//! Who reads the events of a run: the screen or lines, the log, and the files that were asked for. Draws nothing itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::print::{Output, warn};
use super::session::Session;
use crate::report::{EventLog, GitHub, Kept, Kind, Lines, Live, Paint, Plain, Report};

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
pub fn reports(session: &Session, output: Output, options: &ReportOptions) -> Vec<Box<dyn Report>> {
    let paint = Paint::for_stderr();
    let shown: Box<dyn Report> = match output {
        Output::Json => Box::new(Lines::new(io::stdout())),
        Output::Text if console::Term::stderr().is_term() => Box::new(Live::stderr(paint)),
        Output::Text => Box::new(Plain::new(io::stderr(), paint)),
    };
    let mut all: Vec<Box<dyn Report>> = vec![Box::new(EventLog::new(session.home.runs())), shown];
    let (events, files): (Vec<_>, Vec<_>) = options
        .files()
        .into_iter()
        .partition(|(kind, _)| *kind == Kind::Events);
    for (_, path) in events {
        // Written as they come: a run that is killed leaves what it told until then.
        match File::create(&path) {
            Ok(file) => all.push(Box::new(Lines::new(file))),
            Err(error) => warn(&format!("can't write {}: {error}", path.display())),
        }
    }
    if !files.is_empty() {
        all.push(Box::new(Kept::new(files)));
    }
    if on_github() {
        all.push(Box::new(GitHub::new(io::stderr(), summary_file())));
    }
    all
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
