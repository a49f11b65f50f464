//! The events themselves. Does not know who makes or reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Final, HostCounts, Verdicts};
use super::id::RunId;
use super::masked::Masked;
use crate::plan::{Reason, Verdict};
use crate::probe::Head;

/// Version of the written form. A reader may meet fields and kinds of event that it does not know (see
/// [`What::Unknown`]); the number moves only when something known changes its meaning.
pub const VERSION: u32 = 1;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Milliseconds since the run started.
    pub ms: u64,
    /// What happened.
    pub what: What,
}

/// Kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// The first event.
    RunStarted(RunStarted),
    /// A host answered its probe.
    HostProbed(HostProbed),
    /// A host could not be probed.
    HostUnreachable(HostUnreachable),
    /// Every step has its verdict.
    Planned(Planned),
    /// The verdict of one step. Not sent for satisfied steps, of which [`Planned`] has the number.
    StepPlanned(StepPlanned),
    /// Another run holds the stack's lock.
    LockWaiting(LockWaiting),
    /// The lock is ours.
    LockTaken {
        /// Host that holds the lock.
        host: String,
        /// The run it was taken over from, and why that was allowed, if it was not free.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Masked>,
    },
    /// A step's work began.
    StepStarted {
        /// Label of the step.
        label: String,
    },
    /// A step says how far it is.
    StepSays {
        /// Label of the step.
        label: String,
        /// One line.
        text: Masked,
    },
    /// A step is tried again.
    StepRetrying {
        /// Label of the step.
        label: String,
        /// Which attempt comes next; the first was 1.
        attempt: u32,
        /// Milliseconds until then.
        after_ms: u64,
        /// Why the last one did not do.
        error: Masked,
    },
    /// A step reached its final state. Sent once for every step, in whatever state it ends.
    StepFinished(StepFinished),
    /// A component moves on over its hosts, or no longer does.
    Rollout(RolloutMoved),
    /// Something to know.
    Note {
        /// One line.
        text: Masked,
    },
    /// Something to know that may need doing something about.
    Warning {
        /// One line.
        text: Masked,
    },
    /// The run was told to stop.
    Interrupted {
        /// `false`: running steps may end. `true`: they are being stopped.
        now: bool,
    },
    /// The last event.
    RunFinished(Summary),
    /// A kind of event that a later version knows.
    #[serde(other)]
    Unknown,
}

/// A run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunStarted {
    /// [`VERSION`].
    pub version: u32,
    /// Its name.
    pub run: RunId,
    /// The stack.
    pub stack: String,
    /// The command line as a person would type it, without secrets.
    pub command: String,
    /// When, RFC 3339 in UTC, to the millisecond.
    pub started: String,
    /// How many hosts the stack has.
    pub hosts: u32,
    /// Foundry's own version.
    pub foundry: String,
    /// Which shard of a run that several processes make together, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// What these processes call their run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

/// A host answered its probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostProbed {
    /// Its name.
    pub host: String,
    /// Milliseconds it took, connecting included.
    pub ms: u64,
    /// Programs sent to it.
    pub execs: u32,
    /// Processes that the probe started there.
    pub processes: u32,
    /// What kind of host it is: its roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A host could not be probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostUnreachable {
    /// Its name.
    pub host: String,
    /// In the other side's own words.
    pub message: Masked,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Masked>,
    /// What kind of host it is: its roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The plan is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Planned {
    /// Steps by verdict.
    pub verdicts: Verdicts,
    /// Hosts that the steps are on.
    pub hosts: u32,
}

/// What the plan says of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepPlanned {
    /// Label of the step.
    pub label: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, most telling first.
    pub reasons: Vec<Reason>,
}

/// Somebody else holds the lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LockWaiting {
    /// Host that the lock is on.
    pub host: String,
    /// Who holds it, in words.
    pub holder: Masked,
    /// Seconds until the lease ends, unless it is renewed.
    pub lease_s: u64,
}

/// A component's rollout went on, or stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RolloutMoved {
    /// The component.
    pub component: String,
    /// How it moved.
    pub state: RolloutState,
    /// Which batch this is about, from 1. Zero for a rollout that stopped.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub batch: u32,
    /// How many batches there are.
    pub batches: u32,
    /// How many hosts the batch has.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub hosts: u32,
    /// Whether the batch is a canary.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
    /// Milliseconds of soak before the batch is looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soak_ms: u64,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Masked>,
}

/// What became of a batch, or of the whole rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    /// The batch begins.
    Began,
    /// The batch has ended and is looked at after its soak.
    Checking,
    /// No further host begins.
    Stopped,
}

/// How the hosts of a component fared under its rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RolloutEnded {
    /// The component.
    pub component: String,
    /// Its hosts, each counted once.
    pub hosts: HostCounts,
    /// Why it stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Masked>,
}

/// How one step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepFinished {
    /// Label of the step.
    pub label: String,
    /// Host, for a step that runs on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its final state.
    pub state: Final,
    /// Why it was run, most telling first. Empty for what was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Label of the step that failed and so blocked this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// Milliseconds from start to end, waiting between attempts included. Zero for what was not begun.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ms: u64,
    /// How many times it was tried.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub attempts: u32,
    /// Programs and calls sent to its target.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub round_trips: u32,
    /// Whether another shard does this step, and this one only waited for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// What went wrong with a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trouble {
    /// In one sentence, with the target's own words.
    pub message: Masked,
    /// Facts that are still not as wanted after it was applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Reason>,
    /// Last lines of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Masked>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Masked>,
    /// Exit status of its script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
}

/// The run is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// Steps by final state.
    pub counts: Counts,
    /// Milliseconds from the first event to this one.
    pub ms: u64,
    /// The chain of steps that took longest, first to last; steps of no time left out.
    pub longest: Vec<PathStep>,
    /// Programs sent, by host.
    pub execs: BTreeMap<String, u32>,
    /// How far the journal of each host has come that this run changed, so that a cut one can be told later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub journals: BTreeMap<String, Head>,
    /// How components fared that were rolled out in batches or under budgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutEnded>,
    /// Whether it was told to stop before its end.
    pub interrupted: bool,
    /// Why there was no run at all (the lock is held, no host answers), if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Masked>,
}

/// A step on the longest path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PathStep {
    /// Label of the step.
    pub label: String,
    /// Milliseconds it took.
    pub ms: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_and_back() {
        let event = Event {
            ms: 1250,
            what: What::StepFinished(StepFinished {
                label: "demo:file@a".to_owned(),
                host: Some("a".to_owned()),
                state: Final::Ran,
                reasons: vec![Reason::Waits {
                    on: "demo:dir@a".to_owned(),
                }],
                trouble: None,
                blocked_by: None,
                ms: 40,
                attempts: 1,
                round_trips: 1,
                elsewhere: false,
            }),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"ms":1250,"what":{"kind":"step-finished","label":"demo:file@a","host":"a","state":"ran","reasons":[{"reason":"waits","on":"demo:dir@a"}],"ms":40,"attempts":1,"round_trips":1}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn what_a_later_version_says_is_read_over() {
        let line = r#"{"ms":1,"what":{"kind":"host-sang","song":"la"}}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(event.what, What::Unknown);
        let line = r#"{"ms":1,"what":{"kind":"step-started","label":"a:b","colour":"green"}}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(
            event.what,
            What::StepStarted {
                label: "a:b".to_owned()
            }
        );
    }
}
