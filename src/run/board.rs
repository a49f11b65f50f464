//! Where every step of a run stands: the scheduler's whole state, moved by one function. Pure; starts nothing itself,
//! and does not know what a step does, only its id, its lanes and how it ended.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::rollout::{Move, Rollouts, RuleId};
use super::work::{LaneId, Work};
use crate::event::{Counts, Final};
use crate::graph::StepId;

/// Where one step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Something that it needs has not ended yet; `waits` says how many such there are.
    Waiting,
    /// All that it needs is done, and nobody has asked yet whether there is anything to do. It is in `fresh`.
    Ready,
    /// There is something to do and no place for it yet. It is in `candidates`, parked at one lane that is full, or held
    /// back by its component's rollout.
    Queued,
    /// Its work is under way. It takes one of the places in all, and one in each of its lanes.
    Running,
    /// It reached its final state and never leaves it.
    Ended(Final),
}

/// A step that ended because of another, or of an interruption, without having begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallen {
    /// The step.
    pub step: StepId,
    /// `Blocked` or `Skipped`.
    pub state: Final,
    /// For a blocked one: the step at the root of it, which failed or is unreachable itself.
    pub by: Option<StepId>,
}

/// Most urgent first: the earlier turn, then the longest path to the end, then the lower id.
type Urgency = (Reverse<u32>, u64, Reverse<StepId>);

#[derive(Debug, Default)]
struct Lane {
    depth: u32,
    used: u32,
    parked: BinaryHeap<Urgency>,
}

/// The state of a run's steps.
///
/// A queued step stands in exactly one queue: it is held by a rollout, it is a candidate, or it is parked at a lane that
/// was full when its turn came. When a place in a lane comes free, that lane's most urgent parked step becomes a candidate again. So starting
/// and ending a step costs the logarithm of a queue's length, however many steps wait for one pool.
#[derive(Debug)]
pub struct Board<'w> {
    work: &'w Work,
    jobs: u32,
    states: Vec<State>,
    waits: Vec<usize>,
    causes: Vec<Option<StepId>>,
    fresh: VecDeque<StepId>,
    candidates: BinaryHeap<Urgency>,
    /// Queued steps that take no place.
    free: Vec<StepId>,
    lanes: Vec<Lane>,
    /// Queued steps that may travel with others, by the lane that they share. Some may have gone otherwise since.
    mates: Vec<Vec<StepId>>,
    /// How many steps may be started together.
    together: usize,
    /// Of steps that were started together, how many still run. They take one place between them until the last has ended.
    parties: Vec<u32>,
    /// Index of the party that a running step belongs to.
    party: Vec<u32>,
    running: u32,
    counts: Counts,
    rollouts: Rollouts,
}

/// What the rollouts did to a board.
#[derive(Debug, Default)]
pub struct Advanced {
    /// Batches that begin, are to be looked at, or never come.
    pub moves: Vec<Move>,
    /// Steps that will not begin because a rollout stopped.
    pub fallen: Vec<Fallen>,
    /// Whether steps that were held back may go on.
    pub released: bool,
}

impl Advanced {
    /// Returns whether nothing has come of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.fallen.is_empty() && !self.released
    }
}

impl<'w> Board<'w> {
    /// Sets up `work`, of which at most `jobs` steps (at least one) run at once.
    #[must_use]
    pub fn new(work: &'w Work, jobs: u32) -> Self {
        Self::under(work, jobs, Rollouts::default())
    }

    /// As [`Self::new`], with components that move over their hosts as `rollouts` say.
    #[must_use]
    pub fn under(work: &'w Work, jobs: u32, rollouts: Rollouts) -> Self {
        let mut board = Self {
            work,
            jobs: jobs.max(1),
            states: vec![State::Waiting; work.width()],
            waits: (0..work.width())
                .map(|at| {
                    work.node(StepId(u32::try_from(at).unwrap_or(u32::MAX)))
                        .needs
                        .len()
                })
                .collect(),
            causes: vec![None; work.width()],
            fresh: VecDeque::new(),
            candidates: BinaryHeap::new(),
            free: Vec::new(),
            lanes: work
                .depths()
                .iter()
                .map(|depth| Lane {
                    depth: *depth,
                    ..Lane::default()
                })
                .collect(),
            mates: vec![Vec::new(); work.depths().len()],
            together: 1,
            parties: Vec::new(),
            party: vec![0; work.width()],
            running: 0,
            counts: Counts::default(),
            rollouts,
        };
        for step in work.ids() {
            if board.waits[step.0 as usize] == 0 {
                board.set(step, State::Ready);
            }
        }
        board
    }

    /// Lets up to `most` steps be started together.
    #[must_use]
    pub fn together(mut self, most: u32) -> Self {
        self.together = most.max(1) as usize;
        self
    }

    /// Returns a step that became ready and has not been asked about. The caller answers with [`Self::queue`] or
    /// [`Self::end`].
    pub fn next_ready(&mut self) -> Option<StepId> {
        loop {
            let step = self.fresh.pop_front()?;
            if self.state(step) == State::Ready {
                return Some(step);
            }
        }
    }

