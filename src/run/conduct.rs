//! A plan carried out from its first event to its last. Does not know how the plan came about, nor who listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::hosts;
use super::execute::{Executor, Shared, counts};
use super::fence::Gate;
use super::journal::Journals;
use super::lock::Lock;
use super::narrate::Narrator;
use super::rollout::{Rollouts, RuleId, rules};
use super::schedule::schedule;
use super::stop::Stop;
use super::tell::Tell;
use super::work::{Circle, LaneId, Node, Work};
use super::writer::{Actions, Keeper, Writers};
use crate::catalog::Rollout;
use crate::event::{
    Counts, PathStep, Planned, RolloutEnded, StepPlanned, Summary, Verdict, Verdicts, What,
};
use crate::graph::{Fingerprints, Graph, Selection, Step, StepId, StepSet, Target};
use crate::plan::Plan;
use crate::probe::Observed;
use crate::secret::Resolver;

/// How much may go on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps in all; those that travel in one program count as one.
    pub jobs: u32,
    /// Steps on one host, counted likewise; below sshd's `MaxSessions`, which is ten unless its admin says otherwise.
    pub per_host: u32,
    /// How many steps of a host that are ready at once travel in one program.
    pub together: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jobs: 64,
            per_host: 4,
            together: 32,
        }
    }
}

/// All that a run needs.
pub struct RunRequest {
    /// The steps.
    pub graph: Arc<Graph>,
    /// Which of them.
    pub selection: Selection,
    /// What was seen of their targets.
    pub observed: Observed,
    /// What follows from it.
    pub plan: Plan,
    /// Fingerprints of secrets in keys and stamps.
    pub fingerprints: Arc<Fingerprints>,
    /// Ways to the targets.
    pub writers: Arc<dyn Writers>,
    /// Built-in actions.
    pub actions: Arc<dyn Actions>,
    /// Who keeps what must be kept.
    pub keeper: Arc<dyn Keeper>,
    /// Secrets that could not be had while planning.
    pub secrets: Arc<Resolver>,
    /// How much may go on at once.
    pub limits: Limits,
    /// How components move over their hosts, by name; one that is not there does so as the graph allows.
    pub rollouts: BTreeMap<String, Rollout>,
    /// How long to wait for a step that another shard does ([`Selection::elsewhere`]).
    pub patience: Duration,
    /// The stack's lock, given back at the end. `None` for a plan with nothing to do.
    pub lock: Option<Lock>,
    /// What all that changes hosts goes through; opened by the lock.
    pub gate: Gate,
    /// Told to stop.
    pub stop: Stop,
    /// Told what happens.
    pub tell: Tell,
}

/// Returns whether `plan` has anything to do, so that its run needs the lock.
#[must_use]
pub fn has_work(plan: &Plan, selection: &Selection) -> bool {
    selection
        .own()
        .any(|step| !matches!(plan.verdict(step), None | Some(Verdict::Satisfied)))
}

