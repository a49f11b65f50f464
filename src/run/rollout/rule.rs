//! What one component's rollout comes to for the hosts and steps of one run. Does not know how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::layout::batches;
use crate::catalog::{GATE_TIMEOUT, Rollout, Share};
use crate::config::HostId;
use crate::graph::{Graph, Selection, StepId, Target};

/// A component's rollout, bound to hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The component.
    pub component: Arc<str>,
    /// Its hosts in batches, each host once.
    pub batches: Vec<Vec<HostId>>,
    /// Whether the first batch is a canary.
    pub canary: bool,
    /// How long a batch must have been up before it is looked at.
    pub soak: Duration,
    /// Steps to look at between batches: on hosts, on the group, on APIs.
    pub gate: Vec<StepId>,
    /// How long they may take to be satisfied.
    pub gate_timeout: Duration,
    /// How many hosts may fail.
    pub max_failures: usize,
    /// How many hosts may be out of reach.
    pub max_unreachable: Option<usize>,
    /// How many hosts may be in the works, failed or out of reach at any moment.
    pub max_unavailable: Option<usize>,
}

impl Rule {
    /// Returns how many hosts it is about.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }
}

/// Binds `rollouts`, by component, to the steps of `selection` that this run does itself. A component of which nothing on
/// a host is selected has no rule.
#[must_use]
pub fn rules(
    graph: &Graph,
    selection: &Selection,
    rollouts: &BTreeMap<String, Rollout>,
) -> Vec<Rule> {
    let mut hosts: BTreeMap<&str, Vec<HostId>> = BTreeMap::new();
    let mut gates: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let mut names: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    for id in selection.own() {
        let step = graph.step(id);
        let component = &*step.label.component;
        let Some(rollout) = rollouts.get(component) else {
            continue;
        };
        names
            .entry(component)
            .or_insert_with(|| Arc::clone(&step.label.component));
        if let Target::Host(host) = &step.target {
            hosts.entry(component).or_default().push(*host);
        }
        let gated = rollout.gate.iter().flatten();
        if gated.clone().any(|name| **name == *step.label.step) && step.task.is_some() {
            gates.entry(component).or_default().push(id);
        }
    }
    hosts
        .into_iter()
        .map(|(component, mut hosts)| {
            hosts.sort_unstable();
            hosts.dedup();
            let rollout = &rollouts[component];
            let total = hosts.len();
            let name = |host: HostId| &*graph.stack.host(host).name;
            let (batches, canary) = batches(&hosts, rollout, name);
            Rule {
                component: Arc::clone(&names[component]),
                batches,
                canary,
                soak: rollout.soak.unwrap_or_default(),
                gate: gates.remove(component).unwrap_or_default(),
                gate_timeout: rollout.gate_timeout.unwrap_or(GATE_TIMEOUT),
                max_failures: rollout
                    .max_failures
                    .unwrap_or(Share::Count(0))
                    .at_most(total),
                max_unreachable: rollout.max_unreachable.map(|share| share.at_most(total)),
                // A limit that lets nobody begin would be no rollout at all.
                max_unavailable: rollout
                    .max_unavailable
                    .map(|share| share.at_most(total).max(1)),
            }
        })
        .collect()
}
