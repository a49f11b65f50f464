//! What there is to schedule: dense nodes, what each needs, which pools it takes a place in, and how long the way from
//! it to the end is. Does not know what a step does or what became of it.

use crate::graph::StepId;

/// Index of a pool in [`Work::depths`]. Unlike the graph's pools these also hold one pool for each host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u32);

/// One step, as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Steps that must be done before.
    pub needs: Vec<StepId>,
    /// Pools in which it takes one place each while it runs.
    pub lanes: Vec<LaneId>,
    /// What it is expected to cost: one, or milliseconds if they are known of all.
    pub weight: u64,
    /// It only waits for others, and so takes no place among the steps that run at once.
    pub free: bool,
    /// The lane, its only one, whose steps it may travel with in one program.
    pub with: Option<LaneId>,
}

/// All that is to be scheduled; `StepId` indexes it.
#[derive(Debug)]
pub struct Work {
    nodes: Vec<Option<Node>>,
    depths: Vec<u32>,
    dependants: Vec<Vec<StepId>>,
    distances: Vec<u64>,
    turns: Vec<u32>,
}

/// Steps that need each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("steps need each other in a circle, through step {}", .0.0)]
pub struct Circle(pub StepId);

impl Work {
    /// Makes work of `nodes`, `None` for a step that is no part of it, under pools of these `depths` (a depth of zero counts as one).
    ///
    /// # Errors
    /// When steps need each other in a circle.
    pub fn new(mut nodes: Vec<Option<Node>>, depths: Vec<u32>) -> Result<Self, Circle> {
        let part: Vec<bool> = nodes.iter().map(Option::is_some).collect();
        let mut dependants = vec![Vec::new(); nodes.len()];
        for (at, node) in nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            // What is no part of the work is nothing to wait for.
            node.needs.retain(|need| part[need.0 as usize]);
            for need in &node.needs {
                dependants[need.0 as usize].push(id(at));
            }
        }
        let mut work = Self {
            distances: vec![0; nodes.len()],
            depths: depths.into_iter().map(|depth| depth.max(1)).collect(),
            nodes,
            dependants,
            turns: Vec::new(),
        };
        let order = work.order()?;
        for step in order.iter().rev() {
            let beyond = work
                .dependants(*step)
                .iter()
                .map(|next| work.distances[next.0 as usize])
                .max();
            work.distances[step.0 as usize] = work.node(*step).weight + beyond.unwrap_or(0);
        }
        Ok(work)
    }

    /// Puts steps into turns, by id: of all that could begin, those of an earlier turn do. What they need comes first
    /// whatever its turn.
    #[must_use]
    pub fn in_turns(mut self, turns: Vec<u32>) -> Self {
        self.turns = turns;
        self
    }

    /// Returns the turn of `step`; the first unless there are turns.
    #[must_use]
    pub fn turn(&self, step: StepId) -> u32 {
        self.turns.get(step.0 as usize).copied().unwrap_or(0)
    }

    /// Returns every step, each after all that it needs.
    ///
    /// # Errors
    /// When steps need each other in a circle.
    pub fn order(&self) -> Result<Vec<StepId>, Circle> {
        let count = |node: &Option<Node>| node.as_ref().map_or(0, |node| node.needs.len());
        let mut waits: Vec<usize> = self.nodes.iter().map(count).collect();
        let mut order: Vec<StepId> = self
            .ids()
            .filter(|step| waits[step.0 as usize] == 0)
            .collect();
        let mut at = 0;
        while let Some(step) = order.get(at).copied() {
            at += 1;
            for next in self.dependants(step) {
                waits[next.0 as usize] -= 1;
                if waits[next.0 as usize] == 0 {
                    order.push(*next);
                }
            }
        }
        match waits.iter().position(|left| *left > 0) {
            Some(stuck) => Err(Circle(id(stuck))),
            None => Ok(order),
        }
    }

    /// Returns every step of the work, in order of id.
    pub fn ids(&self) -> impl Iterator<Item = StepId> + '_ {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_some())
            .map(|(at, _)| id(at))
    }

    /// Returns one more than the highest id, whether part of the work or not.
    #[must_use]
    pub fn width(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the node of `step`; one without needs and weight for a step that is no part of the work.
    #[must_use]
    pub fn node(&self, step: StepId) -> &Node {
        static NONE: Node = Node {
            needs: Vec::new(),
            lanes: Vec::new(),
            weight: 0,
            free: false,
            with: None,
        };
        self.nodes[step.0 as usize].as_ref().unwrap_or(&NONE)
    }

    /// Returns the steps that need `step`.
    #[must_use]
    pub fn dependants(&self, step: StepId) -> &[StepId] {
        &self.dependants[step.0 as usize]
    }

    /// Returns the weight of the longest path from `step`, itself included, to an end.
    #[must_use]
    pub fn distance(&self, step: StepId) -> u64 {
        self.distances[step.0 as usize]
    }

    /// Returns how many places each pool has.
    #[must_use]
    pub fn depths(&self) -> &[u32] {
        &self.depths
    }

    /// Returns the chain of steps, each needing the one before, whose `cost` sums up highest. Steps of no cost are left
    /// out.
    #[must_use]
    pub fn longest_path(&self, cost: impl Fn(StepId) -> u64) -> Vec<StepId> {
        let Ok(order) = self.order() else {
            return Vec::new();
        };
        // For each step: what the costliest chain that ends with it costs, and the link before it.
        let mut best: Vec<(u64, Option<StepId>)> = vec![(0, None); self.width()];
        for step in &order {
            let before = self
                .node(*step)
                .needs
                .iter()
                .map(|need| (best[need.0 as usize].0, *need))
                .max_by_key(|(sum, need)| (*sum, std::cmp::Reverse(*need)));
            best[step.0 as usize] = (
                cost(*step) + before.map_or(0, |(sum, _)| sum),
                before.map(|(_, need)| need),
            );
        }
        let mut at = order
            .iter()
            .copied()
            .max_by_key(|step| (best[step.0 as usize].0, std::cmp::Reverse(*step)));
        let mut path = Vec::new();
        while let Some(step) = at {
            if cost(step) > 0 {
                path.push(step);
            }
            at = best[step.0 as usize].1;
        }
        path.reverse();
        path
    }
}

