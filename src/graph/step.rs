//! One node of the graph. Does not know whether it is satisfied.

use std::sync::Arc;

use super::input::Inputs;
use super::label::Label;
use crate::catalog::Task;
use crate::config::HostId;

/// Index of a step in [`super::Graph::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Index of a pool in [`super::Graph::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// A named limit on how many steps run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// `component:pool`.
    pub name: Arc<str>,
    /// How many at once.
    pub depth: u32,
}

/// Where a step's effect lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One host.
    Host(HostId),
    /// Several hosts together: the probe asks each, the apply decides where to act.
    Group(Arc<[HostId]>),
    /// An API that these hosts provide.
    Service(Arc<str>, Arc<[HostId]>),
    /// Nowhere: a point that gathers many steps so that edges don't multiply. Has no task of its own; done when its `needs` are.
    Gather,
}

/// A task bound to its inputs and one target.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub label: Label,
    /// What it does; `None` only for `Target::Gather`.
    pub task: Option<Arc<Task>>,
    /// Where.
    pub target: Target,
    /// With what. Shared by the hosts for which it is the same.
    pub inputs: Arc<Inputs>,
    /// Steps that come before. Sorted, without doubles; holds `watch` and the steps of output holes too.
    pub needs: Vec<StepId>,
    /// Those of `needs` whose having run makes this step be probed and decided afresh: data flows along these
    /// (outputs used as inputs, and the recipe's `watch`). Sorted.
    pub watch: Vec<StepId>,
    /// Limit it runs under.
    pub pool: Option<PoolId>,
}
