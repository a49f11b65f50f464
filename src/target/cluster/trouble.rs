//! What there is to quote when an object does not get where it should: its conditions, its recent events, and of its pods why
//! they wait, how they ended and what they said last. Best effort: what can't be had is left out.

use std::fmt::Write as _;

use kube::api::{DynamicObject, ListParams, LogParams};
use kube::core::{Request, Resource as _};
use serde_json::Value;

use super::look::{items, known_kind};
use super::object::{int_at, text_at};
use super::ready::all_conditions;
use super::session::Cluster;

/// Most events quoted.
const EVENTS: usize = 8;

/// Most pods quoted.
const PODS: usize = 3;

/// Lines of a container's log that are quoted.
const LOG_LINES: i64 = 12;

/// Returns what there is to quote of a live object.
pub async fn quote(cluster: &Cluster, object: &Value) -> String {
    let mut out = String::new();
    for condition in all_conditions(object) {
        let _ = writeln!(out, "condition: {condition}");
    }
    let Some(namespace) = text_at(object, &["metadata", "namespace"]) else {
        return out;
    };
    let name = text_at(object, &["metadata", "name"]).unwrap_or_default();
    events(cluster, namespace, name, &mut out).await;
    for pod in pods(cluster, namespace, object).await.iter().take(PODS) {
        pod_words(cluster, namespace, pod, &mut out).await;
    }
    out
}

/// Quotes the latest events about an object and what it made, which is named after it.
async fn events(cluster: &Cluster, namespace: &str, name: &str, out: &mut String) {
    let listed = async {
        let kind = known_kind(cluster, "v1", "Event").await?;
        items(
            cluster,
            &kind,
            Some(namespace),
            ListParams::default().limit(500),
        )
        .await
    };
    let Ok(mut all) = listed.await else { return };
    let time = |event: &Value| {
        ["lastTimestamp", "eventTime", "firstTimestamp"]
            .iter()
            .find_map(|name| event[*name].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    all.retain(|event| {
        let about = text_at(event, &["involvedObject", "name"]).unwrap_or_default();
        about == name
            || about
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
    });
    // A failure is told by warnings; without any, what else there is.
    if all.iter().any(|event| event["type"] == "Warning") {
        all.retain(|event| event["type"] == "Warning");
    }
    all.sort_by_key(time);
    let from = all.len().saturating_sub(EVENTS);
    for event in &all[from..] {
        let text = |path: &[&str]| text_at(event, path).unwrap_or_default().trim().to_owned();
        let times = match int_at(event, &["count"]) {
            Some(count) if count > 1 => format!(" ({count} times)"),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "event: {}/{}: {}: {}{times}",
            text(&["involvedObject", "kind"]),
            text(&["involvedObject", "name"]),
            text(&["reason"]),
            text(&["message"]),
        );
    }
}

/// Returns the pods of an object, those that are not ready first.
pub async fn pods(cluster: &Cluster, namespace: &str, object: &Value) -> Vec<Value> {
    if object["kind"] == "Pod" {
        return vec![object.clone()];
    }
    let Some(labels) = object["spec"]["selector"]["matchLabels"].as_object() else {
        return Vec::new();
    };
    let selector: Vec<String> = labels
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    if selector.is_empty() {
        return Vec::new();
    }
    let listed = async {
        let kind = known_kind(cluster, "v1", "Pod").await?;
        let params = ListParams::default().labels(&selector.join(","));
        items(cluster, &kind, Some(namespace), params).await
    };
    let mut all = listed.await.unwrap_or_default();
    let is_ready = |pod: &Value| {
        pod["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    all.sort_by_key(is_ready);
    all
}

/// Quotes why a pod is not ready.
async fn pod_words(cluster: &Cluster, namespace: &str, pod: &Value, out: &mut String) {
    let name = text_at(pod, &["metadata", "name"]).unwrap_or_default();
    let phase = text_at(pod, &["status", "phase"]).unwrap_or("Unknown");
    let _ = writeln!(out, "pod {name} is {phase}");
    for condition in pod["status"]["conditions"].as_array().into_iter().flatten() {
        if condition["type"] == "PodScheduled" && condition["status"] == "False" {
            let message = condition["message"].as_str().unwrap_or_default();
            let _ = writeln!(out, "  not scheduled: {message}");
        }
    }
    let statuses = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    for status in statuses {
        let container = text_at(status, &["name"]).unwrap_or_default();
        let restarted = int_at(status, &["restartCount"]).unwrap_or(0) > 0;
        let mut ill = false;
        if let Some(waiting) = status["state"].get("waiting") {
            let text = |name: &str| waiting[name].as_str().unwrap_or_default();
            let _ = writeln!(
                out,
                "  {container} waits: {}{}",
                text("reason"),
                after_colon(text("message"))
            );
            ill = true;
        }
        let ended = [&status["state"], &status["lastState"]]
            .into_iter()
            .find_map(|state| state.get("terminated"));
        if let Some(ended) = ended
            && ended["exitCode"] != 0
        {
            let code = ended["exitCode"].as_i64().unwrap_or_default();
            let text = |name: &str| ended[name].as_str().unwrap_or_default().trim();
            let _ = writeln!(
                out,
                "  {container} ended with {code} ({}){}",
                text("reason"),
                after_colon(text("message"))
            );
            ill = true;
        }
        if ill || status["ready"] == false {
            let previous = restarted && status["state"].get("running").is_none();
            log(cluster, namespace, name, container, previous, out).await;
        }
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Quotes the last lines of a container's log.
pub async fn log(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
    out: &mut String,
) {
    let Ok(kind) = known_kind(cluster, "v1", "Pod").await else {
        return;
    };
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: Some(LOG_LINES),
        ..LogParams::default()
    };
    let path = DynamicObject::url_path(&kind.resource, Some(namespace));
    let Ok(request) = Request::new(path).logs(pod, &params) else {
        return;
    };
    // A kubelet that hangs must not hold up the error.
    let asked = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        cluster.client.request_text(request),
    );
    if let Ok(Ok(text)) = asked.await {
        for line in text.lines() {
            let _ = writeln!(out, "  {container} | {line}");
        }
    }
}
