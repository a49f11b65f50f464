//! A run in Chrome's trace format, for Perfetto and `chrome://tracing`: a process for each host, its steps in as many rows
//! as ran at once.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::merge::Outcome;

/// Where steps stand that run on no single host.
const NO_HOST: &str = "(no host)";

/// Returns the trace of `outcomes`, steps that were not begun left out.
#[must_use]
pub fn trace(outcomes: &[Outcome]) -> Json {
    let begun = || outcomes.iter().filter(|step| step.attempts > 0);
    let name = |step: &Outcome| step.host.clone().unwrap_or_else(|| NO_HOST.to_owned());
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for step in begun() {
        let next = numbers.len() + 1;
        numbers.entry(name(step)).or_insert(next);
    }
    let mut events: Vec<Json> = numbers
        .iter()
        .map(|(host, number)| {
            json!({ "name": "process_name", "ph": "M", "pid": number, "args": { "name": host } })
        })
        .collect();
    // For each host: when each of its rows comes free.
    let mut rows: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for step in begun() {
        let process = numbers[&name(step)];
        let rows = rows.entry(process).or_default();
        let row = rows.iter().position(|free| *free <= step.at);
        let row = row.unwrap_or_else(|| {
            rows.push(0);
            rows.len() - 1
        });
        rows[row] = step.at + step.ms;
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        events.push(json!({
            "name": step.label, "cat": step.state.word(), "ph": "X",
            // Microseconds.
            "ts": step.at * 1000, "dur": step.ms * 1000,
            "pid": process, "tid": row,
            "args": { "state": step.state, "why": reasons, "attempts": step.attempts },
        }));
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::merge::Merged;

    #[test]
    fn steps_that_ran_at_once_stand_in_rows_of_their_own() {
        let mut events = fixture::run();
        events.truncate(4);
        for label in ["app:a@h1", "app:b@h1", "app:c@h2"] {
            events.push(fixture::started(500, label));
        }
        for (label, at) in [("app:a@h1", 700), ("app:b@h1", 900), ("app:c@h2", 650)] {
            let step = fixture::step(label, crate::event::Final::Ran, at - 500);
            events.push(fixture::finished(step, at));
        }
        events.push(fixture::started(800, "app:d@h1"));
        let step = fixture::step("app:d@h1", crate::event::Final::Ran, 10);
        events.push(fixture::finished(step, 810));
        let merged = Merged::of([events.as_slice()]);
        let trace = trace(&merged.outcomes);
        let shown: Vec<String> = trace["traceEvents"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                format!(
                    "{} {}/{} {}+{}",
                    event["name"].as_str().unwrap(),
                    event["pid"],
                    event["tid"],
                    event["ts"],
                    event["dur"]
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "app:a@h1 1/0 500000+200000",
                "app:b@h1 1/1 500000+400000",
                "app:c@h2 2/0 500000+150000",
                "app:d@h1 1/0 800000+10000",
            ]
        );
    }
}
