//! Pieces of graph work that more than one measurement does. Keeps no time.

use std::collections::HashMap;
use std::sync::Arc;

use foundry::catalog::Values;
use foundry::graph::{Graph, Key, Keyed, Selection, Selector};
use foundry::probe::{Known, Observed};

use crate::expected::{World, fingerprints};

/// Selects all steps, as `foundry build stack` does.
pub fn everything(graph: &Graph) -> Selection {
    let selector = Selector::parse("stack").expect("a selector");
    graph.select_any(&[selector]).expect("a selection")
}

/// Returns the keys of all steps whose inputs are known.
pub fn keys(graph: &Graph, known: &Known) -> Vec<Key> {
    let mut filled: HashMap<usize, Arc<Values>> = HashMap::new();
    let values: Vec<Option<Arc<Values>>> = graph
        .steps
        .iter()
        .map(|step| {
            step.task.as_ref()?;
            let values = filled
                .entry(Arc::as_ptr(&step.inputs).addr())
                .or_insert_with(|| Arc::new(known.fill(&step.inputs).values));
            Some(Arc::clone(values))
        })
        .collect();
    let keyed: Vec<Keyed<'_>> = graph
        .steps
        .iter()
        .zip(&values)
        .filter_map(|(step, values)| {
            Some(Keyed {
                task: step.task.as_ref()?,
                target: &step.target,
                inputs: values.as_ref()?,
            })
        })
        .collect();
    foundry::graph::keys(&keyed, &fingerprints())
}

/// Returns what a look at a world sees in which every step is satisfied.
pub fn observed(graph: &Graph) -> Observed {
    let mut world = World::new(graph);
    let mut observed = Observed::none(graph);
    for id in graph.ids() {
        if let Some(expected) = world.expected(id) {
            observed.steps[id.0 as usize] = Some(Ok(Arc::clone(&expected.facts)));
            observed.stamps[id.0 as usize] = Some(Arc::clone(&expected.stamp));
        }
    }
    observed
}
