//! Folds events into what there is to see at a moment. Draws nothing.

use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;

use crate::event::{
    Counts, Event, Final, HostUnreachable, LockWaiting, Planned, RunStarted, StepFinished, Summary,
    What,
};

/// Names of blocked steps kept for each step that blocks; beyond that only the number counts.
const BLOCKED_NAMES: usize = 5;

/// A step whose work is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// When it began, in milliseconds since the run started.
    pub since: u64,
    /// What it said last.
    pub says: Option<String>,
}

/// Steps that another one holds up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// How many.
    pub count: u32,
    /// Labels of the first few.
    pub first: Vec<String>,
}

/// All that events have told so far.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// How the run began.
    pub run: Option<RunStarted>,
    /// What the plan says.
    pub planned: Option<Planned>,
    /// Hosts that answered their probe.
    pub probed: u32,
    /// Longest time that a host took for its probe, in milliseconds.
    pub probe_ms: u64,
    /// Hosts that could not be probed.
    pub unreachable: Vec<HostUnreachable>,
    /// Who holds the lock, while we wait for it.
    pub waiting: Option<LockWaiting>,
    /// Running steps by label, longest-running first.
    pub running: IndexMap<String, Running>,
    /// How many steps ended how.
    pub counts: Counts,
    /// Steps that failed, in the order in which they did.
    pub troubles: Vec<StepFinished>,
    /// Steps held up, by the label of the step that does it.
    pub blocked: HashMap<String, Blocked>,
    /// Steps by host that could not be reached.
    pub out_of_reach: BTreeMap<String, u32>,
    /// `Some(true)`: running steps are being stopped; `Some(false)`: nothing new starts.
    pub interrupted: Option<bool>,
    /// The end.
    pub summary: Option<Summary>,
    /// Time of the last event, in milliseconds since the run started.
    pub ms: u64,
    /// Width of the longest label that may be drawn, in characters.
    pub widest: usize,
}

impl Picture {
    /// Takes one event in.
    pub fn fold(&mut self, event: &Event) {
        self.ms = self.ms.max(event.ms);
        match &event.what {
            What::RunStarted(started) => self.run = Some(started.clone()),
            What::HostProbed(probed) => {
                self.probed += 1;
                self.probe_ms = self.probe_ms.max(probed.ms);
            }
            What::HostUnreachable(host) => self.unreachable.push(host.clone()),
            What::Planned(planned) => self.planned = Some(planned.clone()),
            What::StepPlanned(step) => self.widest = self.widest.max(step.label.chars().count()),
            What::LockWaiting(waiting) => self.waiting = Some(waiting.clone()),
            What::LockTaken { .. } => self.waiting = None,
            What::StepStarted { label } => {
                self.widest = self.widest.max(label.chars().count());
                self.running.insert(
                    label.clone(),
                    Running {
                        since: event.ms,
                        says: None,
                    },
                );
            }
            What::StepSays { label, text } => self.say(label, text),
            What::StepRetrying {
                label,
                attempt,
                error,
                ..
            } => self.say(label, &format!("attempt {attempt} after: {error}")),
            What::StepFinished(step) => self.finish(step),
            What::Interrupted { now } => self.interrupted = Some(*now),
            What::RunFinished(summary) => {
                self.summary = Some(summary.clone());
                self.running.clear();
                self.waiting = None;
            }
            What::Rollout(_) | What::Note { .. } | What::Warning { .. } | What::Unknown => {}
        }
    }

    /// Returns how many steps there are, as far as is known.
    #[must_use]
    pub fn total(&self) -> u32 {
        let planned = self
            .planned
            .as_ref()
            .map_or(0, |planned| planned.verdicts.steps());
        planned.max(self.counts.ended())
    }

    /// Returns how many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.hosts)
    }

    fn say(&mut self, label: &str, text: &str) {
        if let Some(running) = self.running.get_mut(label) {
            running.says = Some(text.to_owned());
        }
    }

    fn finish(&mut self, step: &StepFinished) {
        self.running.shift_remove(&step.label);
        if !(step.elsewhere && step.state.is_done()) {
            self.counts.add(step.state);
        }
        match (step.state, &step.blocked_by, &step.host) {
            (Final::Unreachable, _, Some(host)) => {
                let known = self.unreachable.iter().any(|down| down.host == *host);
                *self.out_of_reach.entry(host.clone()).or_default() += 1;
                if !known {
                    self.troubles.push(step.clone());
                }
            }
            (Final::Failed | Final::Unreachable | Final::Interrupted, _, _) => {
                self.troubles.push(step.clone());
            }
            (Final::Blocked, Some(by), _) => {
                let blocked = self.blocked.entry(by.clone()).or_default();
                blocked.count += 1;
                if blocked.first.len() < BLOCKED_NAMES {
                    blocked.first.push(step.label.clone());
                }
            }
            _ => {}
        }
    }
}
