//! Turns what the scheduler does into events. Decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::board::Fallen;
use super::execute::{Account, Executor};
use super::rollout::{Move, Rule};
use super::schedule::Observe;
use crate::event::{Counts, Final, RolloutMoved, RolloutState, StepFinished, What};
use crate::graph::{StepId, Target};

/// Tells of every step but gathering points, which mean nothing to people.
pub(super) struct Narrator {
    executor: Arc<Executor>,
    /// How many steps ended how.
    pub counts: Counts,
    /// Milliseconds that each step took, by `StepId`.
    pub took: Vec<u64>,
    /// Steps that something outside this run blocks, with its label.
    outside: HashMap<StepId, String>,
}

impl Narrator {
    pub fn new(executor: Arc<Executor>) -> Self {
        let took = vec![0; executor.shared.graph.steps.len()];
        Self {
            executor,
            counts: Counts::default(),
            took,
            outside: HashMap::new(),
        }
    }

    fn finished(&mut self, step: StepId, state: Final, account: Account) {
        let shared = &self.executor.shared;
        let node = shared.graph.step(step);
        if node.target == Target::Gather {
            return;
        }
        let elsewhere = shared.elsewhere.contains(step);
        if elsewhere && state.is_done() {
            // Whoever does it counts it. That there was something to wait for is worth telling.
            if account.attempts == 0 {
                return;
            }
        } else {
            self.counts.add(state);
        }
        shared.tell.event(What::StepFinished(StepFinished {
            label: node.label.to_string(),
            host: node.label.host.as_ref().map(ToString::to_string),
            state,
            reasons: account.reasons,
            trouble: account.trouble,
            blocked_by: account.blocked_by,
            ms: account.ms,
            attempts: account.attempts,
            round_trips: account.round_trips,
            elsewhere,
        }));
    }
}

impl Observe<Account> for Narrator {
    fn started(&mut self, step: StepId) {
        self.executor.shared.tell.event(What::StepStarted {
            label: self.executor.label(step),
        });
    }

    fn ended(&mut self, step: StepId, state: Final, account: Option<Account>) {
        let account = account.unwrap_or_default();
        self.took[step.0 as usize] = account.ms;
        if let Some(label) = &account.blocked_by {
            self.outside.insert(step, label.clone());
        }
        self.finished(step, state, account);
    }

    fn fallen(&mut self, fallen: &Fallen) {
        let by = fallen.by.map(|by| {
            self.outside
                .get(&by)
                .cloned()
                .unwrap_or_else(|| self.executor.label(by))
        });
        self.finished(
            fallen.step,
            fallen.state,
            Account {
                blocked_by: by,
                ..Account::default()
            },
        );
    }

    fn moved(&mut self, rule: &Rule, moved: &Move) {
        let tell = &self.executor.shared.tell;
        let (state, batch, why) = match moved {
            Move::Begin { batch, .. } => (RolloutState::Began, Some(*batch), None),
            Move::Check { batch, .. } => (RolloutState::Checking, Some(*batch), None),
            Move::Stop { why, .. } => (RolloutState::Stopped, None, Some(tell.masked(why))),
            Move::Release(_) | Move::Drop(_) => return,
        };
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let hosts = batch.and_then(|batch| rule.batches.get(batch));
        tell.event(What::Rollout(RolloutMoved {
            component: rule.component.to_string(),
            state,
            batch: batch.map_or(0, |batch| number(batch + 1)),
            batches: number(rule.batches.len()),
            hosts: hosts.map_or(0, |hosts| number(hosts.len())),
            canary: rule.canary && batch == Some(0),
            soak_ms: match state {
                RolloutState::Checking => u64::try_from(rule.soak.as_millis()).unwrap_or(u64::MAX),
                RolloutState::Began | RolloutState::Stopped => 0,
            },
            why,
        }));
    }

    fn stopping(&mut self, now: bool) {
        self.executor.shared.tell.event(What::Interrupted { now });
    }
}
