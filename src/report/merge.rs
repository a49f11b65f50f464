//! One picture of several records: shards of a run, and a shard that was killed and started again. Pure; knows only
//! events.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use super::words;
use crate::event::{
    Counts, Event, Final, HostUnreachable, PathStep, Reason, RolloutEnded, RunStarted,
    StepFinished, Summary, Trouble, What,
};

/// How one step ended, all records considered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Label of the step.
    pub label: String,
    /// Its host, if it runs on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its final state.
    pub state: Final,
    /// Why it was run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The step that held it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// Which shard did it, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// When it began, in milliseconds since the first record began. That of its end for what was not begun.
    pub at: u64,
    /// Milliseconds that it took.
    pub ms: u64,
    /// How many times it was tried.
    pub attempts: u32,
}

impl Outcome {
    /// Returns why it is not as wanted, in one line.
    #[must_use]
    pub fn why(&self) -> String {
        match (&self.trouble, &self.blocked_by) {
            (Some(trouble), _) => {
                let first = trouble.message.lines().next().unwrap_or_default();
                match trouble.found.as_slice() {
                    [] => first.to_owned(),
                    found => format!("{first}: {}", words::reasons(found)),
                }
            }
            (None, Some(by)) => format!("blocked by {by}"),
            (None, None) => match self.state {
                Final::Interrupted => "stopped in the middle".to_owned(),
                Final::Skipped => {
                    "not begun: the run was interrupted or a rollout stopped".to_owned()
                }
                _ => words::reasons(&self.reasons),
            },
        }
    }

    fn was_begun(&self) -> bool {
        self.attempts > 0 || self.state == Final::Interrupted
    }
}

/// One of the records.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// How it began.
    pub run: RunStarted,
    /// Milliseconds from the beginning of the first record to this one's.
    pub after_ms: u64,
    /// Whether its end is on record.
    pub ended: bool,
    /// Why it never began to change anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Several records as one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Merged {
    /// The records, first begun first.
    pub parts: Vec<Part>,
    /// Steps by final state.
    pub counts: Counts,
    /// Milliseconds from the first beginning to the last event.
    pub ms: u64,
    /// Hosts that could not be asked.
    pub unreachable: Vec<HostUnreachable>,
    /// How components fared that were rolled out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutEnded>,
    /// The longest chain of steps of any one record.
    pub longest: Vec<PathStep>,
    /// Shards of which there is no record at all, or only one without an end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Every step, in the order in which they began.
    pub outcomes: Vec<Outcome>,
    /// What kind of host each host is: its roles.
    #[serde(skip)]
    pub groups: BTreeMap<String, String>,
}

impl Merged {
    /// Returns how the step of that label went, if it is on record.
    #[must_use]
    pub fn outcome(&self, label: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.label == label)
    }

    /// Merges records, each a stream of events from its beginning on. Of a step in several, the last word counts; that it
    /// ran is not forgotten where a later record only found it satisfied.
    #[must_use]
    pub fn of<'e>(records: impl IntoIterator<Item = &'e [Event]>) -> Self {
        let mut records: Vec<(&RunStarted, &[Event])> = records
            .into_iter()
            .filter_map(|events| {
                let started = events.iter().find_map(|event| match &event.what {
                    What::RunStarted(started) => Some(started),
                    _ => None,
                })?;
                Some((started, events))
            })
            .collect();
        records.sort_by_key(|(run, _)| (moment(&run.started), &run.run));
        let first = records.first().and_then(|(run, _)| moment(&run.started));
        let mut merged = Self::default();
        let mut steps: IndexMap<String, Outcome> = IndexMap::new();
        let mut unreachable: IndexMap<String, HostUnreachable> = IndexMap::new();
        let mut rollouts: Vec<(Option<String>, RolloutEnded)> = Vec::new();
        for (run, events) in &records {
            let after_ms = moment(&run.started)
                .zip(first)
                .map_or(0, |(now, first)| now.saturating_sub(first));
            let mut reader = Reader {
                shard: run.shard.clone(),
                after_ms,
                begun: IndexMap::new(),
                steps: &mut steps,
            };
            let mut summary: Option<&Summary> = None;
            for event in *events {
                merged.ms = merged.ms.max(after_ms + event.ms);
                match &event.what {
                    What::StepStarted { label } => {
                        reader.begun.insert(label.clone(), event.ms);
                    }
                    What::StepFinished(step) => reader.finished(step, event.ms),
                    What::HostProbed(probed) => {
                        unreachable.shift_remove(&probed.host);
                        merged.groups.extend(
                            probed
                                .group
                                .as_ref()
                                .map(|group| (probed.host.clone(), group.clone())),
                        );
                    }
                    What::HostUnreachable(host) => {
                        unreachable.insert(host.host.clone(), host.clone());
                        merged.groups.extend(
                            host.group
                                .as_ref()
                                .map(|group| (host.host.clone(), group.clone())),
                        );
                    }
                    What::RunFinished(end) => summary = Some(end),
                    _ => {}
                }
            }
            reader.broken_off();
            if let Some(summary) = summary {
                let length = |path: &[PathStep]| path.iter().map(|step| step.ms).sum::<u64>();
                if length(&summary.longest) > length(&merged.longest) {
                    merged.longest.clone_from(&summary.longest);
                }
                rollouts.retain(|(shard, _)| *shard != run.shard || run.shard.is_none());
                let own = summary.rollouts.iter().cloned();
                rollouts.extend(own.map(|rollout| (run.shard.clone(), rollout)));
            }
            merged.parts.push(Part {
                run: (*run).clone(),
                after_ms,
                ended: summary.is_some(),
                refused: summary
                    .and_then(|summary| summary.refused.as_ref())
                    .map(ToString::to_string),
            });
        }
        for outcome in steps.values() {
            merged.counts.add(outcome.state);
        }
        merged.missing = missing(&merged.parts);
        merged.rollouts = together(rollouts);
        merged.unreachable = unreachable.into_values().collect();
        merged.outcomes = steps.into_values().collect();
        merged.outcomes.sort_by_key(|step| step.at);
        merged
    }

    /// Returns whether every step is as wanted and every shard came to its end.
    #[must_use]
    pub fn all_done(&self) -> bool {
        let refused = || self.parts.iter().any(|part| part.refused.is_some());
        self.counts.all_done()
            && self.missing.is_empty()
            && !(self.outcomes.is_empty() && refused())
    }
}