fn id(at: usize) -> StepId {
    StepId(u32::try_from(at).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(edges: &[(u32, u32)], count: u32) -> Result<Work, Circle> {
        let mut nodes = vec![
            Node {
                weight: 1,
                ..Node::default()
            };
            count as usize
        ];
        for (step, need) in edges {
            nodes[*step as usize].needs.push(StepId(*need));
        }
        Work::new(nodes.into_iter().map(Some).collect(), Vec::new())
    }

    #[test]
    fn distance_counts_the_longest_way_to_the_end() {
        let work = work(&[(1, 0), (2, 1), (3, 0)], 4).unwrap();
        let distances: Vec<u64> = work.ids().map(|step| work.distance(step)).collect();
        assert_eq!(distances, [3, 2, 1, 1]);
    }

    #[test]
    fn what_is_no_part_is_not_waited_for() {
        let node = |needs: &[u32]| Node {
            needs: needs.iter().copied().map(StepId).collect(),
            weight: 1,
            ..Node::default()
        };
        let work = Work::new(
            vec![None, Some(node(&[0])), None, Some(node(&[1, 2]))],
            Vec::new(),
        )
        .unwrap();
        assert_eq!(work.ids().collect::<Vec<_>>(), [StepId(1), StepId(3)]);
        assert_eq!(work.order().unwrap(), [StepId(1), StepId(3)]);
        assert_eq!(work.node(StepId(3)).needs, [StepId(1)]);
    }

    #[test]
    fn a_circle_is_refused() {
        assert!(work(&[(0, 1), (1, 0)], 2).is_err());
        assert!(work(&[(0, 0)], 1).is_err());
    }

    #[test]
    fn the_longest_path_goes_where_time_went_and_skips_what_took_none() {
        let work = work(&[(1, 0), (2, 1), (3, 0), (4, 3)], 5).unwrap();
        let ms = [5, 0, 7, 10, 1];
        assert_eq!(
            work.longest_path(|step| ms[step.0 as usize]),
            [StepId(0), StepId(3), StepId(4)]
        );
        let ms = [5, 0, 17, 10, 1];
        assert_eq!(
            work.longest_path(|step| ms[step.0 as usize]),
            [StepId(0), StepId(2)]
        );
    }
}
