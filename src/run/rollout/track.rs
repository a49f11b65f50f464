//! One rule on its way: which stage it is at, which hosts are in the works, how its budgets stand. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::Stages;
use super::rule::Rule;
use super::{Move, RuleId};
use crate::event::{Final, HostCounts};
use crate::graph::StepId;

/// Why steps of later stages don't begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gate {
    /// The stage that `Track::stage` names is open.
    Open,
    /// The batch is being soaked and looked at.
    Checking,
    /// No further host begins.
    Stopped(String),
    /// All stages have ended.
    Through,
}

/// One stage.
#[derive(Debug, Clone, Default)]
struct Stage {
    batch: u32,
    /// Its steps that have not ended, and hosts that have such: number of steps by host.
    left: BTreeMap<u32, u32>,
    /// Whether anything of it was begun.
    touched: bool,
}

/// One host of the rule.
#[derive(Debug, Clone, Default)]
struct Host {
    /// Steps that have not ended, in all stages.
    left: u32,
    /// Some step's work was begun.
    began: bool,
    failed: bool,
    unreachable: bool,
    /// Some step ended as neither satisfied nor ran.
    short: bool,
    /// Counts as unavailable: in the works, or in trouble.
    out: bool,
    /// In the works in the open stage.
    busy: bool,
}

impl Host {
    fn troubled(&self) -> bool {
        self.failed || self.unreachable || (self.began && self.short)
    }
}

/// One rule and how far it is.
#[derive(Debug)]
pub(super) struct Track {
    id: RuleId,
    pub rule: Arc<Rule>,
    stages: Vec<Stage>,
    hosts: Vec<Host>,
    /// The steps that have not ended, with host and stage.
    steps: BTreeMap<StepId, (u32, u32)>,
    /// Steps that wait for their turn, by stage and host.
    held: BTreeMap<(u32, u32), Vec<StepId>>,
    stage: usize,
    gate: Gate,
    /// Hosts in the works.
    busy: usize,
    /// The batch that was announced last.
    announced: Option<u32>,
    failed: usize,
    unreachable: usize,
    unavailable: usize,
    /// Something to tell that came up between two turns.
    pending: Vec<Move>,
}

impl Track {
    pub fn new(id: RuleId, rule: Rule, stages: &Stages) -> Self {
        let mut track = Self {
            id,
            hosts: vec![Host::default(); rule.hosts()],
            rule: Arc::new(rule),
            stages: stages
                .batch
                .iter()
                .map(|batch| Stage {
                    batch: *batch,
                    ..Stage::default()
                })
                .collect(),
            steps: stages.of.clone(),
            held: BTreeMap::new(),
            stage: 0,
            gate: Gate::Open,
            busy: 0,
            announced: None,
            failed: 0,
            unreachable: 0,
            unavailable: 0,
            pending: Vec::new(),
        };
        for (host, stage) in stages.of.values() {
            track.hosts[*host as usize].left += 1;
            *track.stages[*stage as usize].left.entry(*host).or_default() += 1;
        }
        track
    }

    pub fn ask(&mut self, step: StepId, host: u32, stage: u32) -> bool {
        if self.admits(host, stage) {
            self.admit(host, stage);
            return true;
        }
        if self.is_final(host, stage) {
            self.pending.push(Move::Drop(vec![step]));
        } else {
            self.held.entry((stage, host)).or_default().push(step);
        }
        false
    }

    pub fn confirm(&mut self, step: StepId, host: u32, stage: u32) -> bool {
        let at = &self.hosts[host as usize];
        let over = self
            .rule
            .max_unavailable
            .is_some_and(|most| self.unavailable > most);
        if over && at.busy && !at.began {
            self.rest(host);
        }
        self.ask(step, host, stage)
    }

