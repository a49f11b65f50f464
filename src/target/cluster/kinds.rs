//! Which kinds the API serves, asked once for each group and version, and again when a kind is not among them: a definition
//! may have been installed since. Does not know what an object holds.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use kube::core::ApiResource;
use tokio::sync::Mutex;

use super::error::ClusterError;

/// A kind that the API serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// How it is addressed.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// How a kind is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KindName {
    /// As objects name theirs.
    Exact {
        /// `apps/v1`.
        api_version: String,
        /// `Deployment`.
        kind: String,
    },
    /// As people name it, in small letters: `deployment`, `certificate.cert-manager.io`.
    Short(String),
}

impl std::fmt::Display for KindName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact { api_version, kind } => write!(f, "{kind} of {api_version}"),
            Self::Short(name) => f.write_str(name),
        }
    }
}

/// Kinds of every cluster by the short names that people use.
const WELL_KNOWN: [(&[&str], &str, &str); 14] = [
    (&["deployment", "deploy"], "apps/v1", "Deployment"),
    (&["daemonset", "ds"], "apps/v1", "DaemonSet"),
    (&["statefulset", "sts"], "apps/v1", "StatefulSet"),
    (&["job"], "batch/v1", "Job"),
    (
        &["crd", "customresourcedefinition"],
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
    ),
    (&["apiservice"], "apiregistration.k8s.io/v1", "APIService"),
    (
        &["pvc", "persistentvolumeclaim"],
        "v1",
        "PersistentVolumeClaim",
    ),
    (&["pod"], "v1", "Pod"),
    (&["service", "svc"], "v1", "Service"),
    (&["namespace", "ns"], "v1", "Namespace"),
    (&["node"], "v1", "Node"),
    (&["secret"], "v1", "Secret"),
    (&["configmap", "cm"], "v1", "ConfigMap"),
    (&["ingress"], "networking.k8s.io/v1", "Ingress"),
];

/// Returns the kind that a short name stands for in every cluster.
fn well_known(name: &str) -> Option<(&'static str, &'static str)> {
    WELL_KNOWN
        .iter()
        .find(|(names, ..)| names.contains(&name))
        .map(|(_, api_version, kind)| (*api_version, *kind))
}

/// What one group and version serves.
#[derive(Debug, Clone)]
struct Served {
    kind: Kind,
    /// Other names, in small letters: singular, plural, short ones.
    names: Vec<String>,
}

/// What is known of the API.
pub struct Kinds {
    client: Client,
    versions: Mutex<HashMap<String, Arc<Vec<Served>>>>,
}

impl Kinds {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            versions: Mutex::default(),
        }
    }

    /// Returns the kinds of these names; one that the API does not serve is left out.
    ///
    /// # Errors
    /// When the API can't tell.
    pub async fn find(
        &self,
        names: impl IntoIterator<Item = &KindName>,
    ) -> Result<HashMap<KindName, Kind>, ClusterError> {
        let mut found = HashMap::new();
        // A version that was asked for in this round is not asked for again, however many of its kinds are missing.
        let mut fresh: HashMap<String, Arc<Vec<Served>>> = HashMap::new();
        for name in names {
            if found.contains_key(name) {
                continue;
            }
            for api_version in self.versions_of(name).await? {
                if let Some(kind) = self.look(&api_version, name, &mut fresh).await? {
                    found.insert(name.clone(), kind);
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn look(
        &self,
        api_version: &str,
        name: &KindName,
        fresh: &mut HashMap<String, Arc<Vec<Served>>>,
    ) -> Result<Option<Kind>, ClusterError> {
        if let Some(served) = fresh.get(api_version) {
            return Ok(pick(served, name));
        }
        let known = self.versions.lock().await.get(api_version).cloned();
        if let Some(kind) = known.and_then(|served| pick(&served, name)) {
            return Ok(Some(kind));
        }
        let served = Arc::new(self.ask(api_version).await?);
        let kind = pick(&served, name);
        fresh.insert(api_version.to_owned(), Arc::clone(&served));
        self.versions
            .lock()
            .await
            .insert(api_version.to_owned(), served);
        Ok(kind)
    }

    /// Returns the versions in which a kind may be served.
    async fn versions_of(&self, name: &KindName) -> Result<Vec<String>, ClusterError> {
        let short = match name {
            KindName::Exact { api_version, .. } => return Ok(vec![api_version.clone()]),
            KindName::Short(short) => short,
        };
        if let Some((api_version, _)) = well_known(short) {
            return Ok(vec![api_version.to_owned()]);
        }
        let Some((_, group)) = short.split_once('.') else {
            return Ok(vec!["v1".to_owned()]);
        };
        let groups = self.client.list_api_groups().await?;
        let Some(group) = groups.groups.into_iter().find(|one| one.name == group) else {
            return Ok(Vec::new());
        };
        let preferred = group.preferred_version.map(|version| version.group_version);
        let others = group.versions.into_iter().map(|one| one.group_version);
        let mut versions: Vec<String> = preferred.into_iter().chain(others).collect();
        versions.dedup();
        Ok(versions)
    }

    async fn ask(&self, api_version: &str) -> Result<Vec<Served>, ClusterError> {
        let list = match api_version.split_once('/') {
            Some(_) => self.client.list_api_group_resources(api_version).await,
            None => self.client.list_core_api_resources(api_version).await,
        };
        let list = match list.map_err(ClusterError::from) {
            Ok(list) => list,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            // An aggregated API whose server is not up: the kind is not served now.
            Err(ClusterError::Api { status: 503, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (group, version) = api_version
            .split_once('/')
            .map_or(("", api_version), |(group, version)| (group, version));
        Ok(list
            .resources
            .into_iter()
            // Subresources are not kinds of their own.
            .filter(|one| !one.name.contains('/'))
            .map(|one| {
                let mut names: Vec<String> = one.short_names.unwrap_or_default();
                names.extend([
                    one.name.clone(),
                    one.singular_name.to_lowercase(),
                    one.kind.to_lowercase(),
                ]);
                Served {
                    names,
                    kind: Kind {
                        resource: ApiResource {
                            group: group.to_owned(),
                            version: version.to_owned(),
                            api_version: api_version.to_owned(),
                            kind: one.kind,
                            plural: one.name,
                        },
                        namespaced: one.namespaced,
                    },
                }
            })
            .collect())
    }
}

fn pick(served: &[Served], name: &KindName) -> Option<Kind> {
    let fits = |one: &&Served| match name {
        KindName::Exact { kind, .. } => one.kind.resource.kind == *kind,
        KindName::Short(short) => match well_known(short) {
            Some((_, kind)) => one.kind.resource.kind == kind,
            None => {
                let bare = short
                    .split_once('.')
                    .map_or(short.as_str(), |(kind, _)| kind);
                one.names.iter().any(|name| name == bare)
            }
        },
    };
    served.iter().find(fits).map(|one| one.kind.clone())
}
