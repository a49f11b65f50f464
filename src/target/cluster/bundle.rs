//! Objects and conditions that one step is about: how they differ from the live ones, how they are applied, how they are
//! removed. Does not know where they were written.

use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::api::{self, Api, Mode};
use super::chart::SETTLED;
use super::compare::{Difference, changes, differences, finer};
use super::error::{ClusterError, Conflict};
use super::look::{Found, Look};
use super::object::{COMPONENT, KEY, Object, Owner, Ref, STACK, STEP, owner_of, text_at};
use super::ready::Wait;
use super::session::Cluster;
use super::veil::Veil;
use super::wait::{self, standings};
use crate::probe::{Differences, Fact, Facts, Fault, Place};
use crate::run::StepError;

/// Requests of one step under way at once.
const AT_ONCE: usize = 8;

/// How long a kind may take to be served after its definition was.
const SERVED: Duration = Duration::from_secs(15);

/// How long a definition may take to be established.
const ESTABLISHED: Duration = Duration::from_secs(60);

/// How long objects may take to go once they are deleted.
const GONE: Duration = Duration::from_secs(300);

/// What one step is about.
#[derive(Clone)]
pub struct Bundle {
    /// Objects it makes.
    pub objects: Vec<Object>,
    /// Conditions it waits for.
    pub waits: Vec<Wait>,
    /// How long it waits for them.
    pub timeout: Duration,
}

/// How a step applies.
pub struct Applying<'a> {
    /// The API.
    pub api: Api<'a>,
    /// Whose the objects are.
    pub owner: Owner<'a>,
    /// Key of the step.
    pub key: &'a str,
    /// Label of the step.
    pub label: &'a str,
    /// Whether fields of other managers are taken over.
    pub force: bool,
    /// Tells the person.
    pub say: &'a (dyn Fn(&str) + Send + Sync),
}

impl Bundle {
    /// Returns the objects that a look at it needs.
    #[must_use]
    pub fn places(&self) -> Vec<Ref> {
        let objects = self.objects.iter().map(|object| object.at.clone());
        objects
            .chain(self.waits.iter().map(|wait| wait.at.clone()))
            .collect()
    }

    /// Tells how live objects differ (`objects`), and which conditions don't hold (`waits`).
    ///
    /// # Errors
    /// When the API would not tell.
    pub async fn facts(
        &self,
        cluster: &Cluster,
        look: &Look,
        owner: Owner<'_>,
        veil: &Veil<'_>,
    ) -> Result<Facts, Fault> {
        let asked: Vec<_> = self
            .objects
            .iter()
            .map(|object| object_places(cluster, look, object, owner, veil))
            .collect();
        let places: Vec<Vec<Place>> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        let objects: Differences = places.into_iter().flatten().collect();
        Ok([
            ("objects".to_owned(), Fact::Differences(objects)),
            ("waits".to_owned(), self.waits_fact(look)?),
        ]
        .into())
    }

    /// Tells which conditions don't hold.
    ///
    /// # Errors
    /// When the API would not tell.
    pub fn waits_fact(&self, look: &Look) -> Result<Fact, Fault> {
        let standings = standings(look, &self.waits)?;
        let places = self
            .waits
            .iter()
            .zip(standings)
            .filter_map(|(wait, found)| {
                Some(Place {
                    name: wait.text.clone(),
                    found: Fact::Text(found?),
                    wanted: Fact::Text(wait.wanted()),
                })
            });
        Ok(Fact::Differences(places.collect()))
    }

    /// Applies all objects, those first that others need, and waits for the conditions.
    ///
    /// # Errors
    /// When an object is another's, the server refuses, or a condition does not come to hold.
    pub async fn apply(&self, applying: &Applying<'_>) -> Result<(), StepError> {
        let api = &applying.api;
        let cluster = api.patiently(|cluster| async { Ok(cluster) }).await?;
        let look = Look::at(&cluster, &self.places()).await?;
        self.refuse_foreign(&look, applying.owner)?;
        let mut objects: Vec<Object> = self.objects.clone();
        for object in &mut objects {
            object.mark(applying.owner);
            object.annotate(KEY, applying.key);
            object.annotate(STEP, applying.label);
        }
        if !applying.force {
            refuse_conflicts(&cluster, &look, &objects).await?;
        }
        objects.sort_by_key(|object| rank(&object.kind));
        for wave in objects.chunk_by(|a, b| rank(&a.kind) == rank(&b.kind)) {
            let requests: Vec<_> = wave
                .iter()
                .map(|object| applying.apply_one(object))
                .collect();
            let applied = stream::iter(requests)
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await;
            all_or_first(applied)?;
            let defined: Vec<Wait> = wave
                .iter()
                .filter(|object| object.defines())
                .map(|object| Wait::ready(object.at.clone(), object.title()))
                .collect();
            if !defined.is_empty() {
                wait::wait(api, &defined, ESTABLISHED, applying.say).await?;
            }
        }
        if !self.waits.is_empty() {
            wait::wait(api, &self.waits, self.timeout, applying.say).await?;
        }
        Ok(())
    }

