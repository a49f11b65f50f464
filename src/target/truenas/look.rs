//! What there is on a TrueNAS, asked once for each kind whatever the number of steps, and told as data. Judges nothing.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{ASK, Client};
use super::error::TrueNasError;

/// A pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `ONLINE`, `DEGRADED`, `FAULTED`, …
    pub status: String,
    /// Whether there is nothing wrong with it.
    pub healthy: bool,
    /// What is, in TrueNAS' words.
    #[serde(default)]
    pub status_detail: Option<String>,
    /// Bytes in all, where it tells.
    #[serde(default)]
    pub size: Option<u64>,
    /// Bytes that are free, where it tells.
    #[serde(default)]
    pub free: Option<u64>,
}

/// An NFS share.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Share {
    pub id: i64,
    pub path: String,
    pub comment: String,
    pub networks: Vec<String>,
    pub hosts: Vec<String>,
    pub ro: bool,
    pub maproot_user: Option<String>,
    pub maproot_group: Option<String>,
    pub mapall_user: Option<String>,
    pub mapall_group: Option<String>,
    pub security: Vec<String>,
    pub enabled: bool,
}

/// Where iSCSI is listened for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Portal {
    pub id: i64,
    pub comment: String,
    pub listen: Vec<Listen>,
}

/// One address of a portal.
#[derive(Debug, Clone, Deserialize)]
pub struct Listen {
    pub ip: String,
}

/// A system service.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// `nfs`, `iscsitarget`, …
    pub service: String,
    /// `RUNNING` or `STOPPED`.
    pub state: String,
    /// Whether it starts with the machine.
    pub enable: bool,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub struct Wants {
    pub pools: bool,
    pub datasets: BTreeSet<String>,
    pub properties: BTreeSet<String>,
    pub shares: BTreeSet<String>,
    pub portals: bool,
    pub services: BTreeSet<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Look {
    pub pools: Vec<Pool>,
    /// As TrueNAS tells them: each property a table of its own.
    pub datasets: Vec<Value>,
    pub shares: Vec<Share>,
    pub portals: Vec<Portal>,
    pub services: Vec<Service>,
}

impl Look {
    /// Looks at all that is wanted, one query for each kind, all at once.
    pub async fn at(client: &Client, wants: &Wants) -> Result<Self, TrueNasError> {
        let mut look = Self::default();
        let queries = wants.queries();
        let asked = queries
            .iter()
            .map(|(method, params)| client.call(method, params, ASK));
        let answers = try_join_all(asked).await?;
        for ((method, _), answer) in queries.iter().zip(answers) {
            match *method {
                POOLS => look.pools = read(method, answer)?,
                DATASETS => look.datasets = read(method, answer)?,
                SHARES => look.shares = read(method, answer)?,
                PORTALS => look.portals = read(method, answer)?,
                _ => look.services = read(method, answer)?,
            }
        }
        Ok(look)
    }

    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    pub fn dataset(&self, path: &str) -> Option<&Value> {
        self.datasets.iter().find(|dataset| dataset["id"] == path)
    }

    pub fn share(&self, path: &str) -> Option<&Share> {
        self.shares.iter().find(|share| share.path == path)
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.service == name)
    }
}

const POOLS: &str = "pool.query";
const DATASETS: &str = "pool.dataset.query";
const SHARES: &str = "sharing.nfs.query";
const PORTALS: &str = "iscsi.portal.query";
const SERVICES: &str = "service.query";

impl Wants {
    fn queries(&self) -> Vec<(&'static str, Value)> {
        let mut queries = Vec::new();
        if self.pools {
            queries.push((POOLS, json!([])));
        }
        if !self.datasets.is_empty() {
            // All properties of all datasets are megabytes on a NAS with thousands of them.
            let extra = json!({
                "flat": true,
                "retrieve_children": false,
                "retrieve_user_props": false,
                "properties": self.properties,
            });
            let filter = json!([["id", "in", self.datasets]]);
            queries.push((DATASETS, json!([filter, { "extra": extra }])));
        }
        if !self.shares.is_empty() {
            queries.push((SHARES, json!([[["path", "in", self.shares]]])));
        }
        if self.portals {
            queries.push((PORTALS, json!([])));
        }
        if !self.services.is_empty() {
            queries.push((SERVICES, json!([[["service", "in", self.services]]])));
        }
        queries
    }
}

fn read<T: DeserializeOwned>(method: &str, answer: Value) -> Result<T, TrueNasError> {
    serde_json::from_value(answer).map_err(|error| TrueNasError::Unreadable {
        method: method.to_owned(),
        why: error.to_string(),
    })
}

/// Lists all pools.
///
/// # Errors
/// When TrueNAS refuses or does not answer.
pub async fn pools(client: &Client) -> Result<Vec<Pool>, TrueNasError> {
    read(POOLS, client.call(POOLS, &json!([]), ASK).await?)
}

/// Returns the release of TrueNAS that answers.
///
/// # Errors
/// When it refuses or does not answer.
pub async fn version(client: &Client) -> Result<String, TrueNasError> {
    let method = "system.info";
    let info = client.call(method, &json!([]), ASK).await?;
    let version = info["version"].as_str().map(str::to_owned);
    version.ok_or_else(|| TrueNasError::Unreadable {
        method: method.to_owned(),
        why: "it has no `version`".to_owned(),
    })
}

/// Returns the roles of the key's user, those that others include too; none where TrueNAS does not tell.
///
/// # Errors
/// When it refuses or does not answer.
pub async fn roles(client: &Client) -> Result<BTreeSet<String>, TrueNasError> {
    let me = client.call("auth.me", &json!([]), ASK).await?;
    let told = &me["privilege"]["roles"];
    // The middleware writes a set so.
    let told = told.get("$set").unwrap_or(told).as_array();
    let names = told.into_iter().flatten().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}
