//! What the probes found of earlier runs, as far as it matters to the next one. Does not know what was probed otherwise.

use std::collections::BTreeMap;

use super::holder::Party;
use crate::config::HostId;
use crate::probe::Observed;

/// Runs that hosts know of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenRuns {
    /// The highest number of a fence.
    pub highest: u64,
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
        let mut seen = Self::default();
        for (id, host) in (0..).map(HostId).zip(&observed.hosts) {
            let Some(Ok(facts)) = host else { continue };
            seen.locks.insert(id, facts.lock_number);
            let fence = facts.fence.as_ref();
            let ours = own.is_some() && fence.map(|fence| &fence.token) == own.as_ref();
            if ours {
                continue;
            }
            let number = fence.map_or(0, |fence| fence.number);
            seen.fences.insert(id, number);
            seen.highest = seen.highest.max(number);
            seen.at_work |= facts.at_work;
        }
        seen
    }
}
