//! Which of several runs, side by side, does which steps. Steps on a host go with the host's name, others with their label,
//! by rendezvous hashing: each of them weighs every shard, and the heaviest wins. So one host more moves no other, and one
//! shard more takes from each only what falls to it. Knows names only.

use std::fmt;
use std::str::FromStr;

use super::Graph;
use super::select::Selection;
use super::set::StepSet;
use super::step::{Step, StepId, Target};

/// Most shards of one run; far above what anybody has machines for.
const MOST: u32 = 10_000;

/// One of several runs that share a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A text that names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shard: write the second of three as 2/3")]
pub struct BadShard(String);

impl Shard {
    /// Returns shard number `number`, from 1, of `count`; `None` if there is no such.
    #[must_use]
    pub fn new(number: u32, count: u32) -> Option<Self> {
        let fits = (1..=count).contains(&number) && count <= MOST;
        fits.then(|| Self {
            index: number - 1,
            count,
        })
    }

    /// Returns its number, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.index + 1
    }

    /// Returns how many shards there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns whether what goes by `name` is this shard's.
    #[must_use]
    pub fn owns(self, name: &str) -> bool {
        owner(name, self.count) == self.index
    }
}

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let numbers = text.split_once('/').and_then(|(number, count)| {
            Some((number.trim().parse().ok()?, count.trim().parse().ok()?))
        });
        numbers
            .and_then(|(number, count)| Self::new(number, count))
            .ok_or_else(|| BadShard(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.count)
    }
}

/// Returns which of `count` shards, from 0, `name` belongs to.
fn owner(name: &str, count: u32) -> u32 {
    let weight = |shard: u32| {
        let mut hasher = blake3::Hasher::new_derive_key("foundry 2026 shard of a fleet");
        hasher.update(&shard.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut weight = [0; 8];
        weight.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(weight)
    };
    (0..count)
        .max_by_key(|shard| (weight(*shard), std::cmp::Reverse(*shard)))
        .unwrap_or(0)
}

impl Graph {
    /// Returns what is left of `selection` for `shard`: its own steps, and all that these need. What of that other shards
    /// do is in [`Selection::elsewhere`].
    #[must_use]
    pub fn shard(&self, selection: &Selection, shard: Shard) -> Selection {
        let hosts: Vec<bool> = self
            .stack
            .hosts
            .iter()
            .map(|host| shard.owns(&host.name))
            .collect();
        let mine = |step: &Step| match &step.target {
            Target::Host(host) => hosts[host.0 as usize],
            Target::Group(_) | Target::Service(..) => shard.owns(&step.label.to_string()),
            // Nothing is done there; each shard has its own.
            Target::Gather => false,
        };
        let none = || StepSet::none(self.steps.len());
        let mut left = Selection {
            asked: none(),
            steps: none(),
            held: none(),
            elsewhere: none(),
        };
        let mut open: Vec<StepId> = Vec::new();
        for id in selection.steps.iter().filter(|id| mine(self.step(*id))) {
            left.steps.insert(id);
            open.push(id);
            if selection.asked.contains(id) {
                left.asked.insert(id);
            }
        }
        while let Some(id) = open.pop() {
            for need in &self.step(id).needs {
                if selection.held.contains(*need) {
                    left.held.insert(*need);
                } else if selection.steps.contains(*need) && left.steps.insert(*need) {
                    open.push(*need);
                    let step = self.step(*need);
                    if step.target != Target::Gather {
                        left.elsewhere.insert(*need);
                    }
                }
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::{Selector, fixture};

    proptest! {
        #[test]
        fn another_host_moves_no_other_and_another_shard_only_takes(
            names in prop::collection::btree_set("[a-z]{1,6}-[0-9]{1,4}", 1..200),
            count in 1_u32..40,
        ) {
            for name in &names {
                // The owner depends on the name and the number of shards alone, so no other host matters.
                let before = owner(name, count);
                prop_assert!(before < count);
                prop_assert_eq!((1..=count).filter(|n| Shard::new(*n, count).unwrap().owns(name)).count(), 1);
                let after = owner(name, count + 1);
                prop_assert!(after == before || after == count, "{name} moved between shards that were there");
            }
        }
    }

    #[test]
    fn shards_are_about_even_and_one_more_moves_about_its_part() {
        let names: Vec<String> = (0..10_000).map(|n| format!("node-{n}")).collect();
        let mut sizes = [0_u32; 8];
        for name in &names {
            sizes[owner(name, 8) as usize] += 1;
        }
        assert!(
            sizes.iter().all(|size| (1_100..1_400).contains(size)),
            "{sizes:?}"
        );
        let moved = names
            .iter()
            .filter(|name| owner(name, 8) != owner(name, 9))
            .count();
        assert!((950..1_270).contains(&moved), "{moved} of 10,000 moved");
    }

    #[test]
    fn which_shard_a_name_is_in_never_changes() {
        // Shards of one run may be of different versions of Foundry.
        let owners: Vec<u32> = (0..12).map(|n| owner(&format!("node-{n}"), 3)).collect();
        insta::assert_compact_debug_snapshot!(owners, @"[2, 2, 0, 0, 2, 1, 0, 0, 2, 2, 1, 0]");
    }

    #[test]
    fn every_step_is_one_shards_and_what_it_needs_of_others_is_awaited() {
        let graph = fixture::graph(
            "
            host a
            host b
            host c
            app:config@a
            app:config@b
            app:config@c
            gather app:all < app:config@a app:config@b app:config@c
            group app:init < app:all
            service api app:admin < app:init
            app:join@a < app:init
            app:join@b < app:init
            app:join@c < app:init
            ",
        );
        let all = graph.select(&Selector::parse("stack").unwrap()).unwrap();
        let shards: Vec<Selection> = (1..=3)
            .map(|n| graph.shard(&all, Shard::new(n, 3).unwrap()))
            .collect();
        for id in graph.ids().filter(|id| graph.step(*id).task.is_some()) {
            let owners = shards
                .iter()
                .filter(|shard| shard.own().any(|own| own == id));
            assert_eq!(owners.count(), 1, "{}", graph.step(id).label);
        }
        for shard in &shards {
            for id in shard.own() {
                for need in &graph.step(id).needs {
                    assert!(shard.steps.contains(*need), "{}", graph.step(*need).label);
                }
            }
            assert!(shard.elsewhere.iter().all(|id| shard.steps.contains(id)));
        }
    }

    #[test]
    fn a_shard_is_written_as_its_number_of_all() {
        let shard: Shard = "2/3".parse().unwrap();
        assert_eq!(
            (shard.number(), shard.count(), shard.to_string()),
            (2, 3, "2/3".to_owned())
        );
        for text in ["", "0/3", "4/3", "2", "a/b", "1/0", "-1/2", "1/99999"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
