//! Every built-in action by name. Does not know which tasks use them.

use std::sync::Arc;

use super::artifact::Install;
use super::bao::{Handover, Init, Join, Unseal};
use super::shared::SharedSecret;
use super::tls::{Authority, Certificate};
use crate::run::Action;

/// All built-in actions for steps on hosts and groups.
#[must_use]
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(Install),
        Arc::new(SharedSecret),
        Arc::new(Authority),
        Arc::new(Certificate),
        Arc::new(Init),
        Arc::new(Join),
        Arc::new(Unseal),
        Arc::new(Handover),
    ]
}

/// Returns the action of that name.
#[must_use]
pub fn action(name: &str) -> Option<Arc<dyn Action>> {
    actions().into_iter().find(|action| action.name() == name)
}
