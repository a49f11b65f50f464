//! The steps in an order in which each comes after all it needs. Flat lists, for there may be millions. Knows edges
//! only.

use super::{Graph, StepId};

/// An order of the steps of a graph, or of part of it.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The steps, each after all it needs. Those on a circle, and what needs them, are not among them.
    pub steps: Vec<StepId>,
    /// Length of the longest path of needs before each step, by `StepId`.
    pub level: Vec<u32>,
}

impl Order {
    /// Orders the steps of which `part` holds; others are not waited for. First come steps that need nothing, by id.
    #[must_use]
    pub fn of(graph: &Graph, part: impl Fn(StepId) -> bool) -> Self {
        let count = graph.steps.len();
        let mut waiting = vec![0_u32; count];
        // Where the list of those that need a step begins; that of the next step is its end.
        let mut starts = vec![0_u32; count + 1];
        let mut ready = Vec::with_capacity(count);
        let needs = |id: StepId| graph.step(id).needs.iter().filter(|need| part(**need));
        for id in graph.ids().filter(|id| part(*id)) {
            for need in needs(id) {
                waiting[id.0 as usize] += 1;
                starts[need.0 as usize + 1] += 1;
            }
            if waiting[id.0 as usize] == 0 {
                ready.push(id);
            }
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut dependents = vec![StepId(0); starts[count] as usize];
        let mut next = starts.clone();
        for id in graph.ids().filter(|id| part(*id)) {
            for need in needs(id) {
                let place = &mut next[need.0 as usize];
                dependents[*place as usize] = id;
                *place += 1;
            }
        }
        drop(next);
        let mut level = vec![0_u32; count];
        let mut at = 0;
        while let Some(id) = ready.get(at).copied() {
            at += 1;
            let index = id.0 as usize;
            let after = level[index] + 1;
            for next in &dependents[starts[index] as usize..starts[index + 1] as usize] {
                let next_index = next.0 as usize;
                level[next_index] = level[next_index].max(after);
                waiting[next_index] -= 1;
                if waiting[next_index] == 0 {
                    ready.push(*next);
                }
            }
        }
        Self {
            steps: ready,
            level,
        }
    }
}
