//! One chart as it is wanted: what is written for the controller, and how the live state differs from it. Does not follow
//! what the controller does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::bundle::{Applying, Bundle};
use super::super::error::ClusterError;
use super::super::look::{Found, Look};
use super::super::object::{Object, Owner, Ref, int_at, text_at};
use super::super::service::Seen;
use crate::catalog::{Value as Input, Values, parse_duration};
use crate::probe::{Fact, Facts, Fault};
use crate::secret::Secret;
use crate::target::inputs;

/// Where K3s' controller and its Jobs run.
pub const SYSTEM: &str = "kube-system";

/// Annotation: what of HelmChart and Secret had been released when the release was seen to the end.
pub const SETTLED: &str = "foundry.dev/settled";

/// How often the Job is tried. Its first tries may come before the network does.
const TRIES: u8 = 4;

/// Where K3s' servers serve files to the cluster from, and how Jobs reach them.
pub(super) const STATIC: (&str, &str) = (
    "/var/lib/rancher/k3s/server/static/charts",
    "https://%{KUBERNETES_API}%/static/charts",
);

/// A chart that is wanted.
pub struct ChartOrder {
    /// Name of the release.
    pub name: String,
    /// Where it is released.
    pub namespace: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Its version.
    pub version: String,
    pub(super) chart: String,
    pub(super) repo: String,
    pub(super) sha256: String,
    values: Value,
    pub(super) secret_values: Option<Secret<String>>,
    pub(super) create_namespace: bool,
}

/// How the cluster gets at the chart.
pub(super) enum Source {
    /// From its repository.
    Repository,
    /// The archive within the object, in base64.
    Content(String),
    /// The file of this name in the servers' static folder.
    Static(String),
}

/// Which fields of a HelmChart the cluster's version of it has.
pub struct Supported(pub(super) Vec<String>);

impl Supported {
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.iter().any(|name| name == field)
    }
}