    /// Says that there is something to do for a ready step.
    pub fn queue(&mut self, step: StepId) {
        debug_assert_eq!(self.state(step), State::Ready);
        self.set(step, State::Queued);
        if self.rollouts.ask(step) {
            self.make_candidate(step);
        }
    }

    /// Lets the rollouts go on as far as they can by now.
    pub fn advance(&mut self) -> Advanced {
        let mut advanced = Advanced::default();
        loop {
            let moves = self.rollouts.turn();
            if moves.is_empty() {
                return advanced;
            }
            for one in moves {
                match one {
                    Move::Release(steps) => {
                        advanced.released = true;
                        for step in steps {
                            self.make_candidate(step);
                        }
                    }
                    Move::Drop(steps) => {
                        for step in steps {
                            self.skip(step, &mut advanced.fallen);
                        }
                    }
                    Move::Begin { .. } | Move::Check { .. } | Move::Stop { .. } => {
                        advanced.moves.push(one);
                    }
                }
            }
        }
    }

    /// Hands on what came of looking at a batch ([`Move::Check`]).
    pub fn checked(&mut self, rule: RuleId, result: Result<(), String>) {
        self.rollouts.checked(rule, result);
    }

    /// Says that nothing runs or is being looked at: what rollouts still hold back would be held for ever.
    pub fn unstick(&mut self) -> Advanced {
        let advanced = self.advance();
        if !advanced.is_empty() {
            return advanced;
        }
        self.rollouts.stuck();
        self.advance()
    }

    /// Returns the rollouts as they stand.
    #[must_use]
    pub fn into_rollouts(self) -> Rollouts {
        self.rollouts
    }

    /// Returns the rollouts.
    #[must_use]
    pub fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    /// Moves the most urgent step that has a place in all its lanes to `Running`, and with it those that may travel with
    /// it, most urgent first. Returns them; nothing when the run is full or nothing can begin.
    pub fn start(&mut self) -> Vec<StepId> {
        let Some(first) = self.start_one() else {
            return Vec::new();
        };
        let mut all = vec![first];
        if let Some(lane) = self.work.node(first).with
            && self.together > 1
        {
            self.join(lane, &mut all);
        }
        all
    }

    /// Lets those that share `lane` with the steps of `party`, which have just been started, come along.
    fn join(&mut self, lane: LaneId, party: &mut Vec<StepId>) {
        let mut mates = std::mem::take(&mut self.mates[lane.0 as usize]);
        mates.retain(|step| self.state(*step) == State::Queued);
        mates.sort_unstable_by_key(|step| Reverse(self.urgency(*step)));
        mates.dedup();
        for step in mates {
            if party.len() >= self.together {
                self.mates[lane.0 as usize].push(step);
            } else if self.rollouts.confirm(step) {
                self.party[step.0 as usize] = self.party[party[0].0 as usize];
                self.set(step, State::Running);
                party.push(step);
            }
        }
    }

    fn start_one(&mut self) -> Option<StepId> {
        while let Some(step) = self.free.pop() {
            if self.state(step) == State::Queued {
                self.begin(step);
                return Some(step);
            }
        }
        while self.running < self.jobs {
            let urgency = self.candidates.pop()?;
            let step = urgency.2.0;
            if self.state(step) != State::Queued {
                // Called up for a place, it went with others meanwhile.
                self.pass_on(step);
                continue;
            }
            let full = self
                .work
                .node(step)
                .lanes
                .iter()
                .copied()
                .find(|lane| self.lane(*lane).is_full());
            let Some(full) = full else {
                if !self.rollouts.confirm(step) {
                    self.pass_on(step);
                    continue;
                }
                self.begin(step);
                return Some(step);
            };
            self.lanes[full.0 as usize].parked.push(urgency);
            self.pass_on(step);
        }
        None
    }

    /// Starts a step with a party of its own.
    fn begin(&mut self, step: StepId) {
        self.party[step.0 as usize] = u32::try_from(self.parties.len()).unwrap_or(u32::MAX);
        self.parties.push(0);
        self.set(step, State::Running);
    }

    /// Ends a ready or running step, and returns what falls with it.
    pub fn end(&mut self, step: StepId, state: Final) -> Vec<Fallen> {
        debug_assert!(matches!(self.state(step), State::Ready | State::Running));
        self.set(step, State::Ended(state));
        if state.is_done() {
            for next in self.work.dependants(step) {
                self.waits[next.0 as usize] -= 1;
                if self.waits[next.0 as usize] == 0 && self.state(*next) == State::Waiting {
                    self.set(*next, State::Ready);
                }
            }
            return Vec::new();
        }
        // What is blocked without having fallen is so by something outside this run.
        let (state, by) = if state.is_trouble() || state == Final::Blocked {
            (Final::Blocked, Some(step))
        } else {
            (Final::Skipped, None)
        };
        let mut fallen = Vec::new();
        self.fall(step, state, by, &mut fallen);
        fallen
    }

