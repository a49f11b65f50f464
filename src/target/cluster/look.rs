//! What is live of many objects at once: one list call for each kind and namespace, however many steps ask. Does not know
//! what is wanted of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt as _};
use kube::api::{DynamicObject, ListParams};
use kube::core::{Request, Resource as _};
use serde_json::Value;

use super::error::ClusterError;
use super::kinds::{Kind, KindName};
use super::object::Ref;
use super::session::Cluster;

/// Lists under way at once.
const AT_ONCE: usize = 8;

/// Objects of one answer; the rest is asked for with what it says of where to go on.
const PAGE: u32 = 500;

/// From so many namespaces on, one list over all of them is cheaper.
const MANY_NAMESPACES: usize = 4;

/// The namespace of those that name none.
const DEFAULT: &str = "default";

/// What was found of an object.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// The API does not serve its kind.
    UnknownKind,
    /// It is not there.
    Absent,
    /// It is, as it is.
    There(&'a Value),
}

type Listed = BTreeMap<(String, String), Value>;

/// What was seen.
pub struct Look {
    kinds: HashMap<KindName, Kind>,
    lists: HashMap<Kind, Result<Listed, ClusterError>>,
    requests: usize,
}

/// One list call.
struct Call {
    kind: Kind,
    /// None for all.
    namespace: Option<String>,
    /// Set if this one object is all that is wanted of it.
    only: Option<String>,
}

impl Look {
    /// Looks at objects.
    ///
    /// # Errors
    /// When the API can't tell which kinds it serves. That a list is refused is told for the objects it is about.
    pub async fn at(cluster: &Cluster, wanted: &[Ref]) -> Result<Self, ClusterError> {
        let names: BTreeSet<&KindName> = wanted.iter().map(|at| &at.kind).collect();
        let kinds = cluster.kinds.find(names).await?;
        let calls = calls(wanted, &kinds);
        let requests = calls.len();
        let answers: Vec<(Kind, Result<Listed, ClusterError>)> = stream::iter(calls)
            .map(|call| async move {
                let listed = list(cluster, &call).await;
                (call.kind, listed)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut lists: HashMap<Kind, Result<Listed, ClusterError>> = HashMap::new();
        for (kind, listed) in answers {
            match (
                lists.entry(kind).or_insert_with(|| Ok(Listed::new())),
                listed,
            ) {
                (Ok(all), Ok(more)) => all.extend(more),
                (kept @ Ok(_), Err(error)) => *kept = Err(error),
                (Err(_), _) => {}
            }
        }
        Ok(Self {
            kinds,
            lists,
            requests,
        })
    }

    /// Returns how many list calls it took, further pages aside.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Returns the kind of that name, if the API serves it.
    #[must_use]
    pub fn kind(&self, name: &KindName) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// Returns what was found at a place that was looked at.
    ///
    /// # Errors
    /// When the API would not tell.
    pub fn find(&self, at: &Ref) -> Result<Found<'_>, ClusterError> {
        let Some(kind) = self.kinds.get(&at.kind) else {
            return Ok(Found::UnknownKind);
        };
        let listed = match self.lists.get(kind) {
            Some(Ok(listed)) => listed,
            Some(Err(error)) => return Err(error.clone()),
            None => return Ok(Found::Absent),
        };
        let key = (namespace_in(kind, at).unwrap_or_default(), at.name.clone());
        Ok(listed.get(&key).map_or(Found::Absent, Found::There))
    }
}

/// Returns the namespace in which an object of that kind is.
#[must_use]
pub fn namespace_in(kind: &Kind, at: &Ref) -> Option<String> {
    kind.namespaced
        .then(|| at.namespace.clone().unwrap_or_else(|| DEFAULT.to_owned()))
}

/// Names of objects by namespace.
type Names<'a> = BTreeMap<Option<String>, BTreeSet<&'a str>>;

fn calls(wanted: &[Ref], kinds: &HashMap<KindName, Kind>) -> Vec<Call> {
    // By kind and namespace: the names in it.
    let mut places: BTreeMap<(String, String), (Kind, Names<'_>)> = BTreeMap::new();
    for at in wanted {
        let Some(kind) = kinds.get(&at.kind) else {
            continue;
        };
        let resource = &kind.resource;
        places
            .entry((resource.api_version.clone(), resource.plural.clone()))
            .or_insert_with(|| (kind.clone(), Names::new()))
            .1
            .entry(namespace_in(kind, at))
            .or_default()
            .insert(&at.name);
    }
    let mut calls = Vec::new();
    for (kind, namespaces) in places.into_values() {
        if namespaces.len() >= MANY_NAMESPACES {
            calls.push(Call {
                kind,
                namespace: None,
                only: None,
            });
            continue;
        }
        for (namespace, names) in namespaces {
            let only = match names.iter().next() {
                Some(name) if names.len() == 1 => Some((*name).to_owned()),
                _ => None,
            };
            calls.push(Call {
                kind: kind.clone(),
                namespace,
                only,
            });
        }
    }
    calls
}

async fn list(cluster: &Cluster, call: &Call) -> Result<Listed, ClusterError> {
    let mut params = ListParams::default().limit(PAGE);
    if let Some(name) = &call.only {
        params = params.fields(&format!("metadata.name={name}"));
    }
    let items = items(cluster, &call.kind, call.namespace.as_deref(), params).await?;
    Ok(items
        .into_iter()
        .filter_map(|item| {
            let text = |name: &str| Some(item["metadata"].get(name)?.as_str()?.to_owned());
            let key = (text("namespace").unwrap_or_default(), text("name")?);
            Some((key, item))
        })
        .collect())
}

/// Returns all objects of a kind that `params` select, in a namespace or all.
///
/// # Errors
/// When the API would not tell.
pub async fn items(
    cluster: &Cluster,
    kind: &Kind,
    namespace: Option<&str>,
    mut params: ListParams,
) -> Result<Vec<Value>, ClusterError> {
    let path = DynamicObject::url_path(&kind.resource, namespace);
    let mut all = Vec::new();
    loop {
        let request = Request::new(path.as_str())
            .list(&params)
            .map_err(|error| ClusterError::from(kube::Error::BuildRequest(error)))?;
        let mut answer: Value = match cluster.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => match ClusterError::from(error) {
                // The kind went away since it was found.
                error if error.is_not_found() => return Ok(all),
                error => return Err(error),
            },
        };
        if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
            all.extend(items);
        }
        match answer["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => params = params.continue_token(token),
            _ => return Ok(all),
        }
    }
}

