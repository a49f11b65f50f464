//! Somebody else at work on the same cluster: kube's own client, with another field manager.

use std::path::Path;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::support::kubernetes::Kubernetes;

/// A user of the cluster.
#[derive(Clone)]
pub struct User {
    pub client: kube::Client,
}

impl User {
    pub async fn of(kubernetes: &Kubernetes) -> Self {
        Self::by(&kubernetes.kubeconfig()).await
    }

    pub async fn by(kubeconfig: &Path) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Self {
            client: kube::Client::try_from(config).unwrap(),
        }
    }

    pub fn api(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    pub async fn create(&self, namespace: Option<&str>, object: Value) -> DynamicObject {
        let text = |name: &str| object[name].as_str().unwrap().to_owned();
        let api = self.api(&text("apiVersion"), &text("kind"), namespace);
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let found = self.api(api_version, kind, namespace).get_opt(name).await;
        found
            .unwrap()
            .map_or(Value::Null, |found| serde_json::to_value(found).unwrap())
    }

    /// Changes fields as `kubectl edit` does.
    pub async fn edit(&self, api_version: &str, kind: &str, at: (&str, &str), change: Value) {
        let params = PatchParams {
            field_manager: Some("kubectl-edit".to_owned()),
            ..PatchParams::default()
        };
        self.api(api_version, kind, Some(at.0))
            .patch(at.1, &params, &Patch::Merge(change))
            .await
            .unwrap();
    }

    pub async fn namespace(&self, name: &str) {
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.create(None, object).await;
    }
}