    /// Ends all that needs `step`, which has ended.
    fn fall(&mut self, step: StepId, state: Final, by: Option<StepId>, fallen: &mut Vec<Fallen>) {
        let mut edge = vec![step];
        while let Some(at) = edge.pop() {
            for next in self.work.dependants(at) {
                if !matches!(self.state(*next), State::Ended(_)) {
                    self.set(*next, State::Ended(state));
                    self.causes[next.0 as usize] = by;
                    fallen.push(Fallen {
                        step: *next,
                        state,
                        by,
                    });
                    edge.push(*next);
                }
            }
        }
    }

    /// Skips a step, unless it has begun, and all that needs it.
    fn skip(&mut self, step: StepId, fallen: &mut Vec<Fallen>) {
        if matches!(
            self.state(step),
            State::Waiting | State::Ready | State::Queued
        ) {
            self.set(step, State::Ended(Final::Skipped));
            fallen.push(Fallen {
                step,
                state: Final::Skipped,
                by: None,
            });
            self.fall(step, Final::Skipped, None, fallen);
        }
    }

    /// Skips everything that has not begun; nothing starts any more.
    pub fn close(&mut self) -> Vec<Fallen> {
        let open: Vec<StepId> = self
            .work
            .ids()
            .filter(|step| {
                matches!(
                    self.state(*step),
                    State::Waiting | State::Ready | State::Queued
                )
            })
            .collect();
        open.into_iter()
            .map(|step| {
                self.set(step, State::Ended(Final::Skipped));
                Fallen {
                    step,
                    state: Final::Skipped,
                    by: None,
                }
            })
            .collect()
    }

    /// Returns where `step` stands.
    #[must_use]
    pub fn state(&self, step: StepId) -> State {
        self.states[step.0 as usize]
    }

    /// Returns the step at the root of `step`'s being blocked.
    #[must_use]
    pub fn cause(&self, step: StepId) -> Option<StepId> {
        self.causes[step.0 as usize]
    }

    /// Returns how many places are taken: one for each running step, or for all that were started together. Those that
    /// only wait take none.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Returns how many steps ended how.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Makes every transition: keeps counters, places and queues in step with the states.
    fn set(&mut self, step: StepId, state: State) {
        let before = std::mem::replace(&mut self.states[step.0 as usize], state);
        debug_assert!(
            !matches!(before, State::Ended(_)),
            "BUG: step {} left its final state {before:?}",
            step.0
        );
        let places = u32::from(!self.work.node(step).free);
        if before == State::Running && self.leave(step) {
            self.running -= places;
            for lane in &self.work.node(step).lanes {
                self.lanes[lane.0 as usize].used -= 1;
                self.call_up(*lane);
            }
        }
        match state {
            State::Waiting => {}
            State::Ready => self.fresh.push_back(step),
            State::Queued => {}
            State::Running => {
                self.rollouts.began(step);
                if self.enter(step) {
                    self.running += places;
                    for lane in &self.work.node(step).lanes {
                        self.lanes[lane.0 as usize].used += 1;
                    }
                }
            }
            State::Ended(state) => {
                self.counts.add(state);
                self.rollouts.ended(step, state);
            }
        }
    }

    /// Returns whether `step` is the first of its party.
    fn enter(&mut self, step: StepId) -> bool {
        let running = &mut self.parties[self.party[step.0 as usize] as usize];
        *running += 1;
        *running == 1
    }

    /// Returns whether `step` was the last of its party.
    fn leave(&mut self, step: StepId) -> bool {
        let running = &mut self.parties[self.party[step.0 as usize] as usize];
        *running -= 1;
        *running == 0
    }

    fn make_candidate(&mut self, step: StepId) {
        let node = self.work.node(step);
        if node.free {
            self.free.push(step);
            return;
        }
        if let Some(lane) = node.with
            && self.together > 1
        {
            self.mates[lane.0 as usize].push(step);
        }
        self.candidates.push(self.urgency(step));
    }

    fn urgency(&self, step: StepId) -> Urgency {
        (
            Reverse(self.work.turn(step)),
            self.work.distance(step),
            Reverse(step),
        )
    }

    /// Leaves the places that `step` may have been called up for, and does not take, to the next ones.
    fn pass_on(&mut self, step: StepId) {
        for lane in &self.work.node(step).lanes {
            self.call_up(*lane);
        }
    }

    /// Makes the most urgent step parked at `lane` a candidate again, if the lane has a place.
    fn call_up(&mut self, lane: LaneId) {
        let lane = &mut self.lanes[lane.0 as usize];
        if lane.is_full() {
            return;
        }
        while let Some(urgency) = lane.parked.pop() {
            // A step that ended while it was parked takes no place.
            if self.states[urgency.2.0.0 as usize] == State::Queued {
                self.candidates.push(urgency);
                return;
            }
        }
    }

    fn lane(&self, lane: LaneId) -> &Lane {
        &self.lanes[lane.0 as usize]
    }
}

impl Lane {
    fn is_full(&self) -> bool {
        self.used >= self.depth
    }
}

#[cfg(test)]
mod tests;
