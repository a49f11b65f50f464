//! Every built-in action by name. Does not know which tasks use them.

use std::sync::Arc;

use super::artifact::{Install, StageImage};
use super::bao::{Handover, Init, Join, Unseal};
use super::chosen::Chosen;
use super::kubeconfig::ReadKubeconfig;
use super::shared::SharedSecret;
use super::tls::{Authority, Certificate};
use crate::probe::ActionProbe;
use crate::run::{Action, Actions};

/// All built-in actions for steps on hosts and groups.
pub struct BuiltIn(Vec<Arc<dyn Action>>);

impl Default for BuiltIn {
    fn default() -> Self {
        Self(vec![
            Arc::new(Install),
            Arc::new(StageImage),
            Arc::new(SharedSecret),
            Arc::new(Chosen),
            Arc::new(ReadKubeconfig),
            Arc::new(Authority),
            Arc::new(Certificate),
            Arc::new(Init),
            Arc::new(Join),
            Arc::new(Unseal),
            Arc::new(Handover),
        ])
    }
}

impl Actions for BuiltIn {
    fn action(&self, name: &str) -> Option<Arc<dyn Action>> {
        self.0.iter().find(|action| action.name() == name).cloned()
    }
}

impl crate::probe::Actions for BuiltIn {
    fn find(&self, name: &str) -> Option<&dyn ActionProbe> {
        let action = self.0.iter().find(|action| action.name() == name)?;
        let probe: &dyn ActionProbe = &**action;
        Some(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::probe::Actions as _;
    use crate::target::{bao, cluster, truenas};

    #[test]
    fn every_action_that_a_task_names_is_there_and_every_one_there_is_named() {
        let actions = BuiltIn::default();
        let of_services = [
            bao::SERVICE_ACTIONS,
            cluster::SERVICE_ACTIONS,
            truenas::SERVICE_ACTIONS,
        ]
        .concat();
        let mut named = std::collections::BTreeSet::new();
        for task in Catalog::embedded().unwrap().tasks.values() {
            let probe = task.probe.action.as_deref();
            let effects = [&task.apply, &task.remove].into_iter().flatten();
            let named_there = effects.filter_map(|effect| effect.action.as_deref());
            for name in probe.into_iter().chain(named_there) {
                assert!(
                    actions.action(name).is_some() || of_services.contains(&name),
                    "{}: no action `{name}`",
                    task.name
                );
                named.insert(name.to_owned());
            }
        }
        for action in &actions.0 {
            assert!(named.contains(action.name()), "{} is unused", action.name());
            assert!(actions.find(action.name()).is_some());
        }
        for name in of_services {
            assert!(named.contains(name), "{name} is unused");
        }
    }
}
