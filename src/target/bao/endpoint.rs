//! Requests that `vaultrs` has none for: health whatever the state, raft, autopilot. Sends nothing itself.

use std::collections::BTreeMap;

use rustify_derive::Endpoint;
use serde::{Deserialize, Serialize};

/// Asks a node how it is; the answer has status 200 in every state.
#[derive(Debug, Endpoint)]
#[endpoint(path = "sys/health", response = "Health")]
pub struct ReadHealth {
    #[endpoint(query)]
    standbyok: bool,
    #[endpoint(query)]
    sealedcode: u16,
    #[endpoint(query)]
    uninitcode: u16,
}

impl Default for ReadHealth {
    fn default() -> Self {
        Self {
            standbyok: true,
            sealedcode: 200,
            uninitcode: 200,
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, Deserialize)]
pub struct Health {
    /// Whether it belongs to an initialised cluster.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether another node is the active one.
    pub standby: bool,
    /// Release.
    pub version: String,
    /// Known once it is unsealed.
    #[serde(default)]
    pub cluster_id: Option<String>,
}

/// Has a node join the cluster that another one leads.
#[derive(Debug, Endpoint, Serialize)]
#[endpoint(path = "sys/storage/raft/join", method = "POST", response = "Joined")]
pub struct JoinRaft {
    /// `https://address:8200` of the leader.
    pub leader_api_addr: String,
    /// Authority of the leader's certificate, in PEM.
    pub leader_ca_cert: String,
}

/// Answer to [`JoinRaft`].
#[derive(Debug, Deserialize)]
pub struct Joined {
    /// Whether it has.
    pub joined: bool,
}

/// Asks who belongs to the raft cluster.
#[derive(Debug, Endpoint)]
#[endpoint(
    path = "sys/storage/raft/configuration",
    response = "RaftConfiguration"
)]
pub struct ReadRaft {}

/// The raft cluster.
#[derive(Debug, Deserialize)]
pub struct RaftConfiguration {
    /// What of it is of use.
    pub config: RaftServers,
}

/// Its members.
#[derive(Debug, Deserialize)]
pub struct RaftServers {
    /// All of them.
    pub servers: Vec<RaftServer>,
}

/// A member.
#[derive(Debug, Deserialize)]
pub struct RaftServer {
    /// Name of the node.
    pub node_id: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether its vote counts.
    pub voter: bool,
}

/// Asks what autopilot thinks of the cluster.
#[derive(Debug, Endpoint)]
#[endpoint(path = "sys/storage/raft/autopilot/state", response = "Autopilot")]
pub struct ReadAutopilot {}

/// What autopilot thinks.
#[derive(Debug, Deserialize)]
pub struct Autopilot {
    /// Whether all is well.
    pub healthy: bool,
    /// How many voters may fail before the cluster stands still.
    pub failure_tolerance: u32,
    /// By node.
    #[serde(default)]
    pub servers: BTreeMap<String, AutopilotServer>,
}

/// One node as autopilot sees it.
#[derive(Debug, Deserialize)]
pub struct AutopilotServer {
    /// Whether it is well.
    pub healthy: bool,
}

/// Reads what a KV v2 engine keeps at a path.
#[derive(Debug, Endpoint)]
#[endpoint(path = "{self.mount}/data/{self.path}", response = "KvRead")]
pub struct ReadKv {
    /// Where the engine is mounted.
    #[endpoint(skip)]
    pub mount: String,
    /// Path within it.
    #[endpoint(skip)]
    pub path: String,
}

/// What was kept, and which version it is.
#[derive(Deserialize)]
pub struct KvRead {
    /// Values by key; none for a version that was deleted.
    pub data: Option<BTreeMap<String, serde_json::Value>>,
    /// About the version.
    pub metadata: KvMetadata,
}

/// About a version.
#[derive(Deserialize)]
pub struct KvMetadata {
    /// Its number.
    pub version: u64,
}

/// Writes values to a KV v2 engine, if the version there is still `cas`.
#[derive(Endpoint, Serialize)]
#[endpoint(path = "{self.mount}/data/{self.path}", method = "POST")]
pub struct WriteKv {
    /// Where the engine is mounted.
    #[endpoint(skip)]
    #[serde(skip)]
    pub mount: String,
    /// Path within it.
    #[endpoint(skip)]
    #[serde(skip)]
    pub path: String,
    /// Conditions.
    pub options: KvOptions,
    /// All values.
    pub data: BTreeMap<String, serde_json::Value>,
}

/// Conditions of a write.
#[derive(Serialize)]
pub struct KvOptions {
    /// Version that must be there; 0 for none.
    pub cas: u64,
}

/// Lists what a KV v2 engine keeps under a path.
#[derive(Debug, Endpoint)]
#[endpoint(
    path = "{self.mount}/metadata/{self.path}",
    method = "LIST",
    response = "KvList"
)]
pub struct ListKv {
    /// Where the engine is mounted.
    #[endpoint(skip)]
    pub mount: String,
    /// Path within it, empty for all of it.
    #[endpoint(skip)]
    pub path: String,
}

/// Names under a path; folders end in `/`.
#[derive(Deserialize)]
pub struct KvList {
    /// The names.
    pub keys: Vec<String>,
}

/// Changes a mount that is there.
#[derive(Debug, Endpoint, Serialize)]
#[endpoint(path = "sys/mounts/{self.path}/tune", method = "POST")]
pub struct TuneMount {
    /// Where it is mounted.
    #[endpoint(skip)]
    #[serde(skip)]
    pub path: String,
    /// For people.
    pub description: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Reads what is at any path.
#[derive(Debug, Endpoint)]
#[endpoint(path = "{self.path}", response = "BTreeMap<String, serde_json::Value>")]
pub struct ReadObject {
    /// Path of the API, without `/v1/`.
    #[endpoint(skip)]
    pub path: String,
}

/// Lists what is under any path.
#[derive(Debug, Endpoint)]
#[endpoint(
    path = "{self.path}",
    method = "LIST",
    response = "BTreeMap<String, serde_json::Value>"
)]
pub struct ListObject {
    /// Path of the API, without `/v1/`.
    #[endpoint(skip)]
    pub path: String,
}

/// Writes to any path.
#[derive(Endpoint, Serialize)]
#[endpoint(path = "{self.path}", method = "POST")]
pub struct WriteObject {
    /// Path of the API, without `/v1/`.
    #[endpoint(skip)]
    #[serde(skip)]
    pub path: String,
    /// All fields.
    #[serde(flatten)]
    pub data: BTreeMap<String, serde_json::Value>,
}