/// Reads one record into what is known of steps.
struct Reader<'m> {
    shard: Option<String>,
    after_ms: u64,
    /// Steps under way, and since when.
    begun: IndexMap<String, u64>,
    steps: &'m mut IndexMap<String, Outcome>,
}

impl Reader<'_> {
    fn finished(&mut self, step: &StepFinished, at: u64) {
        let began = self.begun.shift_remove(&step.label);
        if step.elsewhere {
            return;
        }
        let began = began.unwrap_or_else(|| at.saturating_sub(step.ms));
        self.take(Outcome {
            label: step.label.clone(),
            host: step.host.clone(),
            state: step.state,
            reasons: step.reasons.clone(),
            trouble: step.trouble.clone(),
            blocked_by: step.blocked_by.clone(),
            shard: self.shard.clone(),
            at: self.after_ms + began,
            ms: step.ms,
            attempts: step.attempts,
        });
    }

    fn take(&mut self, outcome: Outcome) {
        let Some(before) = self.steps.get_mut(&outcome.label) else {
            self.steps.insert(outcome.label.clone(), outcome);
            return;
        };
        // What a record did not even begin says less than one that did, and what ran is satisfied ever after.
        let keep = match (before.state, outcome.state) {
            (Final::Ran, Final::Satisfied) => true,
            (_, Final::Skipped) => before.was_begun() || before.state.is_done(),
            _ => false,
        };
        if !keep {
            *before = outcome;
        }
    }

    /// The steps that were under way when the record broke off.
    fn broken_off(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        for (label, at) in begun {
            // Another shard's, which this one only waited for.
            let others = self
                .steps
                .get(&label)
                .is_some_and(|step| step.shard != self.shard);
            if others {
                continue;
            }
            let host = label
                .rsplit_once('@')
                .filter(|(_, host)| !host.contains(']'))
                .map(|(_, host)| host.to_owned());
            self.take(Outcome {
                host,
                label,
                state: Final::Interrupted,
                reasons: Vec::new(),
                trouble: None,
                blocked_by: None,
                shard: self.shard.clone(),
                at: self.after_ms + at,
                ms: 0,
                attempts: 0,
            });
        }
    }
}

/// Milliseconds of a moment, to compare.
fn moment(text: &str) -> Option<u64> {
    let stamp: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(stamp.as_millisecond()).ok()
}

/// Names the shards without a record of their end.
fn missing(parts: &[Part]) -> Vec<String> {
    let count = parts.iter().find_map(|part| {
        let (_, count) = part.run.shard.as_deref()?.split_once('/')?;
        count.parse::<u32>().ok()
    });
    match count {
        Some(count) => (1..=count)
            .map(|number| format!("{number}/{count}"))
            .filter(|shard| {
                !parts
                    .iter()
                    .any(|part| part.ended && part.run.shard.as_ref() == Some(shard))
            })
            .collect(),
        None => parts
            .iter()
            .filter(|part| !part.ended)
            .map(|part| part.run.run.to_string())
            .collect(),
    }
}

