//! Hosts → batches, and steps → stages. Pure arithmetic over the graph; keeps no state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rule::Rule;
use crate::catalog::{Canary, Rollout};
use crate::config::HostId;
use crate::graph::StepId;
use crate::run::work::Work;

/// Divides `hosts` into batches as `rollout` says, in the order given, and tells whether the first is a canary. No batch
/// is empty and every host is in exactly one.
#[must_use]
pub fn batches<'n>(
    hosts: &[HostId],
    rollout: &Rollout,
    name: impl Fn(HostId) -> &'n str,
) -> (Vec<Vec<HostId>>, bool) {
    let total = hosts.len();
    let mut left: Vec<HostId> = hosts.to_vec();
    let mut made = Vec::new();
    let canary: Vec<HostId> = match &rollout.canary {
        None => Vec::new(),
        Some(Canary::Size(share)) => left[..share.at_least_one(total).min(total)].to_vec(),
        Some(Canary::Hosts(names)) => left
            .iter()
            .copied()
            .filter(|host| names.iter().any(|wanted| wanted == name(*host)))
            .collect(),
    };
    let has_canary = !canary.is_empty();
    if has_canary {
        let chosen: BTreeSet<HostId> = canary.iter().copied().collect();
        left.retain(|host| !chosen.contains(host));
        made.push(canary);
    }
    let mut sizes = rollout.batches.iter().flatten().copied();
    let mut size = None;
    let mut rest = left.as_slice();
    while !rest.is_empty() {
        size = sizes.next().or(size);
        let take = size.map_or(rest.len(), |share| share.at_least_one(total));
        let (batch, after) = rest.split_at(take.min(rest.len()));
        made.push(batch.to_vec());
        rest = after;
    }
    (made, has_canary)
}

/// The stages of a rule.
pub(super) struct Stages {
    /// Host (index among the rule's) and stage of each bound step.
    pub of: BTreeMap<StepId, (u32, u32)>,
    /// The batch that each stage belongs to, ascending.
    pub batch: Vec<u32>,
}

/// A batch, and how often the way to it crosses from host to host within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Spot {
    batch: u32,
    phase: u32,
}

/// The furthest spots that a step needs: the furthest of all, and the furthest on any other host than that one.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    best: Option<(Spot, u32)>,
    other: Option<(Spot, u32)>,
}

impl Reach {
    fn add(&mut self, (spot, host): (Spot, u32)) {
        match self.best {
            Some((best, on)) if on == host => self.best = Some((best.max(spot), on)),
            Some((best, _)) if spot > best => {
                self.other = self.best;
                self.best = Some((spot, host));
            }
            Some(_) => {
                if self.other.is_none_or(|(other, _)| spot > other) {
                    self.other = Some((spot, host));
                }
            }
            None => self.best = Some((spot, host)),
        }
    }

    fn join(&mut self, before: Self) {
        before.best.into_iter().for_each(|spot| self.add(spot));
        before.other.into_iter().for_each(|spot| self.add(spot));
    }
}

/// Finds the stage of every bound step: one walk over the steps in `order`.
pub(super) fn stages(
    rule: &Rule,
    work: &Work,
    order: &[StepId],
    bound: &BTreeMap<StepId, HostId>,
) -> Stages {
    let mut slots: HashMap<HostId, (u32, u32)> = HashMap::new();
    let all = (0_u32..).zip(&rule.batches);
    for (slot, (batch, host)) in
        (0..).zip(all.flat_map(|(batch, hosts)| hosts.iter().map(move |host| (batch, *host))))
    {
        slots.insert(host, (slot, batch));
    }
    let phased = rule.max_unavailable.is_some();
    let mut reach: Vec<Reach> = vec![Reach::default(); work.width()];
    let mut spots: BTreeMap<StepId, (u32, Spot)> = BTreeMap::new();
    for step in order {
        let mut here = Reach::default();
        for need in &work.node(*step).needs {
            here.join(reach[need.0 as usize]);
        }
        let place = bound.get(step).and_then(|host| slots.get(host));
        if let Some((slot, batch)) = place.copied() {
            let mut spot = Spot { batch, phase: 0 };
            for (needed, on) in here.best.into_iter().chain(here.other) {
                let crossing = u32::from(phased && on != slot);
                spot = spot.max(Spot {
                    phase: needed.phase + crossing,
                    ..needed
                });
            }
            spots.insert(*step, (slot, spot));
            here.add((spot, slot));
        }
        reach[step.0 as usize] = here;
    }
    let distinct: BTreeSet<Spot> = spots.values().map(|(_, spot)| *spot).collect();
    let number: HashMap<Spot, u32> = distinct.iter().copied().zip(0..).collect();
    Stages {
        of: spots
            .into_iter()
            .map(|(step, (slot, spot))| (step, (slot, number[&spot])))
            .collect(),
        batch: distinct.into_iter().map(|spot| spot.batch).collect(),
    }
}