impl ChartOrder {
    /// Reads the step's inputs.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn read(given: &Values) -> Result<Self, String> {
        let text = |name| inputs::text(given, name).map(str::to_owned);
        let secret_values = inputs::secret(given, "secret_values")?;
        let create_namespace = match given.get("create_namespace") {
            Some(Input::Bool(create)) => *create,
            _ => return Err("input `create_namespace` must be true or false".to_owned()),
        };
        let values = plain(given.get("values").unwrap_or(&Input::Null))?;
        if !values.is_object() && !values.is_null() {
            return Err("input `values` must be a mapping".to_owned());
        }
        Ok(Self {
            name: text("name")?,
            namespace: text("namespace")?,
            chart: text("chart")?,
            repo: text("repo")?,
            version: text("version")?,
            sha256: text("sha256")?.to_ascii_lowercase(),
            values,
            secret_values: Some(secret_values).filter(|values| !values.expose().trim().is_empty()),
            timeout: parse_duration(inputs::text(given, "timeout")?)?,
            create_namespace,
        })
    }

    /// Returns the place of the HelmChart.
    #[must_use]
    pub fn chart_at(&self) -> Ref {
        Ref::new("helm.cattle.io/v1", "HelmChart", Some(SYSTEM), &self.name)
    }

    /// Returns the place of the Secret with values.
    #[must_use]
    pub fn secret_at(&self) -> Ref {
        Ref::new("v1", "Secret", Some(SYSTEM), &self.secret_name())
    }

    /// Returns the place of the controller's Job.
    #[must_use]
    pub fn job_at(&self) -> Ref {
        let name = format!("helm-install-{}", self.name);
        Ref::new("batch/v1", "Job", Some(SYSTEM), &name)
    }

    pub(super) fn definition_at() -> Ref {
        let name = "helmcharts.helm.cattle.io";
        Ref::new(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            None,
            name,
        )
    }

    fn secret_name(&self) -> String {
        format!("{}-foundry-values", self.name)
    }

    /// Returns the objects that a look at it needs.
    #[must_use]
    pub fn places(&self) -> Vec<Ref> {
        let mut places = vec![self.chart_at(), Self::definition_at(), self.job_at()];
        if self.secret_values.is_some() {
            places.push(self.secret_at());
        }
        places
    }

    pub(super) fn supported(look: &Look) -> Result<Option<Supported>, ClusterError> {
        let Found::There(definition) = look.find(&Self::definition_at())? else {
            return Ok(None);
        };
        let served = definition["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|version| version["name"] == "v1");
        let fields = served.and_then(|version| {
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object()
        });
        Ok(fields.map(|fields| Supported(fields.keys().cloned().collect())))
    }

    /// Returns the name of an archive in the servers' static folder: another archive, another name. That of one which is not
    /// pinned tells its version, as nothing else does.
    pub(super) fn file_name(&self, sha256: &str) -> String {
        let digest: String = sha256.chars().take(16).collect();
        format!("{}{digest}.tgz", self.file_prefix())
    }

    fn file_prefix(&self) -> String {
        match self.sha256.is_empty() {
            false => format!("{}-", self.name),
            true => format!("{}-{}-", self.name, self.version.replace('+', "_")),
        }
    }

    /// Returns the HelmChart. Fields that the cluster's version of it does not have are left out.
    fn helm_chart(&self, source: &Source, supported: &Supported) -> Object {
        let mut spec = Map::new();
        let mut set = |name: &str, value: Value| {
            if supported.has(name) {
                spec.insert(name.to_owned(), value);
            }
        };
        match source {
            Source::Repository => {
                set("chart", json!(self.chart));
                if !self.repo.is_empty() {
                    set("repo", json!(self.repo));
                }
                set("version", json!(self.version));
            }
            Source::Content(content) => {
                set("chart", json!(self.chart));
                set("version", json!(self.version));
                set("chartContent", json!(content));
            }
            Source::Static(file) => set("chart", json!(format!("{}/{file}", STATIC.1))),
        }
        set("targetNamespace", json!(self.namespace));
        if self
            .values
            .as_object()
            .is_some_and(|values| !values.is_empty())
        {
            let text = serde_yaml::to_string(&self.values).unwrap_or_default();
            set("valuesContent", json!(text));
        }
        if self.secret_values.is_some() {
            set(
                "valuesSecrets",
                json!([{ "name": self.secret_name(), "keys": ["values.yaml"] }]),
            );
        }
        // Never the default, which uninstalls a release whose upgrade has failed, its volumes included.
        set("failurePolicy", json!("abort"));
        set("backOffLimit", json!(TRIES));
        set("timeout", json!(format!("{}s", self.timeout.as_secs())));
        Object {
            at: self.chart_at(),
            kind: "HelmChart".to_owned(),
            body: json!({
                "apiVersion": "helm.cattle.io/v1",
                "kind": "HelmChart",
                "metadata": { "name": self.name, "namespace": SYSTEM },
                "spec": spec,
            }),
        }
    }

    fn secret(&self) -> Option<Object> {
        let values = self.secret_values.as_ref()?;
        Some(Object {
            at: self.secret_at(),
            kind: "Secret".to_owned(),
            body: json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": self.secret_name(), "namespace": SYSTEM },
                "type": "Opaque",
                "data": { "values.yaml": STANDARD.encode(values.expose()) },
            }),
        })
    }

    /// Returns how the live HelmChart has the chart, if that is the archive that is wanted. Where none is pinned, an archive
    /// that was handed over is as good as the repository.
    fn source_of(&self, live: &Value) -> Source {
        if self.sha256.is_empty() {
            let there = text_at(live, &["spec", "chart"]).unwrap_or_default();
            let file = there
                .strip_prefix(STATIC.1)
                .and_then(|rest| rest.strip_prefix('/'));
            return match (text_at(live, &["spec", "chartContent"]), file) {
                (Some(content), _) => Source::Content(content.to_owned()),
                (None, Some(file)) if file.starts_with(&self.file_prefix()) => {
                    Source::Static(file.to_owned())
                }
                _ => Source::Repository,
            };
        }
        if let Some(content) = text_at(live, &["spec", "chartContent"])
            && let Ok(archive) = STANDARD.decode(content)
            && hex::encode(Sha256::digest(archive)) == self.sha256
        {
            return Source::Content(content.to_owned());
        }
        let file = self.file_name(&self.sha256);
        let place = format!("{}/{file}", STATIC.1);
        if text_at(live, &["spec", "chart"]) == Some(&place) {
            return Source::Static(file);
        }
        // Another archive, or none: named by its digest, as the whole of it would say nothing.
        Source::Content(format!("archive with sha256 {}", self.sha256))
    }

    pub(super) fn bundle(&self, source: &Source, supported: &Supported) -> Bundle {
        let objects = self.secret().into_iter();
        Bundle {
            objects: objects
                .chain([self.helm_chart(source, supported)])
                .collect(),
            waits: Vec::new(),
            timeout: self.timeout,
        }
    }

    /// Tells how HelmChart and Secret differ (`objects`), how the latest release went (`release`, `revision`), and whether
    /// what is written was followed to its end (`settled`, and then the chart's version as `installed`).
    ///
    /// # Errors
    /// When the API would not tell.
    pub async fn facts(&self, seen: &Seen<'_>, owner: Owner<'_>) -> Result<Facts, Fault> {
        let latest = seen.releases.latest(&self.namespace, &self.name);
        let mut facts: Facts = [
            (
                "release".to_owned(),
                latest.map_or("absent", |record| &record.status).into(),
            ),
            (
                "revision".to_owned(),
                latest
                    .map_or("absent".to_owned(), |record| record.revision.to_string())
                    .into(),
            ),
        ]
        .into();
        let live = match seen.look.find(&self.chart_at())? {
            Found::There(live) => live,
            Found::UnknownKind | Found::Absent => &Value::Null,
        };
        let supported = Self::supported(seen.look)?.unwrap_or(Supported(Vec::new()));
        let bundle = self.bundle(&self.source_of(live), &supported);
        let told = bundle
            .facts(seen.cluster, seen.look, owner, &seen.veil)
            .await?;
        facts.extend(told.into_iter().filter(|(name, _)| name == "objects"));
        let mark = text_at(live, &["metadata", "annotations", SETTLED]);
        let settled = match (live.is_null(), mark) {
            (true, _) => "absent",
            (false, Some(mark)) if mark == self.mark(seen.look)? => "yes",
            (false, _) => "no",
        };
        facts.insert("settled".to_owned(), Fact::from(settled));
        let installed = text_at(live, &["spec", "version"]).filter(|_| settled == "yes");
        facts.insert("installed".to_owned(), installed.unwrap_or("absent").into());
        Ok(facts)
    }

    /// Returns what tells whether HelmChart or Secret changed since: nothing that allows guessing a value.
    pub(super) fn mark(&self, look: &Look) -> Result<String, ClusterError> {
        let Found::There(chart) = look.find(&self.chart_at())? else {
            return Ok(String::new());
        };
        let generation = int_at(chart, &["metadata", "generation"]).unwrap_or_default();
        let secret = match look.find(&self.secret_at())? {
            Found::There(secret) => {
                text_at(secret, &["metadata", "resourceVersion"]).unwrap_or_default()
            }
            Found::UnknownKind | Found::Absent => "none",
        };
        Ok(format!("{generation}/{secret}"))
    }

    /// Looks at all that belongs to it.
    ///
    /// # Errors
    /// When the API would not tell.
    pub async fn look(&self, applying: &Applying<'_>) -> Result<Look, ClusterError> {
        let mut places = self.places();
        places.push(self.secret_at());
        let places = &places;
        applying
            .api
            .patiently(|cluster| async move { Look::at(&cluster, places).await })
            .await
    }
}