/// Carries out a plan: tells of it, does its steps, gives the lock back, and tells how it went.
///
/// # Errors
/// When the graph's steps need each other in a circle, which graphs made by [`crate::graph`] never do.
pub async fn run(request: RunRequest) -> Result<Summary, Circle> {
    let RunRequest {
        graph,
        selection,
        observed,
        plan,
        limits,
        lock,
        stop,
        tell,
        ..
    } = request;
    planned(&graph, &selection, &plan, &tell);
    let work = work(&graph, &selection, &plan, limits)?;
    let asked = observed.execs.clone();
    let journals = Arc::new(journals(&graph, &observed, &tell));
    let shared = Shared {
        graph: Arc::clone(&graph),
        plan,
        observed,
        writers: request.writers,
        actions: request.actions,
        keeper: request.keeper,
        secrets: request.secrets,
        tell: tell.clone(),
        stop: stop.clone(),
        gate: request.gate,
        journals: Arc::clone(&journals),
        elsewhere: selection.elsewhere.clone(),
        patience: request.patience,
    };
    let executor = Arc::new(Executor::new(shared, request.fingerprints));
    let mut narrator = Narrator::new(Arc::clone(&executor));
    let rollouts = bind(&graph, &selection, &work, &request.rollouts);
    let (_, rollouts) = schedule(&work, limits, rollouts, &executor, &stop, &mut narrator).await;
    let rollouts = rollouts
        .counts()
        .map(|(rule, hosts, stopped)| RolloutEnded {
            component: rule.component.to_string(),
            hosts,
            stopped: stopped.map(|why| tell.masked(why)),
        })
        .collect();
    if let Some(lock) = lock {
        let host = lock.host().to_owned();
        if let Err(error) = lock.release().await {
            tell.warn(&format!(
                "the lock on {host} could not be given back and ends by itself: {error}"
            ));
        }
    }
    let longest = work.longest_path(|step| narrator.took[step.0 as usize]);
    let longest = longest
        .into_iter()
        .map(|step| PathStep {
            label: executor.label(step),
            ms: narrator.took[step.0 as usize],
        })
        .collect();
    let execs = asked
        .iter()
        .zip(counts(&executor.sent))
        .map(|(asked, sent)| asked + sent);
    let execs: BTreeMap<String, u32> = graph
        .stack
        .hosts
        .iter()
        .zip(execs)
        .filter(|(_, execs)| *execs > 0)
        .map(|(host, execs)| (host.name.to_string(), execs))
        .collect();
    let summary = Summary {
        run: tell.run().clone(),
        counts: narrator.counts,
        ms: tell.ms(),
        longest,
        execs,
        journals: journals
            .heads()
            .into_iter()
            .map(|(host, head)| (graph.stack.host(host).name.to_string(), head))
            .collect(),
        rollouts,
        interrupted: stop.is_ending(),
        refused: None,
    };
    tell.event(What::RunFinished(summary.clone()));
    Ok(summary)
}

/// Returns the journals of the hosts, for the run that `tell` speaks for.
fn journals(graph: &Graph, observed: &Observed, tell: &Tell) -> Journals {
    let booted = observed
        .hosts
        .iter()
        .map(|host| host.as_ref()?.as_ref().ok()?.booted)
        .collect();
    Journals::new(Arc::clone(&graph.stack), tell.run(), booted)
}

/// Ends a run that never began to change anything, because `why`.
pub fn refuse(tell: &Tell, why: &str) -> Summary {
    let summary = Summary {
        run: tell.run().clone(),
        counts: Counts::default(),
        ms: tell.ms(),
        longest: Vec::new(),
        execs: BTreeMap::new(),
        journals: BTreeMap::new(),
        rollouts: Vec::new(),
        interrupted: false,
        refused: Some(tell.masked(why)),
    };
    tell.event(What::RunFinished(summary.clone()));
    summary
}

/// Tells of the plan.
fn planned(graph: &Graph, selection: &Selection, plan: &Plan, tell: &Tell) {
    let mut verdicts = Verdicts::default();
    let mut on = vec![false; graph.stack.hosts.len()];
    for id in selection.own() {
        let step = graph.step(id);
        let Some(decision) = plan.decision(id).filter(|_| step.target != Target::Gather) else {
            continue;
        };
        verdicts.add(decision.verdict);
        for host in hosts(step) {
            on[host.0 as usize] = true;
        }
        if decision.verdict != Verdict::Satisfied {
            tell.event(What::StepPlanned(StepPlanned {
                label: step.label.to_string(),
                verdict: decision.verdict,
                reasons: decision.reasons.clone(),
            }));
        }
    }
    let hosts = u32::try_from(on.iter().filter(|on| **on).count()).unwrap_or(u32::MAX);
    tell.event(What::Planned(Planned { verdicts, hosts }));
}

/// Binds the steps on hosts to the rollouts of their components.
fn bind(
    graph: &Graph,
    selection: &Selection,
    work: &Work,
    rollouts: &BTreeMap<String, Rollout>,
) -> Rollouts {
    let rules = rules(graph, selection, rollouts);
    let by_name: BTreeMap<String, RuleId> = rules
        .iter()
        .map(|rule| rule.component.to_string())
        .zip((0..).map(RuleId))
        .collect();
    Rollouts::new(rules, work, |id| {
        let step = graph.step(id);
        match &step.target {
            Target::Host(host) if !selection.elsewhere.contains(id) => {
                Some((*by_name.get(&*step.label.component)?, *host))
            }
            _ => None,
        }
    })
}

