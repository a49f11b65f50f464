//! `Stack` × `Catalog` → `Graph`: steps with typed ids, labels, selection, keys, queries, export. Knows no live system.

mod bind;
mod expand;
mod expand_bind;
mod expand_blocks;
mod expand_checks;
mod expand_edges;
mod expand_images;
mod expand_inputs;
mod expand_lint;
mod expand_parts;
#[cfg(test)]
mod expand_role_tests;
mod expand_scope;
#[cfg(test)]
mod expand_tests;
mod export;
#[cfg(test)]
pub(crate) mod fixture;
mod input;
mod key;
mod keys;
mod label;
mod order;
mod pattern;
mod picture;
mod pins;
#[cfg(test)]
mod pins_tests;
mod query;
mod select;
mod set;
mod shard;
mod step;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use expand::expand;
pub use expand_lint::expand_made_up;
pub use export::{GraphJson, StepJson, dot, json, mermaid};
pub use input::{Hole, HoleId, Input, Inputs, Part, Unfilled};
pub use key::{Fingerprints, Key, Standing, explain_key, key, public_key, shown};
pub use keys::{Keyed, keys};
pub use label::{Label, LabelError};
pub use order::Order;
pub use picture::Hosts;
pub use pins::{Download, Downloads};
pub use query::{Cycle, Links};
pub use select::{SelectError, Selection, Selector};
pub use set::StepSet;
pub use shard::{BadShard, Shard};
pub use step::{Pool, PoolId, Step, StepId, Target};

use crate::config::{Problem, Stack};

/// Everything that a stack wants, as steps and the order between them.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The stack it was made from; `HostId`s index its hosts.
    pub stack: Arc<Stack>,
    /// All steps; `StepId` indexes this.
    pub steps: Vec<Step>,
    /// Values not known when the graph was made; `HoleId` indexes this.
    pub holes: Vec<Hole>,
    /// Pools; `PoolId` indexes this.
    pub pools: Vec<Pool>,
    /// Container images that each component's workloads run, by component, as [`crate::catalog::ImageRef`] writes them.
    pub images: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// What recipes warn of, with places in the config. Nothing of it stands in the way.
    pub warnings: Vec<Problem>,
}

impl Graph {
    /// Returns the step that `id` stands for.
    #[must_use]
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0 as usize]
    }

    /// Returns every step's id, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = StepId> + use<> {
        (0..u32::try_from(self.steps.len()).unwrap_or(u32::MAX)).map(StepId)
    }
}