/// The kinds that are needed to say more about a failure, found once.
pub async fn known_kind(
    cluster: &Cluster,
    api_version: &str,
    kind: &str,
) -> Result<Kind, ClusterError> {
    let name = KindName::Exact {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    cluster
        .kinds
        .find([&name])
        .await?
        .remove(&name)
        .ok_or_else(|| ClusterError::Api {
            status: 404,
            message: format!("it serves no {kind} of {api_version}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ApiResource;

    fn kind(plural: &str, namespaced: bool) -> Kind {
        Kind {
            resource: ApiResource {
                group: String::new(),
                version: "v1".to_owned(),
                api_version: "v1".to_owned(),
                kind: plural.to_owned(),
                plural: plural.to_owned(),
            },
            namespaced,
        }
    }

    #[test]
    fn there_is_one_list_for_each_kind_and_namespace() {
        let at = |kind: &str, namespace: &str, name: &str| {
            Ref::new(
                "v1",
                kind,
                (!namespace.is_empty()).then_some(namespace),
                name,
            )
        };
        let mut wanted = vec![
            at("maps", "a", "one"),
            at("maps", "a", "two"),
            at("maps", "b", "one"),
            at("nodes", "a", "n1"),
            at("gone", "a", "x"),
        ];
        let many = ["a", "b", "c", "d"];
        wanted.extend(many.map(|namespace| at("pods", namespace, "p")));
        let kinds = [("maps", true), ("nodes", false), ("pods", true)]
            .into_iter()
            .map(|(name, namespaced)| (at(name, "", "").kind, kind(name, namespaced)))
            .collect();
        let told: Vec<String> = calls(&wanted, &kinds)
            .iter()
            .map(|call| {
                format!(
                    "{} {} {}",
                    call.kind.resource.plural,
                    call.namespace.as_deref().unwrap_or("*"),
                    call.only.as_deref().unwrap_or("*")
                )
            })
            .collect();
        assert_eq!(told, ["maps a *", "maps b one", "nodes * n1", "pods * *"]);
    }
}
