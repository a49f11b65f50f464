//! `foundry run critical-path` and `foundry run diff`: where the time of a run went, and how two runs differ. Pure text
//! and data over records.

use std::collections::BTreeMap;

use serde::Serialize;

use super::print::table;
use crate::report::{Merged, Outcome, Paint, span};
use crate::terminal::{Page, line};

/// A step on the critical path.
#[derive(Debug, Serialize)]
pub struct PathRow {
    label: String,
    /// Milliseconds from the beginning of the run.
    at: Option<u64>,
    ms: u64,
    /// Milliseconds between the end of the step before and its own beginning: what it waited for a place, a batch or a
    /// pool.
    waited: u64,
}

/// The critical path of a run.
#[derive(Debug, Serialize)]
pub struct Critical {
    /// Milliseconds that the run took.
    ms: u64,
    /// Milliseconds of the steps on the path.
    path_ms: u64,
    steps: Vec<PathRow>,
}

impl Critical {
    /// Finds the path that the record tells of.
    pub fn of(merged: &Merged) -> Self {
        let mut end = None;
        let steps: Vec<PathRow> = merged
            .longest
            .iter()
            .map(|step| {
                let found = merged.outcome(&step.label);
                let at = found.map(|outcome| outcome.at);
                let waited = at
                    .zip(end)
                    .map_or(0, |(at, end): (u64, u64)| at.saturating_sub(end));
                end = at.map(|at| at + step.ms);
                PathRow {
                    label: step.label.clone(),
                    at,
                    ms: step.ms,
                    waited,
                }
            })
            .collect();
        Self {
            ms: merged.ms,
            path_ms: steps.iter().map(|step| step.ms).sum(),
            steps,
        }
    }

    /// Draws it for people.
    pub fn text(&self, paint: Paint) -> Page {
        if self.steps.is_empty() {
            return line("No step of that run took any time, or its end is not on record");
        }
        let rows: Vec<Vec<String>> = self
            .steps
            .iter()
            .map(|step| {
                vec![
                    step.at.map_or_else(String::new, span),
                    if step.waited > 99 {
                        paint.warn(&span(step.waited))
                    } else {
                        String::new()
                    },
                    span(step.ms),
                    step.label.clone(),
                ]
            })
            .collect();
        let mut out = table(&["AT", "WAITED", "TOOK", "STEP"], &rows);
        out.gap();
        let mut told = format!(
            "{} of {} in {} steps",
            span(self.path_ms),
            span(self.ms),
            self.steps.len()
        );
        // Hundredths, without floating point.
        if let Some(ratio) = (self.ms * 100).checked_div(self.path_ms) {
            told += &format!(
                ": the run took {}.{:02} times its critical path",
                ratio / 100,
                ratio % 100
            );
        }
        out.line(told);
        out
    }
}

/// A step that differs between two runs.
#[derive(Debug, Serialize)]
pub struct Differing {
    label: String,
    before: Option<Side>,
    after: Option<Side>,
}

/// How a step went in one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Side {
    state: crate::event::Final,
    ms: u64,
}

/// How two runs differ.
#[derive(Debug, Serialize)]
pub struct Diff {
    before_ms: u64,
    after_ms: u64,
    /// Steps that ended otherwise, or are in one of them only.
    ended_otherwise: Vec<Differing>,
    /// Steps that ran in both and took a tenth of a second more or less, the most different first.
    took_otherwise: Vec<Differing>,
}

/// A step's time must differ by so many milliseconds to be worth telling.
const NOTABLE: u64 = 100;

/// Lines of each list that are shown; JSON has all.
const SHOWN: usize = 40;

impl Diff {
    /// Holds `after` against `before`.
    pub fn of(before: &Merged, after: &Merged) -> Self {
        fn by_label(merged: &Merged) -> BTreeMap<&str, Side> {
            let side = |step: &Outcome| Side {
                state: step.state,
                ms: step.ms,
            };
            merged
                .outcomes
                .iter()
                .map(|step| (step.label.as_str(), side(step)))
                .collect()
        }
        let (old, new) = (by_label(before), by_label(after));
        let labels: std::collections::BTreeSet<&str> =
            old.keys().chain(new.keys()).copied().collect();
        let mut diff = Self {
            before_ms: before.ms,
            after_ms: after.ms,
            ended_otherwise: Vec::new(),
            took_otherwise: Vec::new(),
        };
        for label in labels {
            let (before, after) = (old.get(label).copied(), new.get(label).copied());
            let differing = Differing {
                label: label.to_owned(),
                before,
                after,
            };
            if before.map(|side| side.state) != after.map(|side| side.state) {
                diff.ended_otherwise.push(differing);
            } else if differing.by() >= NOTABLE {
                diff.took_otherwise.push(differing);
            }
        }
        diff.took_otherwise
            .sort_by_key(|step| std::cmp::Reverse(step.by()));
        diff
    }

    /// Draws it for people.
    pub fn text(&self) -> Page {
        let state =
            |side: Option<Side>| side.map_or_else(|| "-".to_owned(), |side| side.state.to_string());
        let time = |side: Option<Side>| side.map_or_else(|| "-".to_owned(), |side| span(side.ms));
        let mut out = line(format_args!(
            "The run took {}, before {}",
            span(self.after_ms),
            span(self.before_ms)
        ));
        let lists = [
            (
                "Ended otherwise",
                &self.ended_otherwise,
                &state as &dyn Fn(Option<Side>) -> String,
            ),
            ("Took otherwise", &self.took_otherwise, &time),
        ];
        for (title, steps, cell) in lists {
            if steps.is_empty() {
                continue;
            }
            out.gap();
            out.line(format_args!("{title}: {}", steps.len()));
            let rows: Vec<Vec<String>> = steps
                .iter()
                .take(SHOWN)
                .map(|step| vec![cell(step.before), cell(step.after), step.label.clone()])
                .collect();
            out.page(&table(&["BEFORE", "AFTER", "STEP"], &rows));
            if steps.len() > SHOWN {
                out.line(format_args!(
                    "… and {} more; `--output json` has all",
                    steps.len() - SHOWN
                ));
            }
        }
        if self.ended_otherwise.is_empty() && self.took_otherwise.is_empty() {
            out.line("Every step ended as before and took as long");
        }
        out
    }
}

impl Differing {
    fn by(&self) -> u64 {
        match (self.before, self.after) {
            (Some(before), Some(after)) => before.ms.abs_diff(after.ms),
            _ => 0,
        }
    }
}
