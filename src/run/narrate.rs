//! Turns what the scheduler does into events. Decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::board::Fallen;
use super::execute::{Account, Executor};
use super::schedule::Observe;
use crate::event::{Counts, Final, StepFinished, What};
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
        self.counts.add(state);
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

    fn stopping(&mut self, now: bool) {
        self.executor.shared.tell.event(What::Interrupted { now });
    }
}
