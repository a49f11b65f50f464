//! The namespace in which volumes are tried: one trial at a time in a cluster, held by whoever made it, and taken away with all
//! that is in it, also when who made it was killed. Does not know what is tried.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use crate::run::lock::{Controller, Holder};

/// Its name.
const NAME: &str = "foundry-storage-test";

/// Annotation: who holds it.
const HELD: &str = "foundry.dev/held-by";

/// Annotation: until when at most, RFC 3339.
const UNTIL: &str = "foundry.dev/held-until";

/// Pause between looks.
const POLL: Duration = Duration::from_millis(500);

/// Longest that a namespace on its way out is waited for.
const GOING: Duration = Duration::from_secs(120);

/// Why there can be no trial, or what is left of one.
#[derive(Debug, thiserror::Error)]
pub enum YardError {
    /// Somebody else is at it.
    #[error("another test is under way: {0}")]
    Held(String),
    /// What was made is still there.
    #[error("{left} still there after {} seconds", .after.as_secs())]
    Left {
        /// What, in words.
        left: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The API refuses.
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
}

/// The namespace, held.
pub struct Yard {
    client: Client,
}

impl Yard {
    /// Makes and holds it for at most `hold`. One that was left behind is taken away first: its holder is known to be gone, or
    /// its time is up. `take_over` takes any.
    ///
    /// # Errors
    /// When somebody else holds it, or the API refuses.
    pub async fn take(
        client: &Client,
        holder: &Holder,
        here: &Controller,
        hold: Duration,
        take_over: bool,
    ) -> Result<Self, YardError> {
        let yard = Self {
            client: client.clone(),
        };
        let namespaces = Api::<Namespace>::all(client.clone());
        let until = Timestamp::now()
            + SignedDuration::try_from(hold).unwrap_or(SignedDuration::from_hours(1));
        let wanted: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": NAME,
                "labels": {
                    "app.kubernetes.io/managed-by": "foundry",
                    // Drivers mount; what writes here needs no more than any program does.
                    "pod-security.kubernetes.io/enforce": "baseline",
                },
                "annotations": { HELD: holder.encode(), UNTIL: until.to_string() },
            },
        }))
        .map_err(kube::Error::SerdeError)?;
        let mut cleaned = false;
        loop {
            match namespaces.create(&PostParams::default(), &wanted).await {
                Ok(_) => return Ok(yard),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.into()),
            }
            let Some(found) = namespaces.get_opt(NAME).await? else {
                continue;
            };
            if !cleaned
                && !take_over
                && found.metadata.deletion_timestamp.is_none()
                && let Some(words) = held(&found, here)
            {
                return Err(YardError::Held(words));
            }
            yard.clear(GOING).await?;
            cleaned = true;
        }
    }

    /// Returns the namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &'static str {
        NAME
    }

    /// Takes everything away: pods, claims, their volumes whatever their class says, the namespace.
    ///
    /// # Errors
    /// When something is still there after `limit`, or the API refuses.
    pub async fn clear(&self, limit: Duration) -> Result<(), YardError> {
        let end = Instant::now() + limit;
        let all = ListParams::default();
        let client = || self.client.clone();
        let pods = Api::<Pod>::namespaced(client(), NAME);
        let claims = Api::<PersistentVolumeClaim>::namespaced(client(), NAME);
        for volume in self.volumes().await? {
            let keeps = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
            if keeps == Some("Retain") {
                let change = json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } });
                let volumes = Api::<PersistentVolume>::all(client());
                let patched = volumes
                    .patch(
                        &volume.name_any(),
                        &PatchParams::default(),
                        &Patch::Merge(change),
                    )
                    .await;
                gone(patched)?;
            }
        }
        pods.delete_collection(&DeleteParams::default().grace_period(0), &all)
            .await?;
        claims
            .delete_collection(&DeleteParams::default(), &all)
            .await?;
        loop {
            let (pods, claims) = (pods.list(&all).await?.items, claims.list(&all).await?.items);
            let volumes = self.volumes().await?;
            let left: Vec<String> = pods
                .iter()
                .map(|pod| format!("Pod/{}", pod.name_any()))
                .chain(
                    claims
                        .iter()
                        .map(|claim| format!("PersistentVolumeClaim/{}", claim.name_any())),
                )
                .chain(volumes.iter().map(told))
                .collect();
            if left.is_empty() {
                break;
            }
            self.wait(end, limit, || left.join(", ")).await?;
        }
        let namespaces = Api::<Namespace>::all(client());
        gone(namespaces.delete(NAME, &DeleteParams::default()).await)?;
        while namespaces.get_opt(NAME).await?.is_some() {
            self.wait(end, limit, || format!("namespace {NAME} is"))
                .await?;
        }
        Ok(())
    }

    async fn wait(
        &self,
        end: Instant,
        limit: Duration,
        left: impl Fn() -> String,
    ) -> Result<(), YardError> {
        if Instant::now() >= end {
            return Err(YardError::Left {
                left: left(),
                after: limit,
            });
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// Lists the volumes of its claims.
    async fn volumes(&self) -> Result<Vec<PersistentVolume>, kube::Error> {
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let mut all = volumes.list(&ListParams::default()).await?.items;
        all.retain(|volume| {
            let claim = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.claim_ref.as_ref());
            claim.is_some_and(|claim| claim.namespace.as_deref() == Some(NAME))
        });
        Ok(all)
    }
}

/// Says who holds it, unless nobody does any more.
fn held(found: &Namespace, here: &Controller) -> Option<String> {
    let said = |name: &str| found.annotations().get(name).map(String::as_str);
    let until = said(UNTIL).and_then(|until| until.parse::<Timestamp>().ok())?;
    if until < Timestamp::now() {
        return None;
    }
    let holder = said(HELD).and_then(Holder::decode)?;
    (!here.knows_gone(&holder))
        .then(|| format!("{}; it ends by {until} at the latest", holder.words()))
}

/// Takes what is not there for deleted.
fn gone<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

fn told(volume: &PersistentVolume) -> String {
    let status = volume.status.clone().unwrap_or_default();
    let words = [status.phase, status.message]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    format!(
        "PersistentVolume/{} ({})",
        volume.name_any(),
        words.join(": ")
    )
}
