//! Disposable Debian hosts on this machine, for trying things and for tests. Knows nothing of the engine.
//!
//! ```text
//! up ─► Place, keys ─► image ─► Driver::up ─► ready (ssh) ─► <name>.yaml
//!       home, cache    tar      docker | namespaces
//! ```
//!
//! What exists is asked from the machine each time: which systems run in which network namespace, which
//! containers carry our label. The record a lab keeps says only what was wanted, so that a killed `lab up` is
//! seen for what it is and cleaned up by the next one.

mod command;
mod config_file;
mod docker;
mod driver;
mod error;
mod image;
mod keys;
mod lock;
mod model;
#[cfg(target_os = "linux")]
mod namespaces;
mod place;
mod ready;
mod seed;
mod up;

pub use driver::{Driver, choose};
pub use error::LabError;
pub use model::{
    Blueprint, DriverKind, HostState, Lab, LabHost, LabName, LabState, MOST_HOSTS, Wanted,
};
#[cfg(target_os = "linux")]
pub use namespaces::host_init;
pub use place::Place;
pub use up::{Progress, Times, Up, build_image, down, list, up};
