//! The one loop that drives a run: start what may start, take one message, repeat. Owns all that is shared; knows of a
//! step only its id, its lanes and how it ended.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::{Id, JoinError, JoinSet};

use super::board::{Board, Fallen};
use super::stop::Stop;
use super::work::Work;
use crate::event::{Counts, Final};
use crate::graph::StepId;

/// How a step ended, and what whoever did it has to tell of it. The scheduler hands the account on unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended<A> {
    /// The final state, never `Skipped`; `Blocked` only by something outside this run.
    pub state: Final,
    /// The rest of the story.
    pub account: A,
}

/// Does the steps.
pub trait Execute: Send + Sync + 'static {
    /// What there is to tell of a step besides its final state.
    type Account: Send + 'static;

    /// Ends a step that needs no doing. Asked once, when all that it needs is done; must not wait for anything.
    fn settle(&self, step: StepId) -> Option<Ended<Self::Account>>;

    /// Does the step. Dropped in the middle when the run is stopped.
    fn execute(self: Arc<Self>, step: StepId) -> BoxFuture<'static, Ended<Self::Account>>;

    /// Accounts for a step whose code panicked with `message`.
    fn panicked(&self, step: StepId, message: &str) -> Self::Account;
}

/// Sees every change of a run as it happens, one at a time.
pub trait Observe<A> {
    /// A step's work begins.
    fn started(&mut self, step: StepId);
    /// A step ended: by its own doing (with an account), or stopped in the middle (without).
    fn ended(&mut self, step: StepId, state: Final, account: Option<A>);
    /// A step ended without having begun.
    fn fallen(&mut self, fallen: &Fallen);
    /// The run was told to stop; `now` on the second level.
    fn stopping(&mut self, now: bool);
}

/// Runs `work`, at most `jobs` steps at once, until every step has ended, and returns how many ended how.
pub async fn schedule<E: Execute>(
    work: &Work,
    jobs: u32,
    executor: &Arc<E>,
    stop: &Stop,
    observer: &mut impl Observe<E::Account>,
) -> Counts {
    let mut board = Board::new(work, jobs);
    let mut tasks: JoinSet<Ended<E::Account>> = JoinSet::new();
    let mut steps: HashMap<Id, StepId> = HashMap::new();
    let (mut ending, mut now) = (false, false);
    loop {
        if stop.is_ending() && !ending {
            ending = true;
            observer.stopping(false);
            tell(observer, &board.close());
        }
        while let Some(step) = board.next_ready() {
            match executor.settle(step) {
                None => board.queue(step),
                Some(ended) => {
                    let fallen = board.end(step, ended.state);
                    observer.ended(step, ended.state, Some(ended.account));
                    tell(observer, &fallen);
                }
            }
        }
        while let Some(step) = board.start() {
            observer.started(step);
            let handle = tasks.spawn(Arc::clone(executor).execute(step));
            steps.insert(handle.id(), step);
        }
        tokio::select! {
            biased;
            () = stop.ending(), if !ending => {}
            () = stop.now(), if !now => {
                now = true;
                observer.stopping(true);
                tasks.abort_all();
            }
            message = tasks.join_next_with_id() => {
                let (task, result) = match message {
                    // Nothing runs, and nothing was left that could have been started.
                    None => break,
                    Some(Ok((task, ended))) => (task, Ok(ended)),
                    Some(Err(error)) => (error.id(), Err(error)),
                };
                let Some(step) = steps.remove(&task) else { continue };
                let (state, account) = match result {
                    Ok(ended) => (ended.state, Some(ended.account)),
                    Err(error) if error.is_panic() => (Final::Failed, Some(executor.panicked(step, &words(error)))),
                    Err(_) => (Final::Interrupted, None),
                };
                let fallen = board.end(step, state);
                observer.ended(step, state, account);
                tell(observer, &fallen);
            }
        }
    }
    *board.counts()
}

fn tell<A>(observer: &mut impl Observe<A>, fallen: &[Fallen]) {
    for one in fallen {
        observer.fallen(one);
    }
}

/// Returns what a panic said.
fn words(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no words".to_owned()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
