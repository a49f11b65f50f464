//! Looks at steps during a run: one program a host, with what is known by now of their inputs. Does not know why.

use std::collections::HashMap;

use super::attempt::nonce;
use super::execute::{Executor, learn_secrets};
use super::writer::{Actions, StepError, Writers};
use crate::graph::StepId;
use crate::plan::{Decision, decide_step};
use crate::probe::{Known, Look, Round, observe};

/// How many hosts are looked at at once.
const AT_ONCE: usize = 256;

impl Executor {
    /// Looks at the targets of `steps`, by `writers`.
    pub(super) async fn look_at(
        &self,
        steps: &[StepId],
        writers: &dyn Writers,
    ) -> Result<(Known, Look), StepError> {
        let shared = &self.shared;
        let inputs = steps.iter().map(|step| &*shared.graph.step(*step).inputs);
        let known = self.known().of(inputs);
        let actions: &dyn Actions = &*shared.actions;
        let round = Round {
            graph: &shared.graph,
            known: &known,
            readers: writers,
            actions,
            nonce: nonce()?,
            at_once: AT_ONCE,
            tell: &|_| {},
        };
        let look = observe(&round, steps.iter().copied()).await;
        Ok((known, look))
    }

    /// Looks at `steps` afresh and decides each; one that can't be asked yet is left out.
    pub(super) async fn decide_afresh(
        &self,
        steps: &[StepId],
    ) -> Result<HashMap<StepId, Decision>, StepError> {
        let shared = &self.shared;
        let (known, look) = self.look_at(steps, &*shared.writers).await?;
        let decided = look.steps.into_iter().filter_map(|(step, seen)| {
            let facts = seen.facts.as_ref()?.as_ref().map(|facts| &**facts);
            let node = shared.graph.step(step);
            let values = known.fill(&node.inputs).values;
            learn_secrets(shared.tell.masker(), &values);
            let stamp = seen.stamp.as_deref();
            let decision = decide_step(node, &values, facts, stamp, &self.prints.now());
            Some((step, decision))
        });
        Ok(decided.collect())
    }
}
