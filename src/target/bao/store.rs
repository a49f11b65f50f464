//! Secrets of the stack in its own OpenBAO: the first word of a path is the KV v2 engine, one for each namespace. Does not
//! know who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use vaultrs::api::sys::requests::EnableEngineRequest;

use super::client::BaoError;
use super::kv;
use super::session::Sessions;
use crate::config::HostId;
use crate::secret::Secret;

/// Reads and writes secrets.
pub struct BaoStore {
    sessions: Arc<Sessions>,
    hosts: Vec<HostId>,
}

/// Splits `namespace/rest`.
fn split(path: &str) -> (&str, &str) {
    path.trim_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_matches('/'), ""))
}

impl BaoStore {
    /// Makes the store over the one connection; `hosts` are those that run OpenBAO.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, hosts: Vec<HostId>) -> Self {
        Self { sessions, hosts }
    }

    /// Returns all values at a path as text; `None` when nothing is there.
    ///
    /// # Errors
    /// When OpenBAO can't be asked.
    pub async fn read(
        &self,
        path: &str,
    ) -> Result<Option<BTreeMap<String, Secret<String>>>, BaoError> {
        let (mount, rest) = split(path);
        if rest.is_empty() {
            return Ok(None);
        }
        let client = self.sessions.active(&self.hosts).await?;
        let kept = kv::read(&client, mount, rest).await?;
        Ok(kept.map(|kept| {
            kept.values
                .into_iter()
                .map(|(key, value)| (key, Secret::new(text(value))))
                .collect()
        }))
    }

    /// Writes values at a path beside what else is there, and makes the namespace if there is none.
    ///
    /// # Errors
    /// When OpenBAO can't be told.
    pub async fn write(
        &self,
        path: &str,
        values: &BTreeMap<String, Secret<String>>,
    ) -> Result<(), BaoError> {
        let (mount, rest) = split(path);
        if rest.is_empty() {
            return Err(BaoError::Api {
                status: 400,
                message: format!("`{path}` names a namespace, not a secret in it: `{path}/name`"),
            });
        }
        let client = self.sessions.active(&self.hosts).await?;
        let mounts = vaultrs::sys::mount::list(client.api())
            .await
            .map_err(BaoError::from)?;
        if !mounts.contains_key(&format!("{mount}/")) {
            vaultrs::sys::mount::enable(
                client.api(),
                mount,
                "kv",
                Some(
                    EnableEngineRequest::builder()
                        .description("Secrets of a namespace, made by Foundry")
                        .options([("version".to_owned(), "2".to_owned())]),
                ),
            )
            .await
            .map_err(BaoError::from)?;
        }
        let values = values
            .iter()
            .map(|(key, value)| (key.clone(), value.expose().as_str().into()))
            .collect();
        kv::write(&client, mount, rest, &values).await
    }

    /// Returns the names under a path, folders ending in `/`; the namespaces for an empty path.
    ///
    /// # Errors
    /// When OpenBAO can't be asked.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, BaoError> {
        let (mount, rest) = split(path);
        let client = self.sessions.active(&self.hosts).await?;
        if mount.is_empty() {
            let mounts = vaultrs::sys::mount::list(client.api())
                .await
                .map_err(BaoError::from)?;
            let mut names: Vec<String> = mounts
                .into_iter()
                .filter(|(_, mount)| mount.mount_type == "kv")
                .map(|(path, _)| path)
                .collect();
            names.sort_unstable();
            return Ok(names);
        }
        kv::list(&client, mount, rest).await
    }
}

/// Returns text as it is, anything else as JSON.
fn text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_a_path_is_the_namespace() {
        assert_eq!(
            split("foundry/ssh-keys/bao-1"),
            ("foundry", "ssh-keys/bao-1")
        );
        assert_eq!(
            split("/myapp-stable/database/prod/"),
            ("myapp-stable", "database/prod")
        );
        assert_eq!(split("foundry"), ("foundry", ""));
        assert_eq!(split(""), ("", ""));
    }
}
