//! How components move over their hosts: batch after batch, within budgets. Pure: counts, and says what may begin. Does
//! not know what a step does, how long a soak takes, or what a gate looks at.
//!
//! A rule binds the steps of one component on its hosts. Every such step has a **stage**: the batch of its host, or a
//! later one if it needs, however indirectly, a step on a host of a later batch. So a rule holds whatever the order of
//! steps is, and no batch ever waits for itself. Where the number of hosts in the works is limited, a stage is divided
//! further, so that a host never waits, while it is in the works, for another that may not begin.
//!
//! A stage begins when everything of the stages before it has ended, and at the border of a batch only after soak and
//! gate. No host begins after a budget is used up; hosts that have begun go on to the end of their stage.

mod layout;
mod rule;
mod track;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use layout::batches;
pub use rule::{Rule, rules};
use track::Track;

use super::work::Work;
use crate::config::HostId;
use crate::event::{Final, HostCounts};
use crate::graph::StepId;

/// Index of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// Where a bound step belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    rule: u32,
    /// Index of the host among those of the rule.
    host: u32,
    stage: u32,
}

/// What the rollouts want done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// A batch begins.
    Begin {
        /// Of which rule.
        rule: RuleId,
        /// Which batch, from 0.
        batch: usize,
    },
    /// A batch has ended well and is to be looked at after its soak; answered by [`Rollouts::checked`].
    Check {
        /// Of which rule.
        rule: RuleId,
        /// Which batch, from 0.
        batch: usize,
    },
    /// No further host begins.
    Stop {
        /// Of which rule.
        rule: RuleId,
        /// Why, in words.
        why: String,
    },
    /// These steps may go on.
    Release(Vec<StepId>),
    /// These steps, as far as they have not begun, never will.
    Drop(Vec<StepId>),
}

/// The rollouts of a run.
#[derive(Debug, Default)]
pub struct Rollouts {
    tracks: Vec<Track>,
    /// By `StepId`; empty without rules.
    places: Vec<Option<Place>>,
}

impl Rollouts {
    /// Binds the steps of `work` by `rules`. `on` says of a step which rule binds it, and on which host it is.
    #[must_use]
    pub fn new(
        rules: Vec<Rule>,
        work: &Work,
        on: impl Fn(StepId) -> Option<(RuleId, HostId)>,
    ) -> Self {
        if rules.is_empty() {
            return Self::default();
        }
        let mut places = vec![None; work.width()];
        let order = work.order().unwrap_or_default();
        let tracks = (0..)
            .zip(rules)
            .map(|(rule, spec)| {
                let bound: BTreeMap<StepId, HostId> = work
                    .ids()
                    .filter_map(|step| Some((step, on(step).filter(|(of, _)| of.0 == rule)?.1)))
                    .collect();
                let stages = layout::stages(&spec, work, &order, &bound);
                for (step, (host, stage)) in &stages.of {
                    places[step.0 as usize] = Some(Place {
                        rule,
                        host: *host,
                        stage: *stage,
                    });
                }
                Track::new(RuleId(rule), spec, &stages)
            })
            .collect();
        Self { tracks, places }
    }

    /// Says that there is something to do for `step`. Returns whether it may go on at once; if not, it is named in a
    /// later [`Move`].
    pub fn ask(&mut self, step: StepId) -> bool {
        match self.place(step) {
            None => true,
            Some(place) => self.tracks[place.rule as usize].ask(step, place.host, place.stage),
        }
    }

    /// Asks once more for a step that was let go on, right before it begins: other hosts may have been lost since. Returns
    /// whether it may begin; if not, it is named in a later [`Move`] as if it had never been let go on.
    pub fn confirm(&mut self, step: StepId) -> bool {
        match self.place(step) {
            None => true,
            Some(place) => self.tracks[place.rule as usize].confirm(step, place.host, place.stage),
        }
    }

    /// Says that the work of `step` begins.
    pub fn began(&mut self, step: StepId) {
        if let Some(place) = self.place(step) {
            self.tracks[place.rule as usize].began(place.host, place.stage);
        }
    }

    /// Says that `step` has ended.
    pub fn ended(&mut self, step: StepId, state: Final) {
        if let Some(place) = self.place(step) {
            self.tracks[place.rule as usize].ended(step, place.host, place.stage, state);
        }
    }

    /// Answers [`Move::Check`]: `Err` says in words what is not well.
    pub fn checked(&mut self, rule: RuleId, result: Result<(), String>) {
        self.tracks[rule.0 as usize].checked(result);
    }

    /// Returns what is to be done now. Call it again after having done it, until there is nothing.
    pub fn turn(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        for track in &mut self.tracks {
            track.turn(&mut moves);
        }
        moves
    }

    /// Stops every rollout that still holds steps back, because nothing else is going on that could release them.
    pub fn stuck(&mut self) {
        for track in &mut self.tracks {
            track.stuck();
        }
    }

    /// Returns the rule that `id` stands for.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> &Arc<Rule> {
        &self.tracks[id.0 as usize].rule
    }

    /// Returns how the hosts of each rule fare by now: each host counts once.
    pub fn counts(&self) -> impl Iterator<Item = (&Rule, HostCounts, Option<&str>)> {
        self.tracks
            .iter()
            .map(|track| (&*track.rule, track.counts(), track.stopped()))
    }

    fn place(&self, step: StepId) -> Option<Place> {
        self.places.get(step.0 as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests;
