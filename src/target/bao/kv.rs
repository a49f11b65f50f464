//! Reading and writing of a KV v2 engine: absent is not an error, and nobody's write is lost. Knows no namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use vaultrs::api;

use super::client::{BaoError, Client};
use super::endpoint::{KvOptions, ListKv, ReadKv, WriteKv};

/// What is kept at a path.
pub struct Kept {
    /// Values by key.
    pub values: BTreeMap<String, serde_json::Value>,
    version: u64,
}

/// Returns what is kept at a path; `None` when nothing is.
///
/// # Errors
/// When OpenBAO doesn't answer or refuses.
pub async fn read(client: &Client, mount: &str, path: &str) -> Result<Option<Kept>, BaoError> {
    let request = || async {
        api::exec_with_result(
            client.api(),
            ReadKv {
                mount: mount.to_owned(),
                path: path.to_owned(),
            },
        )
        .await
        .map_err(BaoError::from)
    };
    match patiently(request).await {
        Ok(found) => Ok(found.data.map(|values| Kept {
            values,
            version: found.metadata.version,
        })),
        Err(BaoError::Api { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes values beside what else is kept at a path. If somebody else writes meanwhile, it looks and writes again.
///
/// # Errors
/// When OpenBAO doesn't answer or refuses.
pub async fn write(
    client: &Client,
    mount: &str,
    path: &str,
    values: &BTreeMap<String, serde_json::Value>,
) -> Result<(), BaoError> {
    let once = || async {
        let (mut all, cas) = match read(client, mount, path).await? {
            Some(kept) => (kept.values, kept.version),
            None => (BTreeMap::new(), version(client, mount, path).await?),
        };
        all.extend(values.clone());
        api::exec_with_empty(
            client.api(),
            WriteKv {
                mount: mount.to_owned(),
                path: path.to_owned(),
                options: KvOptions { cas },
                data: all,
            },
        )
        .await
        .map_err(BaoError::from)
    };
    patiently(once).await
}

/// Returns the number of the latest version, which may be a deleted one; 0 when there never was any.
async fn version(client: &Client, mount: &str, path: &str) -> Result<u64, BaoError> {
    match vaultrs::kv2::read_metadata(client.api(), mount, path)
        .await
        .map_err(BaoError::from)
    {
        Ok(metadata) => Ok(metadata.current_version),
        Err(BaoError::Api { status: 404, .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Returns the names under a path, folders ending in `/`; empty when there are none.
///
/// # Errors
/// When OpenBAO doesn't answer or refuses.
pub async fn list(client: &Client, mount: &str, path: &str) -> Result<Vec<String>, BaoError> {
    let request = ListKv {
        mount: mount.to_owned(),
        path: path.to_owned(),
    };
    match api::exec_with_result(client.api(), request)
        .await
        .map_err(BaoError::from)
    {
        Ok(list) => Ok(list.keys),
        Err(BaoError::Api { status: 404, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Tries again while a fresh engine gets ready, and when somebody else wrote in between.
async fn patiently<T, F, W>(request: F) -> Result<T, BaoError>
where
    F: FnMut() -> W,
    W: Future<Output = Result<T, BaoError>>,
{
    request
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(50))
                .with_max_times(8),
        )
        .when(|error| {
            matches!(error, BaoError::Api { status: 400, message }
                if message.contains("Upgrading") || message.contains("check-and-set"))
        })
        .await
}