/// Returns an input as what it is in YAML. Secrets have a place of their own.
fn plain(input: &Input) -> Result<Value, String> {
    Ok(match input {
        Input::Null => Value::Null,
        Input::Bool(flag) => json!(flag),
        Input::Int(number) => json!(number),
        Input::Text(text) => json!(text),
        Input::Secret(_) => {
            return Err(
                "a secret stands in `values`, which anybody who may look at HelmCharts can read: put it into `secret_values`"
                    .to_owned(),
            );
        }
        Input::List(items) => Value::Array(items.iter().map(plain).collect::<Result<_, _>>()?),
        Input::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(name, value)| Ok((name.clone(), plain(value)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(extra: &[(&str, Input)]) -> Result<ChartOrder, String> {
        let text = |text: &str| Input::Text(text.to_owned());
        let mut given: Values = [
            ("name", text("zot")),
            ("namespace", text("foundry-zot")),
            ("chart", text("zot")),
            ("repo", text("https://charts.example")),
            ("version", text("1.2.3")),
            ("sha256", text("")),
            ("secret_values", text("")),
            ("timeout", text("10m")),
            ("create_namespace", Input::Bool(true)),
            ("values", Input::Map(std::collections::BTreeMap::new())),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, value) in extra {
            given.insert((*name).to_owned(), value.clone());
        }
        ChartOrder::read(&given)
    }

    fn all() -> Supported {
        let fields = [
            "chart",
            "repo",
            "version",
            "chartContent",
            "targetNamespace",
            "valuesContent",
            "valuesSecrets",
            "failurePolicy",
            "backOffLimit",
            "timeout",
        ];
        Supported(fields.map(str::to_owned).into())
    }

    #[test]
    fn a_helm_chart_never_uninstalls_by_itself_and_holds_no_secret() {
        let secret = Input::Secret(Secret::new("password: hunter2".to_owned()));
        let values = Input::Map([("replicas".to_owned(), Input::Int(2))].into());
        let order = order(&[("secret_values", secret), ("values", values)]).unwrap();
        let chart = order.helm_chart(&Source::Repository, &all()).body;
        insta::assert_snapshot!(serde_json::to_string_pretty(&chart["spec"]).unwrap(), @r#"
        {
          "chart": "zot",
          "repo": "https://charts.example",
          "version": "1.2.3",
          "targetNamespace": "foundry-zot",
          "valuesContent": "replicas: 2\n",
          "valuesSecrets": [
            {
              "name": "zot-foundry-values",
              "keys": [
                "values.yaml"
              ]
            }
          ],
          "failurePolicy": "abort",
          "backOffLimit": 4,
          "timeout": "600s"
        }
        "#);
        let secret = order.secret().unwrap().body;
        assert_eq!(
            secret["data"]["values.yaml"],
            STANDARD.encode("password: hunter2")
        );
    }

    #[test]
    fn an_older_kind_gets_only_what_it_has() {
        let old = Supported(["chart", "targetNamespace"].map(str::to_owned).into());
        let chart = order(&[]).unwrap().helm_chart(&Source::Repository, &old);
        assert_eq!(
            chart.body["spec"],
            json!({ "chart": "zot", "targetNamespace": "foundry-zot" })
        );
    }

    #[test]
    fn the_archive_that_is_there_is_told_by_its_digest() {
        let sha256 = hex::encode(Sha256::digest(b"archive"));
        let order = order(&[("sha256", Input::Text(sha256.clone()))]).unwrap();
        let content = STANDARD.encode(b"archive");
        let live = json!({ "spec": { "chartContent": content } });
        assert!(matches!(order.source_of(&live), Source::Content(found) if found == content));
        let other = json!({ "spec": { "chartContent": STANDARD.encode(b"other") } });
        let told = format!("archive with sha256 {sha256}");
        assert!(matches!(order.source_of(&other), Source::Content(found) if found == told));
        let place = format!("{}/zot-{}.tgz", STATIC.1, &sha256[..16]);
        let fixed = json!({ "spec": { "chart": place } });
        assert!(matches!(order.source_of(&fixed), Source::Static(_)));
    }

    #[test]
    fn where_none_is_pinned_an_archive_of_the_version_is_as_good_as_the_repository() {
        let order = order(&[]).unwrap();
        let source = |chart: &str, content: Option<&str>| {
            let live =
                json!({ "spec": { "chart": chart, "version": "1.2.3", "chartContent": content } });
            order.helm_chart(&order.source_of(&live), &all()).body["spec"].clone()
        };
        assert_eq!(source("zot", Some("YQ=="))["chartContent"], "YQ==");
        assert_eq!(source("zot", None)["repo"], "https://charts.example");
        let file = |version: &str| format!("{}/zot-{version}-0123456789abcdef.tgz", STATIC.1);
        assert_eq!(source(&file("1.2.3"), None)["chart"], file("1.2.3"));
        assert_eq!(source(&file("1.2.2"), None)["chart"], "zot");
    }

    #[test]
    fn a_secret_among_plain_values_is_refused() {
        let secret = Input::Secret(Secret::new("hunter2".to_owned()));
        let values = Input::Map([("password".to_owned(), secret)].into());
        let error = order(&[("values", values)]).err().unwrap();
        assert!(error.contains("secret_values") && !error.contains("hunter2"));
    }
}