    /// Stops before the first change if any of the objects belongs to somebody else.
    fn refuse_foreign(&self, look: &Look, owner: Owner<'_>) -> Result<(), ClusterError> {
        for object in &self.objects {
            if let Found::There(live) = look.find(&object.at)?
                && let Some(other) = owner_of(live)
                && (other.stack != owner.stack || other.component != owner.component)
            {
                return Err(ClusterError::Foreign {
                    object: object.full_title(),
                    owner: format!("component {} of stack {}", other.component, other.stack),
                });
            }
        }
        Ok(())
    }

    /// Deletes the objects that are ours, in the reverse of the order they were made, and waits until they are gone.
    ///
    /// # Errors
    /// When the server refuses, or they don't go.
    pub async fn remove(&self, applying: &Applying<'_>) -> Result<(), StepError> {
        let api = &applying.api;
        let mut objects: Vec<&Object> = self.objects.iter().collect();
        objects.sort_by_key(|object| std::cmp::Reverse(rank(&object.kind)));
        let places: Vec<Ref> = objects.iter().map(|object| object.at.clone()).collect();
        let look = api
            .patiently(|cluster| {
                let places = &places;
                async move { Look::at(&cluster, places).await }
            })
            .await?;
        let mut going = Vec::new();
        for object in objects {
            let (Found::There(live), Some(kind)) =
                (look.find(&object.at)?, look.kind(&object.at.kind))
            else {
                continue;
            };
            let ours = owner_of(live).is_some_and(|owner| {
                owner.stack == applying.owner.stack && owner.component == applying.owner.component
            });
            if !ours {
                (applying.say)(&format!(
                    "{} does not bear our labels ({STACK}, {COMPONENT}): left as it is",
                    object.full_title()
                ));
                continue;
            }
            api.patiently(|cluster| async move { api::delete(&cluster, kind, &object.at).await })
                .await?;
            going.push(object.at.clone());
        }
        gone(api, &going, GONE).await
    }
}