    /// Returns whether a step of `stage` on `host` may go on now.
    fn admits(&self, host: u32, stage: u32) -> bool {
        let stage = stage as usize;
        match self.gate {
            // What belongs to an earlier stage has been let through already.
            Gate::Through => true,
            Gate::Stopped(_) => {
                let host = &self.hosts[host as usize];
                stage <= self.stage && host.busy && host.began
            }
            Gate::Checking => stage < self.stage,
            Gate::Open => stage < self.stage || (stage == self.stage && self.has_room_for(host)),
        }
    }

    /// Returns whether `host` is in the works already, or one more may be.
    fn has_room_for(&self, host: u32) -> bool {
        let host = &self.hosts[host as usize];
        host.busy
            || self
                .rule
                .max_unavailable
                .is_none_or(|most| host.out && self.unavailable <= most || self.unavailable < most)
    }

    fn is_final(&self, host: u32, stage: u32) -> bool {
        matches!(self.gate, Gate::Stopped(_)) && !self.admits(host, stage)
    }

    fn admit(&mut self, host: u32, stage: u32) {
        if !std::mem::replace(&mut self.hosts[host as usize].busy, true) {
            self.busy += 1;
        }
        self.put_out(host);
        // A step that comes late may be what lets the host begin: those held back before it go along.
        if let Some(steps) = self.held.remove(&(stage, host)) {
            self.pending.push(Move::Release(steps));
        }
        let batch = self.stages[stage as usize].batch;
        if self.announced != Some(batch) {
            self.announced = Some(batch);
            self.pending.push(Move::Begin {
                rule: self.id,
                batch: batch as usize,
            });
        }
    }

    fn put_out(&mut self, host: u32) {
        let host = &mut self.hosts[host as usize];
        if !host.out {
            host.out = true;
            self.unavailable += 1;
        }
    }

    pub fn began(&mut self, host: u32, stage: u32) {
        self.hosts[host as usize].began = true;
        self.stages[stage as usize].touched = true;
    }

    pub fn ended(&mut self, step: StepId, host: u32, stage: u32, state: Final) {
        if self.steps.remove(&step).is_none() {
            return;
        }
        if let Some(held) = self.held.get_mut(&(stage, host)) {
            held.retain(|waiting| *waiting != step);
            if held.is_empty() {
                self.held.remove(&(stage, host));
            }
        }
        {
            let host = &mut self.hosts[host as usize];
            host.left -= 1;
            host.short |= !state.is_done();
        }
        match state {
            Final::Failed => self.fail(host),
            Final::Unreachable => self.lose(host),
            Final::Satisfied
            | Final::Ran
            | Final::Blocked
            | Final::Skipped
            | Final::Interrupted => {}
        }
        let left = &mut self.stages[stage as usize].left;
        if let Some(steps) = left.get_mut(&host) {
            *steps -= 1;
            if *steps == 0 {
                left.remove(&host);
                if stage as usize <= self.stage {
                    self.rest(host);
                }
            }
        }
    }

    /// The host has nothing more to do in this stage: it is available again, unless it is in trouble.
    fn rest(&mut self, host: u32) {
        let host = &mut self.hosts[host as usize];
        self.busy -= usize::from(std::mem::take(&mut host.busy));
        if host.out && !host.troubled() {
            host.out = false;
            self.unavailable -= 1;
        }
    }

    fn fail(&mut self, host: u32) {
        let at = &mut self.hosts[host as usize];
        if at.failed {
            return;
        }
        at.failed = true;
        self.failed += 1;
        if at.unreachable {
            // A host counts once.
            self.unreachable -= 1;
        }
        self.put_out(host);
        if self.failed > self.rule.max_failures {
            let why = format!(
                "{} failed, and {} may",
                hosts(self.failed),
                match self.rule.max_failures {
                    0 => "none".to_owned(),
                    most => format!("no more than {most}"),
                }
            );
            self.stop(why);
        }
    }

    fn lose(&mut self, host: u32) {
        let at = &mut self.hosts[host as usize];
        if at.failed || at.unreachable {
            return;
        }
        at.unreachable = true;
        self.unreachable += 1;
        self.put_out(host);
        if let Some(most) = self.rule.max_unreachable
            && self.unreachable > most
        {
            let why = format!("{} out of reach, and {most} may be", are(self.unreachable));
            self.stop(why);
        }
    }

