//! TrueNAS: its JSON-RPC API over a WebSocket that is always encrypted, what there is told by one query for each kind, and
//! datasets, shares, portals and services made as steps want them. Knows no recipe, and deletes no data unless it is named.

mod address;
mod client;
mod error;
mod facts;
mod job;
mod look;
mod rpc;
mod service;
mod session;
mod steps;
mod trust;

pub use address::Address;
pub use client::Client;
pub use error::TrueNasError;
pub use look::{Pool, pools, roles, version};
pub use service::{SERVICE_ACTIONS, TrueNasService};
pub use session::{Connection, Sessions};
pub use steps::roles_for;
pub use trust::{Trust, offered};
