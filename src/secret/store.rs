//! The port to what holds secrets (OpenBAO). Does not know how it is reached.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use thiserror::Error;

use super::value::Secret;

/// Fields of one secret by key.
pub type SecretFields = BTreeMap<String, Secret<String>>;

/// Holds secrets at paths such as `foundry/grafana`.
pub trait SecretStore: Send + Sync {
    /// Returns the fields at `path`, or `None` if there is no such secret.
    fn read<'a>(&'a self, path: &'a str)
    -> BoxFuture<'a, Result<Option<SecretFields>, StoreError>>;

    /// Sets one field at `path` and keeps the others.
    fn write<'a>(
        &'a self,
        path: &'a str,
        key: &'a str,
        value: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns what is below `path`, sorted; what has something below itself ends with `/`.
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
}

/// Why a store gave no answer. Each holds the server's or the connection's own words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It is unreachable, sealed or not initialised. It may be up later in the same run.
    #[error("OpenBAO is not up: {0}")]
    NotUp(String),
    /// It knows who asks and refuses.
    #[error("OpenBAO denies it: {0}")]
    Denied(String),
    /// Anything else.
    #[error("OpenBAO failed: {0}")]
    Failed(String),
}
