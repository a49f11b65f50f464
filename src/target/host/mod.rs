//! Hosts over SSH, and the machine itself without it: connections, host keys, credentials, sudo, uploads, tunnels.
//!
//! ```text
//! Fleet ── Machine ── Wire ─┬─ SshWire ── Links ── Link ── (russh)
//!   │         │             └─ LocalWire
//!   │       sudo, uploads
//! routes (stack, ~/.ssh/config), known hosts, keys
//! ```
//!
//! Knows nothing of steps, probes or what the programs it carries are for.

mod agent;
mod answer;
mod auth;
mod candidates;
mod command;
mod deadline;
mod error;
mod exec;
mod fleet;
mod greet;
mod install;
mod keys;
mod known_hosts;
mod limit;
mod link;
mod links;
mod local;
mod machine;
mod pattern;
mod peer;
mod program;
mod revoked;
mod route;
mod settings;
mod shell;
mod slots;
mod ssh;
mod ssh_config;
mod ssh_words;
mod sudo;
mod trust;
mod tunnel;
mod upload;
mod wire;

pub use command::ssh_command;
pub use fleet::Fleet;
pub use install::{generate_key, install_key};
pub use settings::{AccessSettings, HostKeys, OfferedKey, Password, PasswordWanted, Prompts};