impl Applying<'_> {
    async fn apply_one(&self, object: &Object) -> Result<(), ClusterError> {
        let mode = if self.force {
            Mode::Force
        } else {
            Mode::Polite
        };
        let end = std::time::Instant::now() + SERVED;
        loop {
            let done = self
                .api
                .patiently(|cluster| async move {
                    let kinds = cluster.kinds.find([&object.at.kind]).await?;
                    match kinds.get(&object.at.kind) {
                        Some(kind) => api::apply(&cluster, kind, object, mode).await.map(Some),
                        None => Ok(None),
                    }
                })
                .await?;
            if done.is_some() {
                return Ok(());
            }
            if std::time::Instant::now() >= end {
                return Err(ClusterError::Api {
                    status: 404,
                    message: format!(
                        "{}: it serves no {}; the definition (CRD) of that kind must be installed first",
                        object.full_title(),
                        object.at.kind
                    ),
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Waits until none of these is there.
///
/// # Errors
/// When one still is when time is up: what holds it up is named.
pub async fn gone(api: &Api<'_>, places: &[Ref], limit: Duration) -> Result<(), StepError> {
    let end = std::time::Instant::now() + limit;
    loop {
        let look = api
            .patiently(|cluster| async move { Look::at(&cluster, places).await })
            .await?;
        let mut left = None;
        for at in places {
            if let Found::There(live) = look.find(at)? {
                left = Some((at, live));
                break;
            }
        }
        let Some((at, live)) = left else {
            return Ok(());
        };
        if std::time::Instant::now() >= end {
            let finalizers = &live["metadata"]["finalizers"];
            return Err(StepError::Failed {
                message: format!(
                    "{} {} was deleted and is still there after {}",
                    at.kind,
                    at.name,
                    wait::shown(limit)
                ),
                output: format!("its finalizers: {finalizers}"),
                hint: Some(
                    "whoever set a finalizer must take it off: see whether its controller runs"
                        .to_owned(),
                ),
                status: None,
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Stops before the first change if any of the objects has fields of other managers that differ: all are told at once.
async fn refuse_conflicts(
    cluster: &Cluster,
    look: &Look,
    objects: &[Object],
) -> Result<(), ClusterError> {
    let mut asked = Vec::new();
    for object in objects {
        if let (Found::There(live), Some(kind)) =
            (look.find(&object.at)?, look.kind(&object.at.kind))
            && !differences(&object.body, live).is_empty()
        {
            asked.push(api::apply(cluster, kind, object, Mode::DryRun));
        }
    }
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    // Other refusals are for the apply itself, which says them as they are.
    let conflicts = answers
        .into_iter()
        .filter_map(Result::err)
        .filter(|error| matches!(error, ClusterError::Conflicts(_)))
        .map(Err)
        .collect();
    all_or_first(conflicts)
}

/// Returns the first refusal that is not merely a wait; otherwise the first.
fn all_or_first(results: Vec<Result<(), ClusterError>>) -> Result<(), ClusterError> {
    let mut errors: Vec<ClusterError> = results.into_iter().filter_map(Result::err).collect();
    // Conflicts of several objects are told together.
    let conflicts: Vec<Conflict> = errors
        .iter()
        .flat_map(|error| match error {
            ClusterError::Conflicts(conflicts) => conflicts.clone(),
            _ => Vec::new(),
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(ClusterError::Conflicts(conflicts));
    }
    errors.sort_by_key(ClusterError::is_transient);
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Tells how one object differs from the live one. What is in doubt is settled by an apply that stores nothing.
async fn object_places(
    cluster: &Cluster,
    look: &Look,
    object: &Object,
    owner: Owner<'_>,
    veil: &Veil<'_>,
) -> Result<Vec<Place>, ClusterError> {
    let mut object = object.clone();
    object.mark(owner);
    let live = match look.find(&object.at)? {
        Found::There(live) => live,
        Found::UnknownKind | Found::Absent => {
            return Ok(vec![Place {
                name: object.title(),
                found: "absent".into(),
                wanted: "there".into(),
            }]);
        }
    };
    // Marks of the last apply are no wish: whatever they are, they are to stay.
    for mark in [KEY, STEP, SETTLED] {
        if let Some(value) = text_at(live, &["metadata", "annotations", mark]) {
            object.annotate(mark, value);
        }
    }
    let object = &object;
    let mut found = differences(&object.body, live);
    if let (false, Some(kind)) = (found.is_empty(), look.kind(&object.at.kind)) {
        match api::apply(cluster, kind, object, Mode::DryRun).await {
            Ok(then) => found = settled(found, changes(live, &then)),
            Err(error @ (ClusterError::Down(_) | ClusterError::Unauthorized(_))) => {
                return Err(error);
            }
            // It would be refused, for a field of somebody else's or one that can't change: then it differs.
            Err(_) => {}
        }
    }
    Ok(found
        .into_iter()
        .flat_map(finer)
        .map(|difference| veil.place(object, difference))
        .collect())
}

/// Returns what really would change, in the words of the wish where it has any.
fn settled(wished: Vec<Difference>, real: Vec<Difference>) -> Vec<Difference> {
    if real.is_empty() {
        return real;
    }
    let touches = |a: &str, b: &str| {
        let within = |long: &str, short: &str| {
            long.strip_prefix(short)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        within(a, b) || within(b, a)
    };
    let named: Vec<Difference> = wished
        .into_iter()
        .filter(|wish| real.iter().any(|one| touches(&wish.path, &one.path)))
        .collect();
    if named.is_empty() { real } else { named }
}

/// Returns when an object is applied among others: what they need first, what may refuse them last.
fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "PriorityClass" | "ServiceAccount" | "ClusterRole" | "Role" | "StorageClass" => 2,
        "ClusterRoleBinding" | "RoleBinding" | "Secret" | "ConfigMap" | "LimitRange"
        | "ResourceQuota" | "NetworkPolicy" => 3,
        "PersistentVolume" | "PersistentVolumeClaim" | "Service" => 4,
        "APIService" => 7,
        "ValidatingWebhookConfiguration"
        | "MutatingWebhookConfiguration"
        | "ValidatingAdmissionPolicy"
        | "ValidatingAdmissionPolicyBinding" => 8,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn difference(path: &str) -> Difference {
        Difference {
            path: path.to_owned(),
            found: Some(json!(1)),
            wanted: Some(json!(2)),
        }
    }

    #[test]
    fn only_what_the_server_would_change_is_told_in_the_words_of_the_wish() {
        let wished = || vec![difference("spec.a"), difference("spec.list[x].b")];
        let told = |real: &[&str]| {
            settled(wished(), real.iter().map(|path| difference(path)).collect())
                .into_iter()
                .map(|one| one.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), [""; 0]);
        assert_eq!(told(&["spec.list"]), ["spec.list[x].b"]);
        assert_eq!(told(&["spec.a", "spec.other"]), ["spec.a"]);
        assert_eq!(told(&["spec.ab"]), ["spec.ab"]);
    }

    #[test]
    fn conflicts_of_several_objects_are_told_together() {
        let conflict = |object: &str| {
            Err(ClusterError::Conflicts(vec![Conflict {
                object: object.to_owned(),
                manager: "\"x\"".to_owned(),
                field: ".spec.a".to_owned(),
            }]))
        };
        let error = all_or_first(vec![Ok(()), conflict("A/1"), conflict("B/2")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "A/1: .spec.a is managed by \"x\"; B/2: .spec.a is managed by \"x\""
        );
        let down = || Err(ClusterError::Down("gone".to_owned()));
        let error = all_or_first(vec![down(), conflict("A/1")]).unwrap_err();
        assert_eq!(error.to_string(), "A/1: .spec.a is managed by \"x\"");
    }
}
