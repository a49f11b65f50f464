//! Storage classes, volumes and claims as the cluster's API tells of them: one list call for each. Judges nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;

/// Says which class volumes get that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// All that a cluster tells of storage.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Classes, by name.
    pub classes: Vec<Class>,
    /// Volumes, by name.
    pub volumes: Vec<Volume>,
    /// Claims that have no volume, by namespace and name.
    pub unbound: Vec<Claim>,
}

/// A storage class.
#[derive(Debug, Clone, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Whose driver makes its volumes.
    pub provisioner: String,
    /// Whether it is the one that volumes get that name none.
    pub default: bool,
    /// `Delete` or `Retain`: what becomes of a volume whose claim is gone.
    pub reclaim: String,
    /// `Immediate` or `WaitForFirstConsumer`.
    pub binding: String,
    /// Whether volumes can grow.
    pub expandable: bool,
}

/// A volume.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its class; empty for one made by hand.
    pub class: String,
    /// Its size, as Kubernetes writes it.
    pub size: String,
    /// `Bound`, `Available`, `Released`, `Failed`, `Pending`.
    pub phase: String,
    /// `namespace/name` of who has it, or had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
}

/// A claim.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Class that it asks for; empty: the default.
    pub class: String,
    /// `Pending` or `Lost`.
    pub phase: String,
}

/// Looks at a cluster's storage.
///
/// # Errors
/// When the API refuses.
pub async fn view(client: &Client) -> Result<View, kube::Error> {
    let all = ListParams::default();
    let classes = Api::<StorageClass>::all(client.clone());
    let volumes = Api::<PersistentVolume>::all(client.clone());
    let claims = Api::<PersistentVolumeClaim>::all(client.clone());
    let (classes, volumes, claims) =
        tokio::try_join!(classes.list(&all), volumes.list(&all), claims.list(&all))?;
    let mut view = View {
        classes: classes.items.iter().map(class).collect(),
        volumes: volumes.items.iter().map(volume).collect(),
        unbound: claims.items.iter().filter_map(unbound).collect(),
    };
    view.classes.sort_by(|a, b| a.name.cmp(&b.name));
    view.volumes.sort_by(|a, b| a.name.cmp(&b.name));
    view.unbound
        .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(view)
}

fn class(class: &StorageClass) -> Class {
    Class {
        name: class.name_any(),
        provisioner: class.provisioner.clone(),
        default: class
            .annotations()
            .get(DEFAULT)
            .is_some_and(|said| said == "true"),
        reclaim: class
            .reclaim_policy
            .clone()
            .unwrap_or_else(|| "Delete".to_owned()),
        binding: class
            .volume_binding_mode
            .clone()
            .unwrap_or_else(|| "Immediate".to_owned()),
        expandable: class.allow_volume_expansion.unwrap_or(false),
    }
}

fn volume(volume: &PersistentVolume) -> Volume {
    let spec = volume.spec.as_ref();
    let claim = spec.and_then(|spec| spec.claim_ref.as_ref()).map(|claim| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}", part(&claim.namespace), part(&claim.name))
    });
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.clone());
    Volume {
        name: volume.name_any(),
        class: spec
            .and_then(|spec| spec.storage_class_name.clone())
            .unwrap_or_default(),
        size: storage(spec.and_then(|spec| spec.capacity.as_ref())),
        phase: phase.unwrap_or_else(|| "Pending".to_owned()),
        claim,
    }
}

fn unbound(claim: &PersistentVolumeClaim) -> Option<Claim> {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.clone());
    let phase = phase.unwrap_or_else(|| "Pending".to_owned());
    (phase != "Bound").then(|| Claim {
        namespace: claim.namespace().unwrap_or_default(),
        name: claim.name_any(),
        class: claim
            .spec
            .as_ref()
            .and_then(|spec| spec.storage_class_name.clone())
            .unwrap_or_default(),
        phase,
    })
}

fn storage(of: Option<&BTreeMap<String, Quantity>>) -> String {
    of.and_then(|of| of.get("storage"))
        .map(|size| size.0.clone())
        .unwrap_or_default()
}
