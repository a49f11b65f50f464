//! What one round of probing brought home, by step and by host. Does not know what is wanted.

use std::sync::Arc;

use super::fact::{Facts, Fault, HostFacts, Seen, Stamp};
use super::reader::AccessError;
use crate::config::HostId;
use crate::graph::{Graph, StepId};

/// All that was seen of a graph's targets.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Facts of each step by `StepId`; `None` was not asked: an input that its probe needs is not known yet, or nobody
    /// wanted to know. Steps of hosts that answered alike share theirs.
    pub steps: Vec<Option<Result<Arc<Facts>, Fault>>>,
    /// What each host of each step's target answered.
    pub seen: Vec<Vec<Seen>>,
    /// Each host by `HostId`; `None` was not asked.
    pub hosts: Vec<Option<Result<HostFacts, AccessError>>>,
    /// The stamp of each step, where its target has one; shared as facts are.
    pub stamps: Vec<Option<Arc<Stamp>>>,
    /// How many programs each host was sent.
    pub execs: Vec<u32>,
}

impl Observed {
    /// Starts with nothing seen.
    #[must_use]
    pub fn none(graph: &Graph) -> Self {
        let (steps, hosts) = (graph.steps.len(), graph.stack.hosts.len());
        Self {
            steps: vec![None; steps],
            seen: vec![Vec::new(); steps],
            hosts: vec![None; hosts],
            stamps: vec![None; steps],
            execs: vec![0; hosts],
        }
    }

    /// Returns the facts of a step, if it was asked.
    #[must_use]
    pub fn facts(&self, step: StepId) -> Option<&Result<Arc<Facts>, Fault>> {
        self.steps.get(step.0 as usize)?.as_ref()
    }

    /// Returns the stamp of a step.
    #[must_use]
    pub fn stamp(&self, step: StepId) -> Option<&Stamp> {
        self.stamps.get(step.0 as usize)?.as_deref()
    }

    /// Returns what is known of a host, or why it could not be asked.
    #[must_use]
    pub fn host(&self, host: HostId) -> Option<&Result<HostFacts, AccessError>> {
        self.hosts.get(host.0 as usize)?.as_ref()
    }
}
