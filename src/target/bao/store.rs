//! Secrets of the stack in its own OpenBAO: the first word of a path is the KV v2 engine, one for each namespace. Does not
//! know who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use vaultrs::api::sys::requests::EnableEngineRequest;

use super::client::BaoError;
use super::kv;
use super::session::Sessions;
use crate::config::HostId;
use crate::secret::{Secret, SecretFields, SecretStore, StoreError};

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

    /// Returns the policies of a token, which OpenBAO must know.
    ///
    /// # Errors
    /// When OpenBAO can't be asked, or does not know the token.
    pub async fn policies(&self, token: &Secret<String>) -> Result<Vec<String>, StoreError> {
        let mut client = self.sessions.connect(&self.hosts).await?;
        client.set_token(token);
        let found = vaultrs::token::lookup_self(client.api())
            .await
            .map_err(BaoError::from)?;
        Ok(found.policies)
    }

    async fn fields(&self, path: &str) -> Result<Option<SecretFields>, BaoError> {
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

    /// Writes one value beside what else is there, and makes the namespace if there is none.
    async fn set(&self, path: &str, key: &str, value: &Secret<String>) -> Result<(), BaoError> {
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
        let values = BTreeMap::from([(key.to_owned(), value.expose().as_str().into())]);
        kv::write(&client, mount, rest, &values).await
    }

    /// Returns the names under a path, the namespaces for an empty one.
    async fn names(&self, path: &str) -> Result<Vec<String>, BaoError> {
        let (mount, rest) = split(path);
        let client = self.sessions.active(&self.hosts).await?;
        let mut names = if mount.is_empty() {
            vaultrs::sys::mount::list(client.api())
                .await
                .map_err(BaoError::from)?
                .into_iter()
                .filter(|(_, mount)| mount.mount_type == "kv")
                .map(|(path, _)| path)
                .collect()
        } else {
            kv::list(&client, mount, rest).await?
        };
        names.sort_unstable();
        Ok(names)
    }
}

impl From<BaoError> for StoreError {
    fn from(error: BaoError) -> Self {
        let words = error.to_string();
        match error {
            BaoError::NoToken => Self::Denied(words),
            BaoError::Denied(why) => Self::Denied(format!(
                "{why} (if Foundry's token has ended, store another with `foundry secret login`)"
            )),
            BaoError::Api { .. } => Self::Failed(words),
            _ => Self::NotUp(words),
        }
    }
}

impl SecretStore for BaoStore {
    fn read<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretFields>, StoreError>> {
        Box::pin(async move { Ok(self.fields(path).await?) })
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        key: &'a str,
        value: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.set(path, key, value).await?) })
    }

    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move { Ok(self.names(path).await?) })
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
