//! The one loop that drives a run: start what may start, take one message, repeat. Owns all that is shared; knows of a
//! step only its id, its lanes and how it ended.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::board::{Advanced, Board, Fallen};
use super::rollout::{Move, Rollouts, Rule, RuleId};
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

    /// Soaks a batch (counted from 0) of `rule` and looks at it; `Err` says in words what is not well. Dropped in the
    /// middle when the run is told to stop.
    fn check(
        self: Arc<Self>,
        rule: Arc<Rule>,
        batch: usize,
    ) -> BoxFuture<'static, Result<(), String>>;
}

/// Sees every change of a run as it happens, one at a time.
pub trait Observe<A> {
    /// A step's work begins.
    fn started(&mut self, step: StepId);
    /// A step ended: by its own doing (with an account), or stopped in the middle (without).
    fn ended(&mut self, step: StepId, state: Final, account: Option<A>);
    /// A step ended without having begun.
    fn fallen(&mut self, fallen: &Fallen);
    /// A rollout moves: a batch begins or is looked at, or no further host begins.
    fn moved(&mut self, rule: &Rule, moved: &Move);
    /// The run was told to stop; `now` on the second level.
    fn stopping(&mut self, now: bool);
}

/// What a task of the run brings back.
enum Message<A> {
    Step(Ended<A>),
    Checked(RuleId, Result<(), String>),
}

/// Whose task it is.
enum Owner {
    Step(StepId),
    Check(RuleId, AbortHandle),
}

/// Runs `work`, at most `jobs` steps at once and as `rollouts` let it, until every step has ended. Returns how many ended
/// how, and how the rollouts stand.
pub async fn schedule<E: Execute>(
    work: &Work,
    jobs: u32,
    rollouts: Rollouts,
    executor: &Arc<E>,
    stop: &Stop,
    observer: &mut impl Observe<E::Account>,
) -> (Counts, Rollouts) {
    let mut board = Board::under(work, jobs, rollouts);
    let mut tasks: JoinSet<Message<E::Account>> = JoinSet::new();
    let mut owners: HashMap<Id, Owner> = HashMap::new();
    let (mut ending, mut now) = (false, false);
    loop {
        if stop.is_ending() && !ending {
            ending = true;
            observer.stopping(false);
            tell(observer, &board.close());
            for owner in owners.values() {
                if let Owner::Check(_, handle) = owner {
                    handle.abort();
                }
            }
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
        let advanced = board.advance();
        let checks = told(observer, &board, &advanced);
        look(&mut tasks, &mut owners, executor, &board, &checks, ending);
        while let Some(step) = board.start() {
            observer.started(step);
            let work = Arc::clone(executor).execute(step);
            let handle = tasks.spawn(async move { Message::Step(work.await) });
            owners.insert(handle.id(), Owner::Step(step));
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
                    None => {
                        let advanced = board.unstick();
                        if advanced.is_empty() {
                            break;
                        }
                        let checks = told(observer, &board, &advanced);
                        look(&mut tasks, &mut owners, executor, &board, &checks, ending);
                        continue;
                    }
                    Some(Ok((task, message))) => (task, Ok(message)),
                    Some(Err(error)) => (error.id(), Err(error)),
                };
                let (step, ended) = match (owners.remove(&task), result) {
                    (Some(Owner::Check(..)), Ok(Message::Checked(rule, result))) => {
                        board.checked(rule, result);
                        continue;
                    }
                    (Some(Owner::Check(rule, _)), Err(error)) if error.is_panic() => {
                        let why = format!("Foundry broke while looking at a batch: {}", words(error));
                        board.checked(rule, Err(why));
                        continue;
                    }
                    (Some(Owner::Step(step)), Ok(Message::Step(ended))) => (step, Ok(ended)),
                    (Some(Owner::Step(step)), Err(error)) => (step, Err(error)),
                    // A look that was broken off with the run.
                    _ => continue,
                };
                let (state, account) = match ended {
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
    let counts = *board.counts();
    (counts, board.into_rollouts())
}

/// Has batches looked at, unless the run is ending.
fn look<E: Execute>(
    tasks: &mut JoinSet<Message<E::Account>>,
    owners: &mut HashMap<Id, Owner>,
    executor: &Arc<E>,
    board: &Board<'_>,
    checks: &[(RuleId, usize)],
    ending: bool,
) {
    for (rule, batch) in checks.iter().copied().filter(|_| !ending) {
        let check = Arc::clone(executor).check(Arc::clone(board.rollouts().rule(rule)), batch);
        let handle = tasks.spawn(async move { Message::Checked(rule, check.await) });
        owners.insert(handle.id(), Owner::Check(rule, handle));
    }
}

/// Tells what rollouts did, and returns the batches that are to be looked at.
fn told<A>(
    observer: &mut impl Observe<A>,
    board: &Board<'_>,
    advanced: &Advanced,
) -> Vec<(RuleId, usize)> {
    let mut checks = Vec::new();
    for moved in &advanced.moves {
        let rule = match moved {
            Move::Begin { rule, .. } | Move::Stop { rule, .. } => *rule,
            Move::Check { rule, batch } => {
                checks.push((*rule, *batch));
                *rule
            }
            Move::Release(_) | Move::Drop(_) => continue,
        };
        observer.moved(board.rollouts().rule(rule), moved);
    }
    tell(observer, &advanced.fallen);
    checks
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
