//! The adapters: each gives a `Reader` and a `Writer` for one kind of target. Decides nothing about steps.

mod actions;
pub mod artifact;
pub mod bao;
mod chosen;
pub mod cluster;
mod crypto;
mod group;
pub mod host;
mod inputs;
pub mod kubeconfig;
pub mod script;
mod shared;
mod tls;
pub mod truenas;

#[cfg(test)]
mod fixture;

pub use actions::BuiltIn;
pub use script::Script;
