//! One file for each kind of step: what it looks at, what of it differs, how it is made so. None knows of the others.

mod dataset;
mod pool;
mod portal;
mod service;
mod share;

use super::client::Client;
use super::error::TrueNasError;
use super::look::{Look, Wants};
use crate::catalog::Values;
use crate::probe::Facts;

/// Names of the actions that the adapter knows.
pub const SERVICE_ACTIONS: &[&str] = &[
    pool::ACTION,
    dataset::ACTION,
    dataset::REMOVE,
    share::ACTION,
    share::REMOVE,
    portal::ACTION,
    service::ACTION,
];

/// Returns the roles of which a key's user must have one for an action. `FULL_ADMIN` is always enough.
#[must_use]
pub fn roles_for(action: &str) -> &'static [&'static str] {
    match action {
        pool::ACTION => &["POOL_READ"],
        dataset::ACTION => &["DATASET_WRITE"],
        share::ACTION => &["SHARING_NFS_WRITE"],
        portal::ACTION => &["SHARING_ISCSI_PORTAL_WRITE"],
        service::ACTION => &["SERVICE_WRITE", "SHARING_NFS_WRITE", "SHARING_ISCSI_WRITE"],
        _ => &[],
    }
}

/// Says one line of progress.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What one step is about.
pub enum Job {
    /// A pool is there.
    Pool(pool::Wanted),
    /// A dataset is as wanted.
    Dataset(dataset::Wanted),
    /// A dataset is gone.
    NoDataset(dataset::Unwanted),
    /// A folder is shared.
    Share(share::Wanted),
    /// A folder is not shared.
    NoShare(share::Unwanted),
    /// iSCSI is listened for.
    Portal(portal::Wanted),
    /// A service runs.
    Service(service::Wanted),
}

impl Job {
    /// Reads a step's inputs.
    pub fn read(action: &str, inputs: &Values) -> Result<Self, String> {
        Ok(match action {
            pool::ACTION => Self::Pool(pool::Wanted::read(inputs)?),
            dataset::ACTION => Self::Dataset(dataset::Wanted::read(inputs)?),
            dataset::REMOVE => Self::NoDataset(dataset::Unwanted::read(inputs)?),
            share::ACTION => Self::Share(share::Wanted::read(inputs)?),
            share::REMOVE => Self::NoShare(share::Unwanted::read(inputs)?),
            portal::ACTION => Self::Portal(portal::Wanted::read(inputs)?),
            service::ACTION => Self::Service(service::Wanted::read(inputs)?),
            other => return Err(format!("TrueNAS' adapter knows no action `{other}`")),
        })
    }

    /// Adds what it has to look at.
    pub fn want(&self, wants: &mut Wants) {
        match self {
            Self::Pool(_) => wants.pools = true,
            Self::Dataset(wanted) => wanted.want(wants),
            Self::NoDataset(unwanted) => unwanted.want(wants),
            Self::Share(wanted) => drop(wants.shares.insert(wanted.path.clone())),
            Self::NoShare(unwanted) => drop(wants.shares.insert(unwanted.path.clone())),
            Self::Portal(_) => wants.portals = true,
            Self::Service(wanted) => drop(wants.services.insert(wanted.name.clone())),
        }
    }

    /// Tells what was found.
    pub fn facts(&self, look: &Look) -> Facts {
        match self {
            Self::Pool(wanted) => wanted.facts(look),
            Self::Dataset(wanted) => wanted.facts(look),
            Self::Share(wanted) => wanted.facts(look),
            Self::Portal(wanted) => wanted.facts(look),
            Self::Service(wanted) => wanted.facts(look),
            // Only ever applied.
            Self::NoDataset(_) | Self::NoShare(_) => Facts::new(),
        }
    }

    /// Makes it so, going by what was found just now.
    pub async fn apply(
        &self,
        client: &Client,
        look: &Look,
        say: Say<'_>,
    ) -> Result<(), TrueNasError> {
        match self {
            Self::Pool(wanted) => wanted.apply(look),
            Self::Dataset(wanted) => wanted.apply(client, look).await,
            Self::NoDataset(unwanted) => unwanted.apply(client, look, say).await,
            Self::Share(wanted) => wanted.apply(client, look).await,
            Self::NoShare(unwanted) => unwanted.apply(client, look).await,
            Self::Portal(wanted) => wanted.apply(client, look).await,
            Self::Service(wanted) => wanted.apply(client, look, say).await,
        }
    }
}
