//! `foundry run`: the record of past runs. Reads the event logs in the user's cache; asks no host anything.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::exit::{CliError, CliResult};
use super::home::Home;
use super::print::{Output, print, print_data, print_json, table};
use super::run_compare::{Critical, Diff};
use crate::event::{
    Final, HostProbed, HostUnreachable, RunStarted, StepFinished, StepPlanned, Summary, What,
};
use crate::report::{
    Entry, Fate, Live, Merged, Paint, Plain, Record, RecordError, Report, Reporter, failures, find,
    finished, list, span, summary, timings,
};
use crate::terminal::{self, Page, one_line};

/// Looks at past runs: what they did, what failed, how it looked
#[derive(Debug, Args)]
#[command(
    after_help = "The events of every run are kept in your cache directory ($XDG_CACHE_HOME/foundry/runs), those of \
    the last hundred runs. They are a record for people: no command decides anything by them.\n\n\
    Examples:\n  \
    foundry run list                the runs, latest last\n  \
    foundry run failed              what went wrong in the last run, in full\n  \
    foundry run show ab12           everything a run did; a part of its id is enough\n  \
    foundry run replay --speed 4    watch the last run again\n  \
    foundry run timings             one HTML page: what ran when, and why\n  \
    foundry run critical-path       what made it take as long as it did\n  \
    foundry run diff ab12           the last run against an earlier one\n  \
    foundry run show --output json | jq '.steps[] | select(.ms > 1000).label'"
)]
pub struct RunArgs {
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    /// Lists the runs on record, latest last
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows what a run did, step by step
    Show {
        #[command(flatten)]
        which: Which,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows what went wrong in a run, with all the output that was kept
    Failed {
        #[command(flatten)]
        which: Which,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Writes the HTML page of what ran when, and why
    Timings {
        #[command(flatten)]
        which: Which,
        /// Where to write it; `-` for standard output
        #[arg(
            long,
            short,
            value_name = "FILE",
            default_value = "foundry-timings.html"
        )]
        file: String,
    },
    /// Shows the chain of steps that took longest: nothing but shortening it makes the run shorter
    CriticalPath {
        #[command(flatten)]
        which: Which,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows how a run differs from an earlier one: what ended otherwise, what took longer or less
    Diff {
        /// The earlier run: its id, or the beginning or end of it
        before: String,
        /// The later run [default: the latest]
        after: Option<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Plays a run on the screen again, as it went
    Replay {
        #[command(flatten)]
        which: Which,
        /// How many times faster than it went
        #[arg(long, default_value_t = 1.0, value_parser = speed, value_name = "TIMES")]
        speed: f64,
        /// How to draw it
        #[arg(long, value_enum, default_value_t)]
        output: Drawing,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The run: its id, or the beginning or end of it [default: the latest]
    run: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// The live screen on a terminal, else lines
    #[default]
    Auto,
    /// Lines
    Plain,
    /// Events as JSON lines, on standard output
    Json,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if speed.is_finite() && speed > 0.0 {
        Ok(speed)
    } else {
        Err("is not above zero".to_owned())
    }
}

/// Runs `foundry run …`.
///
/// # Errors
/// When there is no such run, or its log can't be read.
pub fn run(args: &RunArgs) -> CliResult {
    let folder = Home::from_env()?.runs();
    let record = |which: &Which| -> Result<Record, CliError> {
        let id = find(&folder, which.run.as_deref())?;
        Ok(Record::read(&folder, &id)?)
    };
    match &args.command {
        RunCommand::List { output } => {
            let entries = list(&folder)?;
            match output {
                Output::Json => print_json(&entries),
                Output::Text => print(&listing(&entries)),
            }
        }
        RunCommand::Show { which, output } => {
            let record = record(which)?;
            match output {
                Output::Json => print_json(&Whole::of(&record)),
                Output::Text => print(&lines(&showing(&record))),
            }
        }
        RunCommand::Failed { which, output } => {
            let record = record(which)?;
            match output {
                Output::Json => print_json(&Wrong {
                    unreachable: &record.picture.unreachable,
                    steps: &record.picture.troubles,
                }),
                Output::Text => print(&lines(&failing(&record))),
            }
        }
        RunCommand::Timings { which, file } => {
            let page = timings(&merged(&record(which)?));
            if file == "-" {
                return print_data(&page);
            }
            std::fs::write(file, page)
                .map_err(|error| CliError::failed(format!("can't write {file}: {error}")))?;
            print(&terminal::line(file))
        }
        RunCommand::CriticalPath { which, output } => {
            let critical = Critical::of(&merged(&record(which)?));
            match output {
                Output::Json => print_json(&critical),
                Output::Text => print(&critical.text(Paint::for_stdout())),
            }
        }
        RunCommand::Diff {
            before,
            after,
            output,
        } => {
            let of = |run: Option<&str>| -> Result<Merged, CliError> {
                let id = find(&folder, run)?;
                Ok(merged(&Record::read(&folder, &id)?))
            };
            let diff = Diff::of(&of(Some(before))?, &of(after.as_deref())?);
            match output {
                Output::Json => print_json(&diff),
                Output::Text => print(&diff.text()),
            }
        }
        RunCommand::Replay {
            which,
            speed,
            output,
        } => replay(&record(which)?, *speed, *output),
    }
}

fn merged(record: &Record) -> Merged {
    Merged::of([record.events.as_slice()])
}

/// All of a run, for programs.
#[derive(Serialize)]
struct Whole<'a> {
    run: Option<&'a RunStarted>,
    fate: Fate,
    summary: Option<&'a Summary>,
    hosts: Vec<&'a HostProbed>,
    unreachable: &'a [HostUnreachable],
    plan: Vec<&'a StepPlanned>,
    steps: Vec<&'a StepFinished>,
}

/// What went wrong, for programs.
#[derive(Serialize)]
struct Wrong<'a> {
    unreachable: &'a [HostUnreachable],
    steps: &'a [StepFinished],
}

impl<'a> Whole<'a> {
    fn of(record: &'a Record) -> Self {
        let mut whole = Self {
            run: record.picture.run.as_ref(),
            fate: Fate::of(record.picture.summary.as_ref()),
            summary: record.picture.summary.as_ref(),
            hosts: Vec::new(),
            unreachable: &record.picture.unreachable,
            plan: Vec::new(),
            steps: Vec::new(),
        };
        for event in &record.events {
            match &event.what {
                What::HostProbed(host) => whole.hosts.push(host),
                What::StepPlanned(step) => whole.plan.push(step),
                What::StepFinished(step) => whole.steps.push(step),
                _ => {}
            }
        }
        whole
    }
}

fn listing(entries: &[Entry]) -> Page {
    if entries.is_empty() {
        return terminal::line("No run is on record yet: `foundry build stack` makes the first");
    }
    let paint = Paint::for_stdout();
    let number =
        |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let counts = entry.summary.as_ref().map(|summary| summary.counts);
            vec![
                entry.run.run.to_string(),
                fate(entry.fate, paint),
                entry
                    .summary
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |summary| span(summary.ms)),
                number(counts.map(|counts| counts.ran)),
                number(counts.map(|counts| counts.failed + counts.unreachable)),
                entry.run.command.clone(),
            ]
        })
        .collect();
    table(&["RUN", "END", "TOOK", "RAN", "FAILED", "COMMAND"], &rows)
}

