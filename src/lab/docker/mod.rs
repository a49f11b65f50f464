//! The driver on Docker's API: each host is a container that runs Debian's own init, each lab a network. Needs no root.
//!
//! What is ours is told by the labels `dev.foundry.lab` and `dev.foundry.lab.home`; nothing without them is touched.

mod driver;
mod image;
mod spec;

pub(super) use driver::DockerDriver;

use crate::lab::LabError;

/// Returns what turns Docker's refusal into a lab error.
fn refused(doing: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> LabError {
    let doing = doing.into();
    move |source| LabError::Docker {
        doing,
        source: Box::new(source),
    }
}
