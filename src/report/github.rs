//! What GitHub shows of a run: errors as annotations, and a summary of the job. Knows GitHub's way to write both, not
//! whether this is GitHub.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::driver::Report;
use super::merge::{Merged, Outcome};
use super::words;
use crate::event::{Event, Final, What};
use crate::terminal::{one_line, shown};

/// GitHub shows ten annotations of a kind and step, and drops the rest.
const ANNOTATED: usize = 10;

/// Failures listed in the summary, which may have a megabyte at most.
const LISTED: usize = 100;

/// Tells GitHub of a run.
pub struct GitHub<W> {
    to: W,
    summary: Option<PathBuf>,
    events: Vec<Event>,
    annotated: usize,
}

impl<W: Write + Send> GitHub<W> {
    /// Writes annotations to `to`, which GitHub must read, and appends to the file `summary`.
    pub fn new(to: W, summary: Option<PathBuf>) -> Self {
        Self {
            to,
            summary,
            events: Vec::new(),
            annotated: 0,
        }
    }

    fn annotate(&mut self, title: &str, text: &str) {
        self.annotated += 1;
        if self.annotated <= ANNOTATED {
            // Nothing can be done for a reader that is gone.
            let _ = writeln!(self.to, "::error title={}::{}", property(title), data(text));
        }
    }
}

impl<W: Write + Send> Report for GitHub<W> {
    fn event(&mut self, event: &Event) {
        match &event.what {
            What::StepFinished(step) if step.state.is_trouble() && step.trouble.is_some() => {
                self.annotate(
                    &format!("{} {}", step.label, step.state),
                    &words::trouble(step),
                );
            }
            What::HostUnreachable(host) => {
                self.annotate(&format!("{} unreachable", host.host), &host.message);
            }
            What::RunFinished(end) => {
                if let Some(refused) = &end.refused {
                    self.annotate("the run never began", refused);
                }
            }
            _ => {}
        }
        self.events.push(event.clone());
    }

    fn finish(&mut self) -> Option<String> {
        let path = self.summary.as_ref()?;
        let text = markdown(&Merged::of([self.events.as_slice()]));
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written
            .err()
            .map(|error| format!("can't write the summary of the job: {error}"))
    }
}

/// Returns a run as Markdown.
#[must_use]
pub fn markdown(merged: &Merged) -> String {
    let mut out = String::new();
    let mark = if merged.all_done() { "✅" } else { "❌" };
    let Some(first) = merged.parts.first() else {
        return out;
    };
    let shard = match &merged.parts[..] {
        [only] => only
            .run
            .shard
            .as_ref()
            .map(|shard| format!(", shard {shard}")),
        parts => Some(format!(", {} runs", parts.len())),
    };
    let _ = writeln!(
        out,
        "### {mark} Stack {}{}: {}\n",
        cell(&first.run.stack),
        shard.unwrap_or_default(),
        words::span(merged.ms)
    );
    let _ = writeln!(
        out,
        "`{}`\n",
        shown(&one_line(&first.run.command)).replace('`', "'")
    );
    for part in &merged.parts {
        if let Some(refused) = &part.refused {
            let _ = writeln!(out, "The run never began: {}\n", cell(refused));
        }
    }
    let counted: Vec<Final> = Final::ALL
        .into_iter()
        .filter(|state| merged.counts.of(*state) > 0)
        .collect();
    if !counted.is_empty() {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        out += &row(counted
            .iter()
            .map(|state| state.word().to_owned())
            .collect());
        out += &row(counted.iter().map(|_| "---:".to_owned()).collect());
        out += &row(counted
            .iter()
            .map(|state| merged.counts.of(*state).to_string())
            .collect());
        out.push('\n');
    }
    for rollout in &merged.rollouts {
        if let Some(why) = &rollout.stopped {
            let _ = writeln!(
                out,
                "Rollout of **{}** stopped: {} ({} done, {} untouched)\n",
                cell(&rollout.component),
                cell(why),
                rollout.hosts.done,
                rollout.hosts.untouched
            );
        }
    }
    let bad: Vec<&Outcome> = merged
        .outcomes
        .iter()
        .filter(|step| step.state.is_trouble() || step.state == Final::Interrupted)
        .collect();
    if !bad.is_empty() {
        out += "| step | state | why |\n|---|---|---|\n";
        for step in bad.iter().take(LISTED) {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} |",
                cell(&step.label),
                step.state,
                cell(&step.why())
            );
        }
        if bad.len() > LISTED {
            let _ = writeln!(out, "\n… and {} more", bad.len() - LISTED);
        }
        out.push('\n');
    }
    if !merged.missing.is_empty() {
        let _ = writeln!(
            out,
            "Without an end on record: {}\n",
            merged.missing.join(", ")
        );
    }
    out
}

/// Makes text fit for a cell of a table.
fn cell(text: &str) -> String {
    shown(&one_line(text))
        .replace('|', "\\|")
        .replace('<', "&lt;")
        // No link or picture of somebody else's.
        .replace('[', "&#91;")
}

/// Escapes the text of an annotation.
fn data(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| shown(line).replace('%', "%25"))
        .collect();
    lines.join("%0A")
}

/// Escapes a property of an annotation.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn an_error_for_each_failure_and_a_summary_of_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut lines = Vec::new();
        let mut github = GitHub::new(&mut lines, Some(file.path().to_owned()));
        fixture::run().iter().for_each(|event| github.event(event));
        assert_eq!(github.finish(), None);
        insta::assert_snapshot!(String::from_utf8(lines).unwrap(), @"::error title=demo%3Aservice@b failed::applied, but still not as wanted: fact `active` is failed, wanted active");
        insta::assert_snapshot!(std::fs::read_to_string(file.path()).unwrap(), @r##"
        ### ❌ Stack lab: 1m 02s

        `foundry build stack`

        | ran | satisfied | failed | blocked |
        | ---: | ---: | ---: | ---: |
        | 1 | 2 | 1 | 1 |

        | step | state | why |
        |---|---|---|
        | `demo:service@b` | failed | applied, but still not as wanted: fact `active` is failed, wanted active |
        "##);
    }

    #[test]
    fn what_would_end_an_annotation_is_escaped() {
        assert_eq!(data("50%\nof"), "50%25%0Aof");
        assert_eq!(data("a\r\n::b\u{1b}[2J\rc"), "a%0A::b^[[2J^Mc");
        assert_eq!(cell("![x](y)\u{1b} | <b>"), "!&#91;x](y)^&#91; \\| &lt;b>");
        assert_eq!(property("a:b, c"), "a%3Ab%2C c");
    }
}
