//! A set of steps of one graph. Does not know the graph: only how many steps it has.

use super::step::StepId;

/// Steps of one graph, each in or out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepSet {
    members: Vec<bool>,
}

impl StepSet {
    /// Returns the empty set for a graph of `steps` steps.
    #[must_use]
    pub fn none(steps: usize) -> Self {
        Self {
            members: vec![false; steps],
        }
    }

    /// Returns the set of all steps of a graph of `steps` steps.
    #[must_use]
    pub fn all(steps: usize) -> Self {
        Self {
            members: vec![true; steps],
        }
    }

    /// Returns whether `step` is in it.
    #[must_use]
    pub fn contains(&self, step: StepId) -> bool {
        self.members.get(step.0 as usize).copied().unwrap_or(false)
    }

    /// Puts `step` in; returns whether it was not there before.
    pub fn insert(&mut self, step: StepId) -> bool {
        let member = &mut self.members[step.0 as usize];
        !std::mem::replace(member, true)
    }

    /// Returns how many steps are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.iter().filter(|member| **member).count()
    }

    /// Returns whether no step is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.members.contains(&true)
    }

    /// Returns the steps in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = StepId> + '_ {
        (0..)
            .map(StepId)
            .zip(&self.members)
            .filter_map(|(id, member)| member.then_some(id))
    }

    /// Puts in all that are in `other`.
    pub fn add(&mut self, other: &Self) {
        self.zip_with(other, |mine, theirs| mine || theirs);
    }

    /// Takes out all that are in `other`.
    pub fn remove(&mut self, other: &Self) {
        self.zip_with(other, |mine, theirs| mine && !theirs);
    }

    /// Keeps only what is in `other` too.
    pub fn keep(&mut self, other: &Self) {
        self.zip_with(other, |mine, theirs| mine && theirs);
    }

    fn zip_with(&mut self, other: &Self, with: impl Fn(bool, bool) -> bool) {
        debug_assert_eq!(self.members.len(), other.members.len(), "sets of one graph");
        for (mine, theirs) in self.members.iter_mut().zip(&other.members) {
            *mine = with(*mine, *theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u32]) -> StepSet {
        let mut set = StepSet::none(6);
        for id in ids {
            set.insert(StepId(*id));
        }
        set
    }

    #[test]
    fn set_operations() {
        let mut both = set(&[0, 1, 2]);
        both.add(&set(&[2, 5]));
        assert_eq!(both, set(&[0, 1, 2, 5]));
        both.remove(&set(&[1]));
        both.keep(&set(&[0, 1, 5]));
        assert_eq!(both.iter().collect::<Vec<_>>(), [StepId(0), StepId(5)]);
        assert_eq!(both.len(), 2);
        assert!(!both.insert(StepId(5)) && both.insert(StepId(4)));
        assert!(StepSet::none(3).is_empty() && StepSet::all(3).len() == 3);
        assert!(
            !both.contains(StepId(99)),
            "a step of another graph is in no set"
        );
    }
}
