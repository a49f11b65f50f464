//! One step on its way to its final state: attempt after attempt, as long as it has chances left. Does not know when its
//! turn comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::attempt::{Attempt, Failure, Outcome};
use super::execute::{Account, Executor, state_of};
use super::metered::Metered;
use super::retry::Chances;
use super::schedule::Ended;
use super::writer::Writers;
use crate::event::{Final, What};
use crate::graph::StepId;

/// A step that is being tried.
pub(super) struct Trial {
    executor: Arc<Executor>,
    pub step: StepId,
    pub meter: Arc<Metered>,
    pub attempt: Attempt,
    chances: Chances,
    attempts: u32,
    /// When its work began.
    pub began: Instant,
}

/// Another attempt, when and why.
pub(super) struct Again {
    after: Duration,
    failure: Failure,
}

impl Trial {
    pub fn new(executor: &Arc<Executor>, step: StepId) -> Self {
        let shared = &executor.shared;
        let meter = Arc::new(Metered::new(
            Arc::clone(&shared.writers),
            Arc::clone(&executor.sent),
        ));
        let task = shared.graph.step(step).task.as_ref();
        let tries = task
            .and_then(|task| task.apply.as_ref())
            .map_or(1, |effect| effect.tries);
        let writers = Arc::clone(&meter) as Arc<dyn Writers>;
        Self {
            attempt: Attempt::new(Arc::clone(executor), step, writers),
            executor: Arc::clone(executor),
            step,
            meter,
            chances: Chances::new(tries),
            attempts: 1,
            began: Instant::now(),
        }
    }

    /// Tries until it is as wanted or out of chances.
    pub async fn run(mut self) -> Ended<Account> {
        let first = self.attempt.run().await;
        match self.after(first) {
            Ok(ended) => ended,
            Err(again) => self.go_on(again, None).await,
        }
    }

    /// Goes on after an attempt that did not do. Those that share `turn` are tried one at a time.
    pub async fn go_on(mut self, mut again: Again, turn: Option<Arc<Semaphore>>) -> Ended<Account> {
        loop {
            self.attempts += 1;
            let tell = &self.executor.shared.tell;
            tell.event(What::StepRetrying {
                label: self.executor.label(self.step),
                attempt: self.attempts,
                after_ms: u64::try_from(again.after.as_millis()).unwrap_or(u64::MAX),
                error: tell.masked(&again.failure.error.to_string()),
            });
            tokio::time::sleep(again.after).await;
            let result = {
                // Never closed: at worst they are not kept apart.
                let _turn = match &turn {
                    Some(turn) => turn.acquire().await.ok(),
                    None => None,
                };
                self.attempt.run().await
            };
            again = match self.after(result) {
                Ok(ended) => return ended,
                Err(again) => again,
            };
        }
    }

    /// Takes what came of an attempt: it was the last one, or there is another.
    pub fn after(&mut self, result: Result<Outcome, Failure>) -> Result<Ended<Account>, Again> {
        let executor = &self.executor;
        let (state, trouble) = match result {
            Ok(Outcome { outputs }) => {
                let ran = self.attempt.applied();
                executor.done(self.step, ran, &outputs);
                (if ran { Final::Ran } else { Final::Satisfied }, None)
            }
            Err(failure) => match self.chances.next(&failure.error, failure.not_yet) {
                Some(after) => return Err(Again { after, failure }),
                None => (state_of(&failure.error), Some(executor.trouble(failure))),
            },
        };
        let account = Account {
            reasons: self.attempt.take_reasons(),
            trouble,
            blocked_by: None,
            ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            attempts: self.attempts,
            round_trips: self.meter.round_trips(),
        };
        Ok(Ended { state, account })
    }
}
