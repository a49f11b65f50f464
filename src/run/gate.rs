//! Looks at a batch after its soak: the steps of its rollout's gate must be satisfied, live, before the next batch begins.
//! Does not know what comes next.

use std::sync::Arc;
use std::time::Duration;

use super::execute::Executor;
use super::rollout::Rule;
use crate::event::Verdict;
use crate::graph::{StepId, Target};

/// How often a gate that is not yet open is looked at again.
const POLL: Duration = Duration::from_secs(2);

/// Steps that are named where a gate stays shut; the rest is counted.
const NAMED: usize = 3;

impl Executor {
    /// Waits for the soak time of `rule`, then until the gate of batch number `batch` is open.
    pub(super) async fn pass_gate(&self, rule: Arc<Rule>, batch: usize) -> Result<(), String> {
        tokio::time::sleep(rule.soak).await;
        let steps = self.gate_of(&rule, batch);
        if steps.is_empty() {
            return Ok(());
        }
        let began = tokio::time::Instant::now();
        loop {
            let unwell = self.unwell(&steps).await;
            if unwell.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= rule.gate_timeout {
                let named = unwell[..unwell.len().min(NAMED)].join("; ");
                let more = unwell.len().saturating_sub(NAMED);
                let more = match more {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                return Err(format!(
                    "batch {} is not healthy after {:?}: {named}{more}",
                    batch + 1,
                    rule.gate_timeout
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Returns the steps to look at: those on the batch's hosts that are done, and those of a group or an API that were
    /// well before the run or have become so.
    fn gate_of(&self, rule: &Rule, batch: usize) -> Vec<StepId> {
        let hosts = rule.batches.get(batch).map_or(&[][..], Vec::as_slice);
        let shared = &self.shared;
        let was_well = |step: &StepId| shared.plan.verdict(*step) == Some(Verdict::Satisfied);
        rule.gate
            .iter()
            .copied()
            .filter(|step| match &shared.graph.step(*step).target {
                Target::Host(host) => hosts.contains(host) && self.is_done(*step),
                Target::Group(_) | Target::Service(..) => was_well(step) || self.is_done(*step),
                Target::Gather => false,
            })
            .collect()
    }

    /// Looks at `steps` afresh and returns in words which of them are not satisfied, and why.
    async fn unwell(&self, steps: &[StepId]) -> Vec<String> {
        let shared = &self.shared;
        let decided = match self.decide_afresh(steps).await {
            Ok(decided) => decided,
            Err(error) => return vec![error.to_string()],
        };
        let mut unwell = Vec::new();
        for step in steps {
            let label = &shared.graph.step(*step).label;
            let Some(decision) = decided.get(step) else {
                unwell.push(format!("{label} can't be asked"));
                continue;
            };
            if decision.verdict != Verdict::Satisfied {
                let why = decision.reasons.first().map(ToString::to_string);
                let why = shared.tell.masked(&why.unwrap_or_default());
                unwell.push(format!("{label}: {why}"));
            }
        }
        unwell
    }
}
