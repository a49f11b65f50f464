//! All steps' decisions, each in the light of those before it. Executes nothing; one pass over steps and edges.

use std::sync::Arc;

use super::alike::Alike;
use super::decide::blocked;
use super::verdict::{Decision, Outputs, Reason, Verdict};
use crate::graph::{
    Fingerprints, Graph, Hole, HoleId, Order, Selection, Standing, Step, StepId, Target,
};
use crate::probe::{Filled, Known, Observed};

/// What is to be done, and why.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One decision per planned step, by `StepId`; `None` is a step that this plan is not about. Steps that are alike
    /// share theirs.
    pub decisions: Vec<Option<Arc<Decision>>>,
    /// The planned steps, each after all it needs.
    pub order: Vec<StepId>,
    /// Length of the longest path of needs before each step, by `StepId`.
    pub level: Vec<u32>,
    /// Steps whose facts are as wanted, even where a watched step makes them `maybe`, by `StepId`: they stay satisfied
    /// if what they watch leaves its outputs unchanged.
    pub settled: Vec<bool>,
    /// Steps that could not be asked because an input of their probe was unknown, and can be now that satisfied steps
    /// have told their outputs. Ask them, and plan again.
    pub ask_again: Vec<StepId>,
    /// What is known of holes, outputs of satisfied steps included.
    pub known: Known,
}

impl Plan {
    /// Returns the decision of a step, if the plan is about it.
    #[must_use]
    pub fn decision(&self, step: StepId) -> Option<&Decision> {
        self.decisions.get(step.0 as usize)?.as_deref()
    }

    /// Returns the verdict of a step, if the plan is about it.
    #[must_use]
    pub fn verdict(&self, step: StepId) -> Option<Verdict> {
        self.decision(step).map(|decision| decision.verdict)
    }

    fn will_or_may_run(&self, step: StepId) -> bool {
        matches!(
            self.verdict(step),
            Some(Verdict::Missing | Verdict::Changed | Verdict::Drifted | Verdict::Maybe)
        )
    }
}

/// Plans the steps of `selection`: those to look at and those held back.
#[must_use]
pub fn plan(
    graph: &Graph,
    selection: &Selection,
    observed: &Observed,
    known: Known,
    secrets: &Fingerprints,
) -> Plan {
    let count = graph.steps.len();
    let planned = |id: StepId| selection.steps.contains(id) || selection.held.contains(id);
    let Order {
        steps: order,
        level,
    } = Order::of(graph, planned);
    let mut planner = Planner {
        graph,
        selection,
        observed,
        secrets,
        alike: Alike::new(graph, &order, observed, &known, secrets),
        runs_before: vec![None; count],
        plan: Plan {
            decisions: vec![None; count],
            order: Vec::new(),
            level,
            settled: vec![false; count],
            ask_again: Vec::new(),
            known,
        },
    };
    for step in &order {
        let decision = planner.decide(*step);
        planner.plan.decisions[step.0 as usize] = Some(decision);
    }
    planner.plan.order = order;
    planner.plan
}

struct Planner<'a> {
    graph: &'a Graph,
    selection: &'a Selection,
    observed: &'a Observed,
    secrets: &'a Fingerprints,
    alike: Alike<'a>,
    /// A step that will or may run before this one, however far away.
    runs_before: Vec<Option<StepId>>,
    plan: Plan,
}

