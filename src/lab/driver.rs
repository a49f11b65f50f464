//! What runs the hosts of a lab, and which of the two drivers works on this machine. Knows no keys and no config.

use futures::future::BoxFuture;

use super::docker::DockerDriver;
use super::{Blueprint, DriverKind, Lab, LabError, LabName, Place};

/// Runs the hosts of labs.
pub trait Driver: Send + Sync {
    /// Returns which driver this is.
    fn kind(&self) -> DriverKind;

    /// Returns the labs it runs or has run for this user, as the machine shows them now.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Lab>, LabError>>;

    /// Makes the lab's hosts run: all of them anew if the driver has none of that lab, else those that are stopped.
    fn up<'a>(&'a self, blueprint: &'a Blueprint) -> BoxFuture<'a, Result<Lab, LabError>>;

    /// Removes all it has of the lab; nothing to remove is fine too.
    fn down<'a>(&'a self, lab: &'a LabName) -> BoxFuture<'a, Result<(), LabError>>;
}

/// Returns the driver for the labs of `place`: the one asked for, else Docker if its API answers, else namespaces.
///
/// # Errors
/// If the machine lacks what the driver needs; the error names it.
pub async fn choose(place: &Place, asked: Option<DriverKind>) -> Result<Box<dyn Driver>, LabError> {
    if let Some(kind) = asked {
        return open(place, kind).await;
    }
    let mut refusals = Vec::new();
    for kind in [DriverKind::Docker, DriverKind::Namespaces] {
        match open(place, kind).await {
            Ok(driver) => return Ok(driver),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let namespaces = refusals.pop().unwrap_or_default();
    Err(LabError::NoDriver {
        docker: refusals.pop().unwrap_or_default(),
        namespaces,
    })
}

/// Returns the drivers that work here, so that every lab of the user is seen.
pub(super) async fn all(place: &Place) -> Vec<Box<dyn Driver>> {
    let mut drivers = Vec::new();
    for kind in [DriverKind::Docker, DriverKind::Namespaces] {
        drivers.extend(open(place, kind).await.ok());
    }
    drivers
}

async fn open(place: &Place, kind: DriverKind) -> Result<Box<dyn Driver>, LabError> {
    match kind {
        DriverKind::Docker => Ok(Box::new(DockerDriver::new(place.home()).await?)),
        DriverKind::Namespaces => namespaces(place),
    }
}

#[cfg(target_os = "linux")]
fn namespaces(place: &Place) -> Result<Box<dyn Driver>, LabError> {
    Ok(Box::new(super::namespaces::Namespaces::new(place.home())?))
}

#[cfg(not(target_os = "linux"))]
fn namespaces(_place: &Place) -> Result<Box<dyn Driver>, LabError> {
    Err(LabError::Missing {
        what: "Linux".into(),
        why: "the namespaces driver".into(),
        help: "use Docker".into(),
    })
}
