//! `foundry report`: several records of runs as one. Reads files; asks no host anything.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::exit::{CliError, CliResult, Ending};
use super::home::Home;
use super::print::{Output, print, print_json};
use super::reports::{report_file, summary_file};
use crate::event::Event;
use crate::report::{Kind, Merged, Paint, Record, counted, find, markdown, span};
use crate::terminal::{Page, one_line};

/// Makes one report of several runs, such as the shards of one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  foundry report merge shard-*.jsonl --report junit=report.xml
  foundry report merge shard-*.jsonl --report timings=timings.html --output json
  foundry report merge ab12 cd34                  runs of this machine, by a part of their ids

Each shard writes its record with `--report events=FILE`. A shard that was killed and started again has two: of a step \
in both, the last word counts. Exit code 1 if a step is not as wanted, or a shard has no end on record.")]
pub struct ReportArgs {
    #[command(subcommand)]
    command: ReportCommand,
}

#[derive(Debug, Subcommand)]
enum ReportCommand {
    /// Merges records of runs
    Merge {
        /// Records: files of events, or runs by id
        #[arg(required = true, value_name = "RECORD")]
        records: Vec<String>,
        /// Write a report of a kind to a file: junit, json, trace or timings
        #[arg(long = "report", value_name = "KIND=FILE", value_parser = report_file)]
        reports: Vec<(Kind, PathBuf)>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Runs `foundry report …`.
///
/// # Errors
/// When a record can't be read, a report can't be written, or something is not as wanted.
pub fn report(args: &ReportArgs) -> CliResult {
    let ReportCommand::Merge {
        records,
        reports,
        output,
    } = &args.command;
    if reports.iter().any(|(kind, _)| *kind == Kind::Events) {
        return Err(CliError::usage(
            "events of several runs can't be one stream: `json` has every step",
        ));
    }
    let read = records
        .iter()
        .map(|name| record(name))
        .collect::<Result<Vec<_>, _>>()?;
    let merged = Merged::of(read.iter().map(Vec::as_slice));
    if merged.parts.is_empty() {
        return Err(CliError::usage("no record has the beginning of a run"));
    }
    for (kind, path) in reports {
        let text = kind.write(&merged, &[]).map_err(CliError::failed)?;
        fs::write(path, text).map_err(|error| {
            CliError::failed(format!("can't write {}: {error}", path.display()))
        })?;
    }
    if let Some(path) = summary_file() {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        file.write_all(markdown(&merged).as_bytes())?;
    }
    match output {
        Output::Json => print_json(&merged)?,
        Output::Text => print(&text(&merged))?,
    }
    if merged.all_done() {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Failed))
    }
}

/// Reads a record: a file if there is one of that name, else a run of this machine.
fn record(name: &str) -> Result<Vec<Event>, CliError> {
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Record::read_file(path)?.events);
    }
    if name.contains(['/', '.']) {
        return Err(CliError::usage(format!("there is no file {name}")));
    }
    let folder = Home::from_env()?.runs();
    let run = find(&folder, Some(name))?;
    Ok(Record::read(&folder, &run)?.events)
}

fn text(merged: &Merged) -> Page {
    let paint = Paint::for_stdout();
    let mut out = Page::new();
    for part in &merged.parts {
        let end = match (&part.refused, part.ended) {
            (Some(refused), _) => paint.bad(&one_line(refused)),
            (None, true) => paint.good("ended"),
            (None, false) => paint.bad("broke off"),
        };
        let shard = part.run.shard.as_deref().unwrap_or("-");
        out.line(format_args!(
            "{}  {shard:>7}  after {:>6}  {end}",
            part.run.run,
            span(part.after_ms)
        ));
    }
    out.gap();
    for step in &merged.outcomes {
        if step.state.is_done() {
            continue;
        }
        let state = format!("{:<11}", step.state.word());
        let state = if step.state.is_trouble() {
            paint.bad(&state)
        } else {
            paint.warn(&state)
        };
        out.line(format_args!(
            "{state} {}  {}",
            step.label,
            one_line(&step.why())
        ));
    }
    for shard in &merged.missing {
        out.line(format_args!(
            "{} has no end on record",
            paint.bad(&format!("shard {shard}"))
        ));
    }
    out.line(format_args!(
        "{} in {}",
        counted(&merged.counts, paint),
        span(merged.ms)
    ));
    out
}