impl Planner<'_> {
    fn decide(&mut self, id: StepId) -> Arc<Decision> {
        let step = self.graph.step(id);
        let runs_before = step.needs.iter().find_map(|need| {
            if self.plan.will_or_may_run(*need) {
                Some(*need)
            } else {
                self.runs_before[need.0 as usize]
            }
        });
        self.runs_before[id.0 as usize] = runs_before;
        if let Some(reason) = self.stopped_by(step) {
            return without_outputs(Verdict::Blocked, vec![reason]);
        }
        if step.task.is_none() {
            return match step
                .needs
                .iter()
                .find(|need| self.plan.will_or_may_run(**need))
            {
                Some(need) => without_outputs(Verdict::Maybe, vec![self.waits(*need)]),
                None => without_outputs(Verdict::Satisfied, Vec::new()),
            };
        }
        if let Some(reason) = self.unreachable(id, step) {
            return without_outputs(Verdict::Blocked, vec![reason]);
        }
        if let Some(decision) = self.alike.decision(id) {
            return self.known_step(id, step, decision);
        }
        let filled = self.plan.known.fill(&step.inputs);
        if let Some(wrong) = filled.wrong {
            return Arc::new(blocked(wrong));
        }
        if !filled.open.is_empty() {
            return self.open(&filled);
        }
        match self.observed.facts(id) {
            None => {
                self.plan.ask_again.push(id);
                let because = step.watch.first().or(step.needs.first());
                let reason = because.map_or_else(
                    || Reason::Fault {
                        message: "not looked at yet".to_owned(),
                    },
                    |on| self.waits(*on),
                );
                without_outputs(Verdict::Maybe, vec![reason])
            }
            Some(Err(fault)) if fault.not_yet && runs_before.is_some() => {
                let waits = runs_before.map(|on| self.waits(on));
                let fault = Reason::Fault {
                    message: fault.message.clone(),
                };
                without_outputs(Verdict::Maybe, waits.into_iter().chain([fault]).collect())
            }
            Some(_) => {
                let decision = self.alike.decide_later(id, filled.values);
                self.known_step(id, step, decision)
            }
        }
    }

    /// Decides a step of which everything is known but what the steps before it will do.
    fn known_step(
        &mut self,
        id: StepId,
        step: &Step,
        mut decision: Arc<Decision>,
    ) -> Arc<Decision> {
        if decision.verdict != Verdict::Satisfied {
            return decision;
        }
        if decision.uncompared && self.secrets.standing() != Standing::Passing {
            // The run asks for the key once more, or leaves a stamp that can be compared from then on.
            let open = Arc::make_mut(&mut decision);
            open.verdict = Verdict::Maybe;
            open.reasons = vec![Reason::Uncompared];
            return decision;
        }
        self.plan.settled[id.0 as usize] = true;
        if let Some(on) = step
            .watch
            .iter()
            .find(|watched| self.plan.will_or_may_run(**watched))
        {
            let decision = Arc::make_mut(&mut decision);
            decision.verdict = Verdict::Maybe;
            decision.reasons = vec![self.waits(*on)];
        } else if !decision.outputs.is_empty() {
            self.plan.known.learn(id, &decision.outputs);
        }
        decision
    }

    /// Returns what stands in the way of a step, if something that it needs is blocked, or held back and not done.
    fn stopped_by(&self, step: &Step) -> Option<Reason> {
        let stops = |need: &&StepId| match self.plan.verdict(**need) {
            Some(Verdict::Blocked) => true,
            Some(Verdict::Satisfied) | None => false,
            Some(_) => self.selection.held.contains(**need),
        };
        let need = step.needs.iter().find(stops)?;
        // A gathering point means nothing to people: name what is behind it.
        let behind = self
            .plan
            .decision(*need)
            .and_then(|decision| decision.reasons.first());
        match (&self.graph.step(*need).target, behind) {
            (Target::Gather, Some(reason @ Reason::Needs { .. })) => Some(reason.clone()),
            _ => Some(Reason::Needs {
                label: self.graph.step(*need).label.to_string(),
            }),
        }
    }

    fn unreachable(&self, id: StepId, step: &Step) -> Option<Reason> {
        let hosts = match &step.target {
            Target::Host(host) => std::slice::from_ref(host),
            // Where the hosts that answer are enough for a fact, the others don't matter. Where they are not, trying
            // again would only wait for them.
            Target::Group(hosts) if matches!(self.observed.facts(id), Some(Err(_))) => hosts,
            Target::Group(_) => return None,
            Target::Service(..) | Target::Gather => return None,
        };
        let error = hosts
            .iter()
            .find_map(|host| self.observed.host(*host)?.as_ref().err())?;
        Some(Reason::Unreachable {
            host: error.host.to_string(),
            message: error.message.clone(),
        })
    }

    fn open(&self, filled: &Filled) -> Arc<Decision> {
        let reasons: Vec<Reason> = filled
            .all_open()
            .into_iter()
            .map(|hole| self.hole(hole))
            .collect();
        let untold = reasons
            .iter()
            .any(|reason| matches!(reason, Reason::Fault { .. }));
        without_outputs(
            if untold {
                Verdict::Blocked
            } else {
                Verdict::Maybe
            },
            reasons,
        )
    }

    fn hole(&self, hole: HoleId) -> Reason {
        match self.graph.holes.get(hole.0 as usize) {
            Some(Hole::Secret(reference)) => Reason::Secret {
                reference: reference.to_string(),
            },
            Some(Hole::Output(step, name))
                if self.plan.verdict(*step) == Some(Verdict::Satisfied) =>
            {
                let label = &self.graph.step(*step).label;
                Reason::Fault {
                    message: format!("{label} did not tell its output `{name}`"),
                }
            }
            Some(Hole::Output(step, _)) => self.waits(*step),
            None => Reason::Fault {
                message: "an input has a hole that the graph does not know".to_owned(),
            },
        }
    }

    fn waits(&self, on: StepId) -> Reason {
        Reason::Waits {
            on: self.graph.step(on).label.to_string(),
        }
    }
}

fn without_outputs(verdict: Verdict, mut reasons: Vec<Reason>) -> Arc<Decision> {
    reasons.dedup();
    Arc::new(Decision {
        verdict,
        reasons,
        outputs: Outputs::new(),
        uncompared: false,
    })
}
