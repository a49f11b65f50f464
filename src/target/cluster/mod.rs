//! The cluster: its Kubernetes API through a tunnel or as a kubeconfig says, server-side apply under Foundry's name, drift by
//! field, conditions, charts by K3s' HelmChart. Knows no recipe, and does not make the cluster.

mod api;
mod bundle;
pub mod chart;
mod compare;
mod error;
mod kinds;
mod look;
mod object;
mod quantity;
mod ready;
mod service;
mod session;
mod steps;
mod trouble;
mod veil;
mod wait;

pub use error::{ClusterError, Conflict};
pub use object::KEY;
pub use service::{ClusterService, SERVICE_ACTIONS};
pub use session::{Access, Cluster, KUBECONFIG, PORT, Sessions};
pub use steps::{CHART, MANIFEST};
pub use trouble::quote;
