//! What the probes found of earlier runs, as far as it matters to the next one. Does not know what was probed otherwise.

use std::collections::BTreeMap;

use super::holder::Party;
use crate::config::HostId;
use crate::probe::{Fence, Observed};

/// How far a number may be above all others: a host whose number is higher is not believed. So no host alone can use the
/// numbers up.
const LEAP: u64 = 1_000_000;

/// Runs that hosts know of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenRuns {
    /// The highest number of a fence that is believed.
    pub highest: u64,
    /// The highest number that is believed of all: of fences and locks, a fellow shard's too.
    pub known: u64,
    /// The number of the last run that took the lock, on each host that answered.
    pub locks: BTreeMap<HostId, u64>,
    /// The number of the fence of each host that answered.
    pub fences: BTreeMap<HostId, u64>,
    /// Some host may still have a program of an earlier run at work.
    pub at_work: bool,
}

impl SeenRuns {
    /// Gathers what hosts answered. Shards of the same run are none of the earlier ones.
    #[must_use]
    pub fn of(observed: &Observed, party: Option<&Party>) -> Self {
        let own = party.map(Party::token);
        let answered = observed.hosts.iter().flatten().flatten();
        let numbers = answered.map(|facts| {
            let fence = facts.fence.as_ref().map_or(0, |fence| fence.number);
            fence.max(facts.lock_number)
        });
        let limit = limit(numbers.collect(), observed.hosts.len() == 1);
        let believed = |number: u64| if number <= limit { number } else { 0 };
        let mut seen = Self::default();
        for (id, host) in (0..).map(HostId).zip(&observed.hosts) {
            let Some(Ok(facts)) = host else { continue };
            seen.locks.insert(id, facts.lock_number);
            let fence = facts.fence.as_ref();
            let number = fence.map_or(0, |fence| fence.number);
            for number in [number, facts.lock_number] {
                seen.known = seen.known.max(believed(number));
            }
            let ours = own.is_some() && fence.map(|fence| &fence.token) == own.as_ref();
            if ours {
                continue;
            }
            seen.fences.insert(id, number);
            seen.highest = seen.highest.max(believed(number));
            seen.at_work |= facts.at_work;
        }
        seen
    }

    /// Returns the highest number that the host of the lock may give, if it is to be ahead of the others by `jump`.
    pub(super) fn limit(&self, jump: u64) -> u64 {
        let known = self.known.max(self.highest);
        known.saturating_add(jump + LEAP).min(Fence::MOST)
    }
}

/// Returns up to which number hosts are believed whose highest `numbers` these are: [`LEAP`] above the second highest, unless
/// the stack has but one host.
fn limit(mut numbers: Vec<u64>, alone: bool) -> u64 {
    if alone {
        return Fence::MOST;
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let second = numbers.get(1).copied().unwrap_or_default();
    second.saturating_add(LEAP).min(Fence::MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::HostFacts;

    /// What is seen of hosts with these fences and numbers of the lock.
    fn seen(hosts: &[(u64, u64)]) -> SeenRuns {
        let facts = |(number, lock_number): &(u64, u64)| {
            let fence = Fence::parse(&format!("{number} aa run who"));
            Some(Ok(HostFacts {
                fence,
                lock_number: *lock_number,
                ..HostFacts::default()
            }))
        };
        let observed = Observed {
            hosts: hosts.iter().map(facts).collect(),
            ..Observed::default()
        };
        SeenRuns::of(&observed, None)
    }

    #[test]
    fn one_host_does_not_make_the_number_jump() {
        let most = Fence::MOST;
        let leap = 7 + LEAP;
        type Case<'a> = (&'a [(u64, u64)], u64, u64);
        let cases: [Case<'_>; 9] = [
            (&[(5, 6), (7, 0), (0, 0)], 7, 7),
            (&[(leap, 6), (7, 0)], leap, leap),
            (&[(leap + 1, 6), (7, 0)], 7, 7),
            (&[(999_999_999_999_999, 6), (7, 0), (7, 0)], 7, 7),
            // Both words of one host are one word.
            (&[(most - 1, most), (7, 0), (6, 0)], 7, 7),
            // The lock's number alone is absurd.
            (&[(8, most), (7, 0), (6, 0)], 8, 8),
            // After many runs, and beside a host that is new.
            (
                &[(0, 0), (3_000_000, 0), (3_000_001, 0)],
                3_000_001,
                3_000_001,
            ),
            (&[(most, 0)], most, most),
            (&[(most + 1, 0)], 0, 0),
        ];
        for (hosts, highest, known) in cases {
            let seen = seen(hosts);
            assert_eq!((seen.highest, seen.known), (highest, known), "{hosts:?}");
            let number = hosts[0].0;
            assert_eq!(seen.fences[&HostId(0)], number, "{hosts:?}");
        }
        assert_eq!(seen(&[(7, 0), (7, 0)]).limit(1000), 7 + 1000 + LEAP);
        assert_eq!(seen(&[(most - 1, 0)]).limit(0), most);
    }
}
