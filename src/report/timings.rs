//! A run as one HTML page that needs nothing else: who did what when, how much at once, the critical path, what took
//! longest, what failed, why each step ran. The page draws what it shows itself, so ten thousand hosts are columns of
//! numbers in it, and no elements.

use std::collections::{BTreeMap, HashSet};

use indexmap::IndexSet;
use serde_json::{Value as Json, json};

use super::merge::{Merged, Outcome};
use super::words;
use crate::event::Final;

/// The page; `{{data}}` stands for the numbers.
const PAGE: &str = include_str!("timings/page.html");

/// Failures that are listed one by one.
const LISTED: usize = 500;

/// Reasons that are told apart for one step.
const REASONS: usize = 40;

/// Returns the page of `merged`.
#[must_use]
pub fn timings(merged: &Merged) -> String {
    let data = data(merged).to_string();
    // Within a script nothing may look like its end.
    PAGE.replace("{{data}}", &data.replace('<', "\\u003c"))
}

fn data(merged: &Merged) -> Json {
    let mut hosts: IndexSet<&str> = IndexSet::new();
    let mut steps: IndexSet<&str> = IndexSet::new();
    let mut whys: IndexSet<String> = IndexSet::new();
    let mut rows = Rows::default();
    let mut told: BTreeMap<usize, IndexSet<usize>> = BTreeMap::new();
    for outcome in merged.outcomes.iter().filter(|outcome| begun(outcome)) {
        let (host, _) = hosts.insert_full(outcome.host.as_deref().unwrap_or("(no host)"));
        let (step, _) = steps.insert_full(without_host(outcome));
        // A million hosts may have a million reasons of their own: after some, one step's are all alike to the page.
        let known = told.entry(step).or_default();
        let why = if known.len() < REASONS {
            words::reasons(&outcome.reasons)
        } else {
            "(more reasons)".to_owned()
        };
        let (why, _) = whys.insert_full(why);
        known.insert(why);
        rows.add(outcome, host, step, why);
    }
    // Hosts that are out of reach are listed by themselves, not once for each of their steps.
    let down: HashSet<&str> = merged
        .unreachable
        .iter()
        .map(|host| host.host.as_str())
        .collect();
    let failures: Vec<Json> = merged
        .outcomes
        .iter()
        .filter(|outcome| is_trouble(outcome, &down))
        .take(LISTED)
        .map(|outcome| {
            json!({ "label": outcome.label, "state": outcome.state, "why": outcome.why(), "at": outcome.at, "ms": outcome.ms })
        })
        .collect();
    let troubles = merged
        .outcomes
        .iter()
        .filter(|outcome| is_trouble(outcome, &down));
    let runs: Vec<Json> = merged
        .parts
        .iter()
        .map(|part| {
            json!({
                "run": part.run.run, "command": part.run.command, "started": part.run.started,
                "shard": part.run.shard, "ended": part.ended, "refused": part.refused,
            })
        })
        .collect();
    json!({
        "stack": merged.parts.first().map(|part| part.run.stack.as_str()),
        "fleet": merged.parts.first().map(|part| part.run.hosts),
        "version": merged.parts.first().map(|part| part.run.foundry.as_str()),
        "runs": runs,
        "ms": merged.ms,
        "counts": merged.counts,
        "states": Final::ALL.map(Final::word),
        "hosts": hosts,
        "steps": steps,
        "whys": whys,
        "rows": { "host": rows.host, "step": rows.step, "at": rows.at, "ms": rows.ms, "state": rows.state, "why": rows.why },
        "path": path(merged),
        "troubles": troubles.count(),
        "failures": failures,
        "unreachable": merged.unreachable.iter().take(LISTED).map(|host| json!({ "host": host.host, "why": host.message })).collect::<Vec<_>>(),
        "out": merged.unreachable.len(),
        "rollouts": merged.rollouts,
        "missing": merged.missing,
    })
}

/// The steps that were begun, by column.
#[derive(Default)]
struct Rows {
    host: Vec<usize>,
    step: Vec<usize>,
    at: Vec<u64>,
    ms: Vec<u64>,
    state: Vec<usize>,
    why: Vec<usize>,
}

impl Rows {
    fn add(&mut self, outcome: &Outcome, host: usize, step: usize, why: usize) {
        self.host.push(host);
        self.step.push(step);
        self.at.push(outcome.at);
        self.ms.push(outcome.ms);
        let state = Final::ALL.iter().position(|state| *state == outcome.state);
        self.state.push(state.unwrap_or_default());
        self.why.push(why);
    }
}

fn begun(outcome: &Outcome) -> bool {
    outcome.attempts > 0 || outcome.state == Final::Interrupted
}

fn is_trouble(outcome: &Outcome, down: &HashSet<&str>) -> bool {
    match outcome.state {
        Final::Failed | Final::Interrupted => true,
        Final::Unreachable => outcome
            .host
            .as_deref()
            .is_none_or(|host| !down.contains(host)),
        Final::Ran | Final::Satisfied | Final::Blocked | Final::Skipped => false,
    }
}

/// Returns the label but for the host.
fn without_host(outcome: &Outcome) -> &str {
    let label = outcome.label.as_str();
    outcome
        .host
        .as_deref()
        .and_then(|host| label.strip_suffix(host)?.strip_suffix('@'))
        .unwrap_or(label)
}

/// Returns the critical path with the times at which its steps began.
fn path(merged: &Merged) -> Vec<Json> {
    merged
        .longest
        .iter()
        .map(|step| {
            let found = merged.outcome(&step.label);
            json!({ "label": step.label, "ms": step.ms, "at": found.map(|outcome| outcome.at) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_page_holds_all_it_needs_and_nothing_escapes_from_its_data() {
        let mut events = fixture::run();
        let mut evil = fixture::step("demo:evil@a", Final::Failed, 5);
        evil.trouble = Some(crate::event::Trouble {
            message: fixture::masked("</script><script>alert(1)</script>"),
            found: Vec::new(),
            output: None,
            hint: None,
            status: None,
        });
        events.insert(5, fixture::finished(evil, 400));
        let page = timings(&Merged::of([events.as_slice()]));
        assert_eq!(
            page.matches("</script>").count(),
            PAGE.matches("</script>").count()
        );
        assert!(!page.contains("{{data}}"));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(outside), "the page asks for {outside}");
        }
    }

    #[test]
    fn its_data_has_every_step_that_was_begun_once() {
        let merged = Merged::of([fixture::run().as_slice()]);
        let data = data(&merged);
        assert_eq!(data["hosts"], json!(["a", "b"]));
        assert_eq!(data["steps"], json!(["demo:config", "demo:service"]));
        assert_eq!(data["rows"]["at"], json!([460, 470]));
        assert_eq!(data["path"][0]["at"], json!(470));
        assert_eq!(data["failures"][0]["label"], json!("demo:service@b"));
        assert_eq!(
            data["whys"][0],
            json!("fact `mode` is 0644, wanted 0600 (and 1 more)")
        );
    }
}