/// Adds up the rollouts of one component in several shards.
fn together(rollouts: Vec<(Option<String>, RolloutEnded)>) -> Vec<RolloutEnded> {
    let mut all: IndexMap<String, RolloutEnded> = IndexMap::new();
    for (_, rollout) in rollouts {
        match all.get_mut(&rollout.component) {
            None => _ = all.insert(rollout.component.clone(), rollout),
            Some(sum) => {
                sum.hosts.failed += rollout.hosts.failed;
                sum.hosts.unreachable += rollout.hosts.unreachable;
                sum.hosts.done += rollout.hosts.done;
                sum.hosts.unfinished += rollout.hosts.unfinished;
                sum.hosts.untouched += rollout.hosts.untouched;
                sum.stopped = sum.stopped.take().or(rollout.stopped);
            }
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{at, finished, run, started, step};

    fn shard(shard: &str, second: u32, what: Vec<Event>, ends: bool) -> Vec<Event> {
        let mut events = run();
        let (mut first, mut last) = (events.remove(0), events.pop().unwrap());
        if let What::RunStarted(run) = &mut first.what {
            run.shard = Some(shard.to_owned());
            run.started = format!("2026-11-22T20:14:{second:02}Z");
        }
        if let What::RunFinished(summary) = &mut last.what {
            summary.longest.clear();
            last.ms = 9000;
        }
        let mut all = vec![first];
        all.extend(what);
        all.extend(ends.then_some(last));
        all
    }

    #[test]
    fn lives_that_began_within_one_second_are_told_in_order() {
        let life = |ms: u32, name: &str, what: Vec<Event>, ends: bool| {
            let mut events = shard("1/2", 10, what, ends);
            if let What::RunStarted(run) = &mut events[0].what {
                run.started = format!("2026-11-22T20:14:10.{ms}Z");
                run.run = format!("20261122-201410-{name}").parse().unwrap();
            }
            events
        };
        let killed = life(100, "ffff", vec![started(50, "app:a@h1")], false);
        let done = finished(step("app:a@h1", Final::Ran, 40), 90);
        let again = life(900, "0000", vec![started(50, "app:a@h1"), done], true);
        let merged = Merged::of([&killed[..], &again[..]]);
        assert_eq!(merged.outcomes[0].state, Final::Ran);
        assert!(!merged.parts[0].ended && merged.parts[1].ended);
    }

    #[test]
    fn a_killed_shard_and_its_second_life_are_one() {
        let killed = shard(
            "1/2",
            10,
            vec![
                started(100, "app:a@h1"),
                finished(step("app:a@h1", Final::Ran, 400), 500),
                started(600, "app:b@h1"),
                started(600, "app:c@h1"),
            ],
            false,
        );
        let again = shard(
            "1/2",
            20,
            vec![
                finished(step("app:a@h1", Final::Satisfied, 0), 100),
                started(200, "app:b@h1"),
                finished(step("app:b@h1", Final::Ran, 300), 500),
            ],
            true,
        );
        let mut waited = step("app:a@h1", Final::Satisfied, 90);
        waited.elsewhere = true;
        let other = shard(
            "2/2",
            11,
            vec![
                started(50, "app:a@h2"),
                finished(step("app:a@h2", Final::Failed, 50), 100),
                finished(waited, 200),
                at(210, What::Unknown),
            ],
            true,
        );
        let merged = Merged::of([again.as_slice(), other.as_slice(), killed.as_slice()]);
        let shown: Vec<String> = merged
            .outcomes
            .iter()
            .map(|step| {
                format!(
                    "{} {} {} at {}",
                    step.shard.as_ref().unwrap(),
                    step.label,
                    step.state,
                    step.at
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1/2 app:a@h1 ran at 100",
                "1/2 app:c@h1 interrupted at 600",
                "2/2 app:a@h2 failed at 1050",
                "1/2 app:b@h1 ran at 10200",
            ]
        );
        assert_eq!(merged.counts.ran, 2);
        assert_eq!(merged.missing, Vec::<String>::new());
        assert_eq!(merged.ms, 19_000);
        assert!(!merged.all_done());

        let alone = Merged::of([killed.as_slice(), other.as_slice()]);
        assert_eq!(alone.missing, ["1/2"]);
    }
}
