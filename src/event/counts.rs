//! The final states of steps, and counts of them. Does not know how a step gets there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::Verdict;

/// How a step ended. Every step of every host ends in exactly one of these.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Final {
    /// Live state was as wanted: nothing was done.
    Satisfied,
    /// It was applied, and the probe after it found what is wanted.
    Ran,
    /// It could not be made so; the cause is this step's own.
    Failed,
    /// Not begun: something it needs failed, is blocked or unreachable.
    Blocked,
    /// Its host could not be reached, or went away and did not come back.
    Unreachable,
    /// Not begun: the run was interrupted, or its component's rollout stopped, before.
    Skipped,
    /// Stopped in the middle of its work: what it left behind is not known until the next probe.
    Interrupted,
}

impl Final {
    /// Every final state, in the order in which people are told.
    pub const ALL: [Self; 7] = [
        Self::Ran,
        Self::Satisfied,
        Self::Failed,
        Self::Unreachable,
        Self::Blocked,
        Self::Interrupted,
        Self::Skipped,
    ];

    /// Returns whether what needs this step may go on.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Satisfied | Self::Ran)
    }

    /// Returns whether this step is itself the cause that others are blocked.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Failed | Self::Unreachable)
    }

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Unreachable => "unreachable",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Final {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How many steps ended how.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct Counts {
    /// As wanted, nothing done.
    pub satisfied: u32,
    /// Applied and verified.
    pub ran: u32,
    /// Could not be made so.
    pub failed: u32,
    /// Not begun because of another step.
    pub blocked: u32,
    /// Host not reached.
    pub unreachable: u32,
    /// Not begun because of an interruption or a rollout that stopped.
    pub skipped: u32,
    /// Stopped in the middle.
    pub interrupted: u32,
}

impl Counts {
    /// Counts one step more.
    pub fn add(&mut self, state: Final) {
        *self.slot(state) += 1;
    }

    /// Returns how many steps ended as `state`.
    #[must_use]
    pub fn of(&self, state: Final) -> u32 {
        let mut copy = *self;
        *copy.slot(state)
    }

    /// Returns how many steps have ended.
    #[must_use]
    pub fn ended(&self) -> u32 {
        Final::ALL.iter().map(|state| self.of(*state)).sum()
    }

    /// Returns whether every step is as wanted.
    #[must_use]
    pub fn all_done(&self) -> bool {
        Final::ALL
            .iter()
            .all(|state| state.is_done() || self.of(*state) == 0)
    }

    fn slot(&mut self, state: Final) -> &mut u32 {
        match state {
            Final::Satisfied => &mut self.satisfied,
            Final::Ran => &mut self.ran,
            Final::Failed => &mut self.failed,
            Final::Blocked => &mut self.blocked,
            Final::Unreachable => &mut self.unreachable,
            Final::Skipped => &mut self.skipped,
            Final::Interrupted => &mut self.interrupted,
        }
    }
}

/// How many steps the plan gave which verdict.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct Verdicts {
    /// Live state is as wanted.
    pub satisfied: u32,
    /// Nothing of it is there.
    pub missing: u32,
    /// There, from other inputs.
    pub changed: u32,
    /// The target moved.
    pub drifted: u32,
    /// Decided during the run.
    pub maybe: u32,
    /// Can't be decided.
    pub blocked: u32,
}

impl Verdicts {
    /// Counts one verdict more.
    pub fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Satisfied => &mut self.satisfied,
            Verdict::Missing => &mut self.missing,
            Verdict::Changed => &mut self.changed,
            Verdict::Drifted => &mut self.drifted,
            Verdict::Maybe => &mut self.maybe,
            Verdict::Blocked => &mut self.blocked,
        } += 1;
    }

    /// Returns how many steps there are.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.satisfied + self.will_run() + self.maybe + self.blocked
    }

    /// Returns how many steps are known to run.
    #[must_use]
    pub fn will_run(&self) -> u32 {
        self.missing + self.changed + self.drifted
    }
}

/// How the hosts of a rollout fare. Each host counts once, by the first that is true of it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct HostCounts {
    /// A step failed there.
    pub failed: u32,
    /// It could not be reached, or went away and did not come back.
    pub unreachable: u32,
    /// Every step there is as wanted.
    pub done: u32,
    /// Begun, and not brought to its end.
    pub unfinished: u32,
    /// Not begun.
    pub untouched: u32,
}

impl HostCounts {
    /// Returns how many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> u32 {
        self.failed + self.unreachable + self.done + self.unfinished + self.untouched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_own_count() {
        let mut counts = Counts::default();
        for (times, state) in Final::ALL.iter().enumerate() {
            for _ in 0..=times {
                counts.add(*state);
            }
        }
        for (times, state) in Final::ALL.iter().enumerate() {
            assert_eq!(counts.of(*state) as usize, times + 1, "{state}");
        }
        assert_eq!(counts.ended(), 28);
        assert!(!counts.all_done());
    }

    #[test]
    fn satisfied_and_ran_are_all_that_is_done() {
        for state in Final::ALL {
            let mut counts = Counts::default();
            counts.add(state);
            assert_eq!(counts.all_done(), state.is_done(), "{state}");
        }
    }
}