fn lines(lines: &[String]) -> Page {
    let mut page = Page::new();
    lines.iter().for_each(|line| page.line(line));
    page
}

fn fate(fate: Fate, paint: Paint) -> String {
    match fate {
        Fate::Done => paint.good(fate.word()),
        Fate::Failed => paint.bad(fate.word()),
        Fate::Interrupted | Fate::Refused | Fate::Unfinished => paint.warn(fate.word()),
    }
}

fn showing(record: &Record) -> Vec<String> {
    let paint = Paint::for_stdout();
    let picture = &record.picture;
    let mut lines = Vec::new();
    if let Some(run) = &picture.run {
        let end = fate(Fate::of(picture.summary.as_ref()), paint);
        lines.push(format!(
            "{} {end}: {}",
            paint.strong(run.run.as_str()),
            run.command
        ));
        lines.push(format!(
            "stack {}, {} hosts, started {}",
            run.stack, run.hosts, run.started
        ));
        lines.push(String::new());
    }
    for event in &record.events {
        match &event.what {
            What::StepFinished(step) => lines.extend(match (step.state, &step.blocked_by) {
                (Final::Blocked, Some(by)) => Some(format!(
                    "{} {}  by {by}",
                    paint.warn("- blocked    "),
                    step.label
                )),
                (Final::Skipped, _) => {
                    Some(format!("{} {}", paint.warn("- skipped    "), step.label))
                }
                _ => finished(step, picture, paint),
            }),
            What::Note { text } => {
                lines.push(format!("{} {}", paint.hint("note:"), one_line(text)));
            }
            What::Warning { text } => {
                lines.push(format!("{} {}", paint.warn("warning:"), one_line(text)));
            }
            _ => {}
        }
    }
    lines.push(String::new());
    match &picture.summary {
        Some(end) => match &end.refused {
            Some(refused) => lines.extend(refused.lines().map(str::to_owned)),
            None => lines.extend(summary(end, paint)),
        },
        None => lines.push(format!(
            "no end is on record: it is under way, or was killed after {}",
            span(picture.ms)
        )),
    }
    lines
}

fn failing(record: &Record) -> Vec<String> {
    let paint = Paint::for_stdout();
    let mut lines = failures(&record.picture, None, paint);
    if lines.is_empty() {
        let id = record
            .picture
            .run
            .as_ref()
            .map_or("", |run| run.run.as_str());
        lines.push(format!("Nothing failed in run {id}"));
    } else if lines[0].is_empty() {
        lines.remove(0);
    }
    lines
}

fn replay(record: &Record, speed: f64, output: Drawing) -> CliResult {
    let terminal = terminal::stderr_is_terminal();
    let paint = Paint::for_stderr();
    let report: Box<dyn Report> = match output {
        Drawing::Auto if terminal => Box::new(Live::stderr(paint)),
        Drawing::Auto | Drawing::Plain => Box::new(Plain::new(terminal::runner(), paint)),
        Drawing::Json => Box::new(crate::report::Lines::new(terminal::events())),
    };
    let reporter = Reporter::start(vec![report]);
    let sink = reporter.sink();
    let mut at = 0;
    for event in &record.events {
        let gap = event.ms.saturating_sub(at);
        std::thread::sleep(Duration::from_millis(gap).div_f64(speed));
        at = event.ms;
        sink(event.clone());
    }
    match reporter.finish().into_iter().next() {
        Some(defect) => Err(CliError::failed(defect.message)),
        None => Ok(()),
    }
}

impl From<RecordError> for CliError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Unknown { .. } | RecordError::Several { .. } => {
                Self::usage(error).hint("`foundry run list` lists the runs on record")
            }
            RecordError::None => Self::usage(error).hint("`foundry build stack` makes the first"),
            RecordError::Read { .. } | RecordError::Line { .. } => Self::failed(error),
        }
    }
}