/// Hosts that are worked on before the next ones are begun with, where there is a choice. Fewer than connections are kept
/// open: a fleet that is walked through step by step, host after host, would be connected to anew at each step.
const HOSTS_A_TURN: u32 = 512;

/// Makes of the selected steps what the scheduler understands: a lane for each pool, and one for each host.
/// Of what other shards do, only that remains which something that is to be done here needs.
fn work(graph: &Graph, selection: &Selection, plan: &Plan, limits: Limits) -> Result<Work, Circle> {
    let awaited = awaited(graph, selection, plan);
    let pools = u32::try_from(graph.pools.len()).unwrap_or(u32::MAX);
    let depths = graph.pools.iter().map(|pool| pool.depth);
    let depths = depths
        .chain(graph.stack.hosts.iter().map(|_| limits.per_host))
        .collect();
    let nodes = graph.ids().map(|id| {
        let elsewhere = selection.elsewhere.contains(id);
        if !selection.steps.contains(id) || (elsewhere && !awaited.contains(id)) {
            return None;
        }
        let step = graph.step(id);
        if elsewhere {
            return Some(Node {
                needs: step.needs.clone(),
                free: true,
                ..Node::default()
            });
        }
        let pool = step.pool.map(|pool| LaneId(pool.0));
        // A service is no host: what its adapter sends there is its own matter.
        let hosts = match &step.target {
            Target::Service(..) | Target::Gather => &[],
            Target::Host(_) | Target::Group(_) => hosts(step),
        };
        let lanes: Vec<LaneId> = pool
            .into_iter()
            .chain(hosts.iter().map(|host| LaneId(pools + host.0)))
            .collect();
        Some(Node {
            needs: step.needs.clone(),
            with: lanes
                .last()
                .copied()
                .filter(|_| travels(step, plan.verdict(id))),
            lanes,
            weight: u64::from(step.target != Target::Gather),
            free: false,
        })
    });
    let turns = graph.steps.iter().map(|step| match step.target {
        Target::Host(host) => host.0 / HOSTS_A_TURN,
        Target::Group(_) | Target::Service(..) | Target::Gather => 0,
    });
    Ok(Work::new(nodes.collect(), depths)?.in_turns(turns.collect()))
}

/// Steps that may take longer than this travel alone: others would wait for them. What a task says nothing of gets this.
const SHORT: Duration = Duration::from_secs(600);

/// Returns whether `step` may travel with others of its host: a script that is to be applied whatever becomes of them, of
/// which all is known already, that is done soon, and that holds no place in a pool meanwhile.
fn travels(step: &Step, verdict: Option<Verdict>) -> bool {
    let effect = step.task.as_ref().and_then(|task| task.apply.as_ref());
    matches!(step.target, Target::Host(_))
        && step.pool.is_none()
        && effect.is_some_and(|effect| {
            effect.script.is_some() && effect.action.is_none() && effect.timeout <= SHORT
        })
        && matches!(
            verdict,
            Some(Verdict::Missing | Verdict::Changed | Verdict::Drifted)
        )
}

/// Returns the steps of other shards that a step which is not satisfied here needs, however indirectly.
fn awaited(graph: &Graph, selection: &Selection, plan: &Plan) -> StepSet {
    let mut awaited = StepSet::none(graph.steps.len());
    if selection.elsewhere.is_empty() {
        return awaited;
    }
    let mut seen = StepSet::none(graph.steps.len());
    let mut open: Vec<StepId> = selection
        .own()
        .filter(|id| graph.step(*id).task.is_some())
        .filter(|id| plan.verdict(*id) != Some(Verdict::Satisfied))
        .collect();
    while let Some(id) = open.pop() {
        for need in &graph.step(id).needs {
            if selection.steps.contains(*need) && seen.insert(*need) {
                open.push(*need);
                if selection.elsewhere.contains(*need) {
                    awaited.insert(*need);
                }
            }
        }
    }
    awaited
}
