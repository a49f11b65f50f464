//! The one loop that drives a run: start what may start, take one message, repeat. Owns all that is shared; knows of a
//! step only its id, its lanes and how it ended.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::board::{Advanced, Board, Fallen};
use super::conduct::Limits;
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

/// What came of steps that were done together.
pub struct Together<A> {
    /// Those that reached their final state.
    pub ended: Vec<(StepId, Ended<A>)>,
    /// The others, each with what is left to do for it.
    pub rest: Vec<(StepId, BoxFuture<'static, Ended<A>>)>,
    /// Those that were not begun, because the run is ending.
    pub left: Vec<StepId>,
}

/// Told of each step of several as its turn comes.
pub type Begun = mpsc::UnboundedSender<StepId>;

/// Does the steps.
pub trait Execute: Send + Sync + 'static {
    /// What there is to tell of a step besides its final state.
    type Account: Send + 'static;

    /// Ends a step that needs no doing. Asked once, when all that it needs is done; must not wait for anything.
    fn settle(&self, step: StepId) -> Option<Ended<Self::Account>>;

    /// Does the step. Dropped in the middle when the run is stopped.
    fn execute(self: Arc<Self>, step: StepId) -> BoxFuture<'static, Ended<Self::Account>>;

    /// Does several steps of one host, none of which needs another. Dropped in the middle when the run is stopped.
    fn execute_together(
        self: Arc<Self>,
        steps: Vec<StepId>,
        begun: Begun,
    ) -> BoxFuture<'static, Together<Self::Account>>;

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
    Together(Together<A>),
    Checked(RuleId, Result<(), String>),
}

/// Whose task it is.
enum Owner {
    Step(StepId),
    Together(Vec<StepId>),
    Check(RuleId, AbortHandle),
}

/// Runs `work`, as `limits` and `rollouts` let it, until every step has ended. Returns how many ended how, and how the
/// rollouts stand.
pub async fn schedule<E: Execute>(
    work: &Work,
    limits: Limits,
    rollouts: Rollouts,
    executor: &Arc<E>,
    stop: &Stop,
    observer: &mut impl Observe<E::Account>,
) -> (Counts, Rollouts) {
    let mut board = Board::under(work, limits.jobs, rollouts).together(limits.together);
    let mut tasks: JoinSet<Message<E::Account>> = JoinSet::new();
    let mut owners: HashMap<Id, Owner> = HashMap::new();
    let (mut ending, mut now) = (false, false);
    let (begun, mut begins) = mpsc::unbounded_channel();
    // Steps under way with others, whose own turn has not come yet.
    let mut aboard: HashSet<StepId> = HashSet::new();
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
        loop {
            let steps = board.start();
            let Some(first) = steps.first().copied() else {
                break;
            };
            observer.started(first);
            if steps.len() == 1 {
                let work = Arc::clone(executor).execute(first);
                let handle = tasks.spawn(async move { Message::Step(work.await) });
                owners.insert(handle.id(), Owner::Step(first));
                continue;
            }
            aboard.extend(&steps[1..]);
            let work = Arc::clone(executor).execute_together(steps.clone(), begun.clone());
            let handle = tasks.spawn(async move { Message::Together(work.await) });
            owners.insert(handle.id(), Owner::Together(steps));
        }
        tokio::select! {
            biased;
            () = stop.ending(), if !ending => {}
            () = stop.now(), if !now => {
                now = true;
                observer.stopping(true);
                tasks.abort_all();
            }
            Some(step) = begins.recv() => {
                if aboard.remove(&step) {
                    observer.started(step);
                }
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
                let ends = match (owners.remove(&task), result) {
                    (Some(Owner::Check(..)), Ok(Message::Checked(rule, result))) => {
                        board.checked(rule, result);
                        continue;
                    }
                    (Some(Owner::Check(rule, _)), Err(error)) if error.is_panic() => {
                        let why = format!("Foundry broke while looking at a batch: {}", words(error));
                        board.checked(rule, Err(why));
                        continue;
                    }
                    (Some(Owner::Step(step)), Ok(Message::Step(ended))) => vec![(step, Some(ended))],
                    (Some(Owner::Step(step)), Err(error)) => broken(executor, vec![step], error),
                    (Some(Owner::Together(_)), Ok(Message::Together(together))) => {
                        for (step, work) in together.rest {
                            if aboard.remove(&step) {
                                observer.started(step);
                            }
                            let handle = tasks.spawn(async move { Message::Step(work.await) });
                            owners.insert(handle.id(), Owner::Step(step));
                        }
                        for step in together.left {
                            aboard.remove(&step);
                            let mut fallen = vec![Fallen { step, state: Final::Skipped, by: None }];
                            fallen.extend(board.end(step, Final::Skipped));
                            tell(observer, &fallen);
                        }
                        together.ended.into_iter().map(|(step, ended)| (step, Some(ended))).collect()
                    }
                    (Some(Owner::Together(steps)), Err(error)) => broken(executor, steps, error),
                    // A look that was broken off with the run.
                    _ => continue,
                };
                // All of them before anything else starts: what they make ready may travel together again.
                for (step, ended) in ends {
                    if aboard.remove(&step) {
                        observer.started(step);
                    }
                    let (state, account) = match ended {
                        Some(ended) => (ended.state, Some(ended.account)),
                        None => (Final::Interrupted, None),
                    };
                    let fallen = board.end(step, state);
                    observer.ended(step, state, account);
                    tell(observer, &fallen);
                }
            }
        }
    }
    let counts = *board.counts();
    (counts, board.into_rollouts())
}

/// Accounts for steps whose work panicked, or was stopped in the middle.
fn broken<E: Execute>(
    executor: &Arc<E>,
    steps: Vec<StepId>,
    error: JoinError,
) -> Vec<(StepId, Option<Ended<E::Account>>)> {
    if !error.is_panic() {
        return steps.into_iter().map(|step| (step, None)).collect();
    }
    let words = words(error);
    let failed = |step| Ended {
        state: Final::Failed,
        account: executor.panicked(step, &words),
    };
    steps
        .into_iter()
        .map(|step| (step, Some(failed(step))))
        .collect()
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
