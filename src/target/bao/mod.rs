//! OpenBAO: its API through a tunnel, the actions that bring a cluster up, and the adapter for service steps and
//! secrets. Knows no recipe.

mod answer;
mod client;
mod endpoint;
mod handover;
mod init;
mod join;
mod kv;
mod node;
mod service;
mod session;
mod steps;
mod store;
mod unseal;

use crate::config::Stack;

pub use client::CA;
pub use handover::Handover;
pub use init::Init;
pub use join::Join;
pub use service::{BaoService, SERVICE_ACTIONS};
pub use session::{Sessions, TOKEN_VARIABLE};
pub use store::BaoStore;
pub use unseal::Unseal;

/// Returns the name under which Foundry's token for a stack's OpenBAO is kept.
#[must_use]
pub fn token_name(stack: &Stack) -> String {
    format!("{}-bao-token", stack.name)
}

/// Returns the name under which the authority is kept that Foundry's token was last used with.
fn authority_name(stack: &Stack) -> String {
    format!("{}-bao-ca", stack.name)
}
