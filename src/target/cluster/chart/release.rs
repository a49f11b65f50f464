//! Helm's own records of releases: Secrets named `sh.helm.release.v1.<name>.v<N>`, whose labels say name, revision and status,
//! and whose content is base64 of gzipped JSON. Reads them; does not know which release is wanted.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{DynamicObject, ListParams};
use kube::core::{Request, Resource as _};
use serde::Deserialize;
use serde_json::Value;

use super::super::error::ClusterError;
use super::super::look::known_kind;
use super::super::object::{Ref, text_at};
use super::super::session::Cluster;

/// Largest record that is unpacked: what etcd can hold, gzip's factor included.
const LARGEST: u64 = 64 << 20;

/// One record, by its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the revision.
    pub revision: u64,
    /// `deployed`, `failed`, `pending-install`, …
    pub status: String,
    /// Where the record is.
    pub at: Ref,
}

/// Records by namespace and release, the latest last.
#[derive(Debug, Default)]
pub struct Releases(BTreeMap<(String, String), Vec<Record>>);

impl Releases {
    /// Reads the labels of all records at once.
    ///
    /// # Errors
    /// When the API would not tell.
    pub async fn all(cluster: &Cluster) -> Result<Self, ClusterError> {
        Self::list(cluster, None, "owner=helm").await
    }

    /// Reads the labels of one release's records.
    ///
    /// # Errors
    /// When the API would not tell.
    pub async fn one(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self, ClusterError> {
        Self::list(cluster, Some(namespace), &format!("owner=helm,name={name}")).await
    }

    async fn list(
        cluster: &Cluster,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Self, ClusterError> {
        let kind = known_kind(cluster, "v1", "Secret").await?;
        let path = DynamicObject::url_path(&kind.resource, namespace);
        // Contents weigh up to a megabyte each: only metadata is asked for.
        let request = Request::new(path)
            .list_metadata(&ListParams::default().labels(selector))
            .map_err(|error| ClusterError::from(kube::Error::BuildRequest(error)))?;
        let answer: Value = cluster.client.request(request).await?;
        let mut all = Self::default();
        for item in answer["items"].as_array().into_iter().flatten() {
            all.add(item);
        }
        for records in all.0.values_mut() {
            records.sort_by_key(|record| record.revision);
        }
        Ok(all)
    }

    fn add(&mut self, item: &Value) {
        let label = |name: &str| text_at(item, &["metadata", "labels", name]);
        let (Some(name), Some(status), Some(revision), Some(namespace), Some(own)) = (
            label("name"),
            label("status"),
            label("version").and_then(|version| version.parse().ok()),
            text_at(item, &["metadata", "namespace"]),
            text_at(item, &["metadata", "name"]),
        ) else {
            return;
        };
        let record = Record {
            revision,
            status: status.to_owned(),
            at: Ref::new("v1", "Secret", Some(namespace), own),
        };
        self.0
            .entry((namespace.to_owned(), name.to_owned()))
            .or_default()
            .push(record);
    }

    /// Returns the records of a release, the latest last.
    #[must_use]
    pub fn records(&self, namespace: &str, name: &str) -> &[Record] {
        self.0
            .get(&(namespace.to_owned(), name.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the latest record of a release.
    #[must_use]
    pub fn latest(&self, namespace: &str, name: &str) -> Option<&Record> {
        self.records(namespace, name).last()
    }
}

/// What a record holds, as far as it is of use.
#[derive(Debug, Default, Deserialize)]
pub struct Release {
    /// How it went.
    #[serde(default)]
    pub info: Info,
    /// What was released.
    #[serde(default)]
    pub chart: Chart,
}

/// How a release went.
#[derive(Debug, Default, Deserialize)]
pub struct Info {
    /// In Helm's own words.
    #[serde(default)]
    pub description: String,
}

/// The chart of a release.
#[derive(Debug, Default, Deserialize)]
pub struct Chart {
    /// What it says of itself.
    #[serde(default)]
    pub metadata: ChartMetadata,
}

/// What a chart says of itself.
#[derive(Debug, Default, Deserialize)]
pub struct ChartMetadata {
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// Reads what a record holds.
///
/// # Errors
/// When the API would not tell, or it is no record.
pub async fn read(cluster: &Cluster, record: &Record) -> Result<Release, ClusterError> {
    let kind = known_kind(cluster, "v1", "Secret").await?;
    let path = DynamicObject::url_path(&kind.resource, record.at.namespace.as_deref());
    let request = Request::new(path)
        .get(&record.at.name, &kube::api::GetParams::default())
        .map_err(|error| ClusterError::from(kube::Error::BuildRequest(error)))?;
    let secret: Value = cluster.client.request(request).await?;
    let coded = text_at(&secret, &["data", "release"]).unwrap_or_default();
    decode(coded).map_err(|why| ClusterError::Api {
        status: 200,
        message: format!("the release record {} {why}", record.at.name),
    })
}

fn decode(coded: &str) -> Result<Release, String> {
    let outer = STANDARD
        .decode(coded)
        .map_err(|error| format!("is no base64: {error}"))?;
    let inner = STANDARD
        .decode(outer.trim_ascii())
        .map_err(|error| format!("is no base64 within: {error}"))?;
    let mut text = Vec::new();
    // Helm compresses since its version 3; before, records were plain.
    if inner.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&*inner)
            .take(LARGEST)
            .read_to_end(&mut text)
            .map_err(|error| format!("can't be unpacked: {error}"))?;
    } else {
        text = inner;
    }
    serde_json::from_slice(&text).map_err(|error| {
        format!(
            "is no JSON (line {}, column {})",
            error.line(),
            error.column()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    #[test]
    fn a_record_is_unpacked() {
        let release = json!({
            "info": { "status": "failed", "description": "Upgrade \"x\" failed: timed out" },
            "chart": { "metadata": { "name": "x", "version": "1.2.3" } },
        });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(release.to_string().as_bytes()).unwrap();
        let coded = STANDARD.encode(STANDARD.encode(gzip.finish().unwrap()));
        let read = decode(&coded).unwrap();
        assert_eq!(read.info.description, "Upgrade \"x\" failed: timed out");
        assert_eq!(read.chart.metadata.version, "1.2.3");
        for (wrong, why) in [("%", "no base64"), ("eA==", "no base64 within")] {
            assert!(decode(wrong).unwrap_err().contains(why), "{wrong}");
        }
        let plain = STANDARD.encode(STANDARD.encode("{"));
        assert!(decode(&plain).unwrap_err().contains("no JSON"));
    }

    #[test]
    fn the_latest_revision_is_the_one_with_the_highest_number() {
        let item = |revision: &str, status: &str| {
            json!({ "metadata": {
                "name": format!("sh.helm.release.v1.x.v{revision}"), "namespace": "n",
                "labels": { "owner": "helm", "name": "x", "status": status, "version": revision },
            } })
        };
        let mut all = Releases::default();
        for (revision, status) in [("10", "failed"), ("9", "deployed"), ("2", "superseded")] {
            all.add(&item(revision, status));
        }
        for records in all.0.values_mut() {
            records.sort_by_key(|record| record.revision);
        }
        let latest = all.latest("n", "x").unwrap();
        assert_eq!((latest.revision, latest.status.as_str()), (10, "failed"));
        assert_eq!(all.latest("other", "x"), None);
    }
}
