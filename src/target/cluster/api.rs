//! Requests that change objects: server-side apply under Foundry's name, deletion of what is ours. Patient with servers that
//! restart. Does not know which objects a step is about.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{Request, Resource as _};
use serde_json::Value;

use super::error::{ClusterError, Conflict};
use super::kinds::Kind;
use super::look::namespace_in;
use super::object::{MANAGER, Object, Ref};
use super::session::{Cluster, Sessions};
use crate::config::HostId;

/// First pause before a request is tried again.
const FIRST: Duration = Duration::from_millis(500);

/// Longest such pause.
const LONGEST: Duration = Duration::from_secs(8);

/// How often it is tried again: for somewhat more than a minute and a half, in which a server restarts or another takes over.
const TRIES: usize = 16;

/// The API as one step uses it.
#[derive(Clone, Copy)]
pub struct Api<'a> {
    /// The connection of the run.
    pub sessions: &'a Sessions,
    /// Hosts that provide the cluster.
    pub hosts: &'a [HostId],
}

/// How an apply is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Fields of other managers stay theirs.
    Polite,
    /// Fields of other managers are taken over.
    Force,
    /// Nothing is stored: the server only says what would come of it.
    DryRun,
}

impl Api<'_> {
    /// Returns the connection.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn open(&self) -> Result<Arc<Cluster>, ClusterError> {
        self.sessions.open(self.hosts).await
    }

    /// Makes a request, again if what is in its way may pass.
    ///
    /// # Errors
    /// The last one's.
    pub async fn patiently<T, F, W>(&self, request: F) -> Result<T, ClusterError>
    where
        F: Fn(Arc<Cluster>) -> W,
        W: Future<Output = Result<T, ClusterError>>,
    {
        (|| async { request(self.open().await?).await })
            .retry(
                ExponentialBuilder::default()
                    .with_min_delay(FIRST)
                    .with_max_delay(LONGEST)
                    .with_max_times(TRIES)
                    .with_jitter(),
            )
            .when(ClusterError::is_transient)
            .await
    }
}

/// Applies an object and returns what came of it.
///
/// # Errors
/// When the server refuses; fields of other managers are named.
pub async fn apply(
    cluster: &Cluster,
    kind: &Kind,
    object: &Object,
    mode: Mode,
) -> Result<Value, ClusterError> {
    let mut params = PatchParams::apply(MANAGER);
    match mode {
        Mode::Polite => {}
        Mode::Force => params = params.force(),
        Mode::DryRun => params = params.dry_run(),
    }
    let namespace = namespace_in(kind, &object.at);
    let path = DynamicObject::url_path(&kind.resource, namespace.as_deref());
    let request = Request::new(path)
        .patch(&object.at.name, &params, &Patch::Apply(&object.body))
        .map_err(|error| ClusterError::from(kube::Error::BuildRequest(error)))?;
    match cluster.client.request(request).await {
        Ok(applied) => Ok(applied),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let causes = status.details.as_ref().map(|details| &details.causes);
            let conflicts: Vec<Conflict> = causes
                .into_iter()
                .flatten()
                .filter(|cause| cause.reason == "FieldManagerConflict")
                .map(|cause| Conflict {
                    object: object.full_title(),
                    manager: cause
                        .message
                        .strip_prefix("conflict with ")
                        .unwrap_or(&cause.message)
                        .to_owned(),
                    field: cause.field.clone(),
                })
                .collect();
            if conflicts.is_empty() {
                return Err(kube::Error::Api(status).into());
            }
            Err(ClusterError::Conflicts(conflicts))
        }
        Err(error) => Err(named(error.into(), &object.full_title())),
    }
}

/// Puts the object's name before what the server says of it.
fn named(error: ClusterError, object: &str) -> ClusterError {
    match error {
        ClusterError::Api { status, message } => ClusterError::Api {
            status,
            message: format!("{object}: {message}"),
        },
        ClusterError::Forbidden(message) => ClusterError::Forbidden(format!("{object}: {message}")),
        other => other,
    }
}

/// Deletes an object, what it owns in the background; one that is not there is deleted already.
///
/// # Errors
/// When the server refuses.
pub async fn delete(cluster: &Cluster, kind: &Kind, at: &Ref) -> Result<(), ClusterError> {
    let path = DynamicObject::url_path(&kind.resource, namespace_in(kind, at).as_deref());
    let request = Request::new(path)
        .delete(&at.name, &DeleteParams::background())
        .map_err(|error| ClusterError::from(kube::Error::BuildRequest(error)))?;
    match cluster.client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(error) => match ClusterError::from(error) {
            error if error.is_not_found() => Ok(()),
            error => Err(error),
        },
    }
}
