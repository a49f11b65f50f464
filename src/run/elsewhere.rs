//! Waiting for what other shards do: as everything else, by probing until it is satisfied. All steps that are waited for
//! are asked together, in one round trip a host. Does not know which shard does them, nor whether that one is alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::execute::Executor;
use super::writer::StepError;
use crate::event::{Verdict, What};
use crate::graph::StepId;
use crate::plan::{Decision, Outputs};

/// How long until the first look; each further one comes later by half, as long as nothing has become satisfied.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time between two looks.
const LONGEST: Duration = Duration::from_secs(10);

/// Steps that are waited for, and whom to tell.
#[derive(Default)]
pub(super) struct Awaited {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    steps: BTreeMap<StepId, oneshot::Sender<Outputs>>,
    /// What was found of each at the last look, in words.
    found: BTreeMap<StepId, String>,
    looking: bool,
}

impl Awaited {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked while holding it had only inserted or removed an entry.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `step` in. Returns whether somebody must begin to look.
    fn enter(&self, step: StepId, tell: oneshot::Sender<Outputs>) -> bool {
        let mut open = self.open();
        open.steps.insert(step, tell);
        !std::mem::replace(&mut open.looking, true)
    }

    fn leave(&self, step: StepId) -> Option<String> {
        let mut open = self.open();
        open.steps.remove(&step);
        open.found.remove(&step)
    }

    /// Returns what is still waited for; nothing ends the looking.
    fn left(&self) -> Vec<StepId> {
        let mut open = self.open();
        open.steps.retain(|_, tell| !tell.is_closed());
        open.looking = !open.steps.is_empty();
        open.steps.keys().copied().collect()
    }

    fn found(&self, step: StepId, decision: Decision) -> bool {
        let mut open = self.open();
        if decision.verdict == Verdict::Satisfied {
            let tell = open.steps.remove(&step);
            return tell.is_some_and(|tell| tell.send(decision.outputs).is_ok());
        }
        let why = decision.reasons.first().map(ToString::to_string);
        open.found.insert(step, why.unwrap_or_default());
        false
    }
}

impl Executor {
    /// Waits until `step`, which another shard does, is satisfied; `limit` bounds it.
    pub(super) async fn wait_for(
        self: &Arc<Self>,
        step: StepId,
        limit: Duration,
    ) -> Result<Outputs, StepError> {
        let tell = &self.shared.tell;
        tell.event(What::StepSays {
            label: self.label(step),
            text: tell.masked("another shard does it; waiting"),
        });
        let (sender, receiver) = oneshot::channel();
        if self.awaited.enter(step, sender) {
            let executor = Arc::clone(self);
            tokio::spawn(async move { executor.look_elsewhere().await });
        }
        match tokio::time::timeout(limit, receiver).await {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(_)) => Err(StepError::Interrupted),
            Err(_) => {
                let found = self.awaited.leave(step).unwrap_or_default();
                let found = match found.as_str() {
                    "" => String::new(),
                    found => format!(": {found}"),
                };
                Err(StepError::Failed {
                    message: format!(
                        "another shard does it, and it was not as wanted within {limit:?}{found}"
                    ),
                    output: String::new(),
                    hint: Some(
                        "see how that shard's run went; `--shard-wait` says how long to wait"
                            .to_owned(),
                    ),
                    status: None,
                })
            }
        }
    }

    /// Looks again and again at all that is waited for, until nothing is.
    async fn look_elsewhere(self: Arc<Self>) {
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            let steps = self.awaited.left();
            if steps.is_empty() {
                return;
            }
            pause = if self.look_once(&steps).await {
                FIRST
            } else {
                (pause + pause / 2).min(LONGEST)
            };
        }
    }

    /// Looks once. Returns whether any was satisfied.
    async fn look_once(&self, steps: &[StepId]) -> bool {
        let Ok(decided) = self.decide_afresh(steps).await else {
            return false;
        };
        let mut any = false;
        for (step, decision) in decided {
            any |= self.awaited.found(step, decision);
        }
        any
    }
}