    pub fn checked(&mut self, result: Result<(), String>) {
        if self.gate != Gate::Checking {
            return;
        }
        match result {
            Ok(()) => self.gate = Gate::Open,
            Err(why) => self.stop(why),
        }
    }

    fn stop(&mut self, why: String) {
        if matches!(self.gate, Gate::Stopped(_) | Gate::Through) {
            return;
        }
        self.gate = Gate::Stopped(why.clone());
        let never: Vec<StepId> = self
            .steps
            .iter()
            .filter(|(_, (host, stage))| !self.admits(*host, *stage))
            .map(|(step, _)| *step)
            .collect();
        // A host that has begun may have been sent back before, and have some of its steps held since.
        let go_on: Vec<StepId> = std::mem::take(&mut self.held)
            .into_iter()
            .filter(|((stage, host), _)| self.admits(*host, *stage))
            .flat_map(|(_, steps)| steps)
            .collect();
        self.pending.push(Move::Stop { rule: self.id, why });
        self.pending.push(Move::Drop(never));
        if !go_on.is_empty() {
            self.pending.push(Move::Release(go_on));
        }
    }

    pub fn stuck(&mut self) {
        if !self.held.is_empty() {
            self.stop(
                "it waits for another component's rollout, which waits for it: build one after the other"
                    .to_owned(),
            );
        }
    }

    pub fn turn(&mut self, moves: &mut Vec<Move>) {
        while self.gate == Gate::Open {
            let Some(stage) = self.stages.get(self.stage) else {
                self.gate = Gate::Through;
                break;
            };
            if stage.left.is_empty() {
                self.advance();
                continue;
            }
            self.release();
            break;
        }
        moves.append(&mut self.pending);
    }

    /// Lets hosts of the open stage begin, as far as there is room for them.
    fn release(&mut self) {
        let at = u32::try_from(self.stage).unwrap_or(u32::MAX);
        let mut barred = false;
        while let Some((_, host)) = self
            .held
            .range((at, 0)..=(at, u32::MAX))
            .next()
            .map(|(key, _)| *key)
        {
            if !self.has_room_for(host) {
                barred = true;
                break;
            }
            self.admit(host, at);
        }
        if barred && self.busy == 0 {
            let most = self.rule.max_unavailable.unwrap_or_default();
            self.stop(format!(
                "{} failed or out of reach, and no more than {most} may be unavailable",
                are(self.unavailable)
            ));
        }
    }

    /// The open stage has ended: opens the next, or has the batch looked at first.
    fn advance(&mut self) {
        let batch = self.stages[self.stage].batch;
        self.stage += 1;
        let next = self.stages.get(self.stage).map(|stage| stage.batch);
        let touched = self.stages[..self.stage]
            .iter()
            .rev()
            .take_while(|stage| stage.batch == batch)
            .any(|stage| stage.touched);
        if next.is_some_and(|next| next != batch) && touched {
            self.gate = Gate::Checking;
            self.pending.push(Move::Check {
                rule: self.id,
                batch: batch as usize,
            });
        }
    }

    pub fn stopped(&self) -> Option<&str> {
        match &self.gate {
            Gate::Stopped(why) => Some(why),
            Gate::Open | Gate::Checking | Gate::Through => None,
        }
    }

    /// Counts each host once, by the first of these that is true of it.
    pub fn counts(&self) -> HostCounts {
        let mut counts = HostCounts::default();
        for host in &self.hosts {
            *if host.failed {
                &mut counts.failed
            } else if host.unreachable {
                &mut counts.unreachable
            } else if !host.short && host.left == 0 {
                &mut counts.done
            } else if host.began {
                &mut counts.unfinished
            } else {
                &mut counts.untouched
            } += 1;
        }
        counts
    }
}

fn hosts(number: usize) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} host{s}")
}

fn are(number: usize) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", hosts(number))
}
