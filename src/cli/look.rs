//! Looks at the stack and plans: secrets resolved, one round of probes, verdicts. Changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exit::CliError;
use super::fingerprints::{self, NewKey};
use super::session::Session;
use super::wire::Wired;
use crate::config::HostId;
use crate::graph::{Fingerprints, Graph, Hole, HoleId, Selection, Standing, StepId};
use crate::plan::{Plan, plan};
use crate::probe::{HostAnswered, Known, Nonce, Observed, Round, observe};
use crate::secret::{Resolution, Secret};
use crate::target::BuiltIn;

/// How many hosts are asked at once.
const AT_ONCE: usize = 256;

/// What a look at the stack brought.
pub struct Looked {
    /// What was seen.
    pub observed: Observed,
    /// What follows from it.
    pub plan: Plan,
    /// Fingerprints of secrets in keys and stamps.
    pub fingerprints: Arc<Fingerprints>,
    /// Their key, where the stack has none yet: to be kept once something was stamped with it.
    pub new_key: Option<NewKey>,
    /// How long it took.
    pub took: Duration,
    /// Programs sent to hosts meanwhile: one a host.
    pub execs: u64,
}

/// Looks at the selected steps and plans them. `tell` hears of each host as it has answered.
pub async fn look(
    session: &Session,
    wired: &Wired,
    selection: &Selection,
    tell: &(dyn Fn(HostAnswered<'_>) + Sync),
) -> Result<Looked, CliError> {
    let started = Instant::now();
    let graph = &*session.graph;
    let looked_at: Vec<StepId> = graph
        .ids()
        .filter(|id| selection.steps.contains(*id) || selection.held.contains(*id))
        .collect();
    let secrets = resolve(graph, &looked_at, wired).await?;
    let stamped = |id: &StepId| graph.step(*id).task.as_ref().is_some_and(|task| task.stamp);
    let needed = !secrets.is_empty() || looked_at.iter().any(stamped);
    let (fingerprints, new_key) = if needed {
        fingerprints::of(&wired.resolver, wired.store.is_some(), random()?).await?
    } else {
        let unused = Fingerprints::by(Secret::new(random()?), Standing::Passing);
        (unused, None)
    };
    let fingerprints = Arc::new(fingerprints);
    let mut known = Known::new(graph, secrets);
    let unwritable = known.unwritable(graph, &looked_at);
    if !unwritable.is_empty() {
        return Err(CliError::failed(unwritable.join("\n"))
            .hint("nothing was changed: give the secret another value"));
    }
    let mut observed = Observed::none(graph);
    let actions = BuiltIn::default();
    let mut steps = looked_at;
    loop {
        let round = Round {
            graph,
            known: &known,
            readers: &*wired.fenced,
            actions: &actions,
            nonce: Nonce::new(random()?),
            at_once: AT_ONCE,
            tell,
        };
        let seen = observe(&round, steps.iter().copied()).await;
        observed.take(seen);
        let made = plan(graph, selection, &observed, known, &fingerprints);
        if made.ask_again.is_empty() {
            return Ok(Looked {
                observed,
                plan: made,
                fingerprints,
                new_key,
                took: started.elapsed(),
                execs: hosts(graph).map(|host| wired.fleet.execs(host)).sum(),
            });
        }
        // Each round asks steps that were not asked before, so this ends.
        known = made.known;
        steps = observed.fold_again(graph, &known, &actions, made.ask_again);
    }
}

fn hosts(graph: &Graph) -> impl Iterator<Item = HostId> {
    (0..).map(HostId).take(graph.stack.hosts.len())
}

/// Finds the values of all secret references among the inputs of these steps.
pub(super) async fn resolve(
    graph: &Graph,
    steps: &[StepId],
    wired: &Wired,
) -> Result<Vec<(HoleId, Secret<String>)>, CliError> {
    let mut wanted: Vec<HoleId> = steps
        .iter()
        .flat_map(|id| {
            graph
                .step(*id)
                .inputs
                .values()
                .flat_map(crate::graph::Input::holes)
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = Vec::new();
    for hole in wanted {
        let Hole::Secret(reference) = &graph.holes[hole.0 as usize] else {
            continue;
        };
        match wired.resolver.resolve(reference).await {
            Ok(Resolution::Found { value, .. }) => found.push((hole, value)),
            Ok(Resolution::NotYet { .. }) => {}
            Err(error) => return Err(CliError::failed(&error)),
        }
    }
    Ok(found)
}

fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::failed(format!("this machine gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}
