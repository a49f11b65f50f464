//! Finds a chart's archive in its repository and fetches it here, held to its digest. Does not know how the cluster gets it.

use std::path::PathBuf;

use serde::Deserialize;

use super::oci;
use crate::config::Mirror;
use crate::target::artifact;

/// Which chart.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name in the repository, `oci://…`, or the archive's own address.
    pub chart: &'a str,
    /// Address of the repository.
    pub repo: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Digest of the archive in hex.
    pub sha256: &'a str,
}

/// The part of a repository's index that is of use.
#[derive(Deserialize)]
struct Index {
    entries: std::collections::BTreeMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    urls: Vec<String>,
}

/// Returns the archive, from the cache if it is there.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn fetch(wanted: Wanted<'_>, mirrors: &[Mirror]) -> Result<PathBuf, String> {
    if let Some(path) = artifact::cached(wanted.sha256).await {
        return Ok(path);
    }
    if wanted.chart.starts_with("oci://") {
        let url = oci::blob(wanted.chart, wanted.sha256)?;
        let url = artifact::mirrored(&url, mirrors);
        if url.starts_with("file://") {
            return artifact::file(&url, wanted.sha256, None).await;
        }
        return oci::fetch(&url, wanted.sha256).await;
    }
    let url = if wanted.chart.contains("://") {
        wanted.chart.to_owned()
    } else {
        let index = format!("{}/index.yaml", wanted.repo.trim_end_matches('/'));
        let index = artifact::mirrored(&index, mirrors);
        let text = artifact::text(&index).await?;
        let place = in_index(&text, wanted.chart, wanted.version)
            .map_err(|why| format!("{index} {why}"))?;
        absolute(wanted.repo, &place)
    };
    artifact::fetched(&url, wanted.sha256, mirrors).await
}

fn in_index(text: &str, chart: &str, version: &str) -> Result<String, String> {
    let index: Index =
        serde_yaml::from_str(text).map_err(|error| format!("is no chart repository: {error}"))?;
    let entries = index
        .entries
        .get(chart)
        .ok_or_else(|| format!("has no chart `{chart}`"))?;
    let plain = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
    entries
        .iter()
        .find(|entry| plain(&entry.version) == plain(version))
        .and_then(|entry| entry.urls.first().cloned())
        .ok_or_else(|| format!("has no version {version} of `{chart}`"))
}

/// Returns the address of what an index calls `place`.
fn absolute(repo: &str, place: &str) -> String {
    if place.contains("://") {
        return place.to_owned();
    }
    let repo = repo.trim_end_matches('/');
    match place.strip_prefix('/') {
        Some(from_root) => {
            let host = repo
                .find("://")
                .and_then(|at| Some(at + 3 + repo[at + 3..].find('/')?))
                .map_or(repo, |end| &repo[..end]);
            format!("{host}/{from_root}")
        }
        None => format!("{repo}/{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_in_the_index() {
        let index = "\
apiVersion: v1
entries:
  zot:
    - { version: 0.2.0, urls: [https://x/zot-0.2.0.tgz] }
    - { version: v0.1.0, urls: [charts/zot-0.1.0.tgz] }
";
        assert_eq!(
            in_index(index, "zot", "0.1.0").unwrap(),
            "charts/zot-0.1.0.tgz"
        );
        assert_eq!(
            in_index(index, "zot", "9").unwrap_err(),
            "has no version 9 of `zot`"
        );
        assert_eq!(
            in_index(index, "loki", "9").unwrap_err(),
            "has no chart `loki`"
        );
        for (place, wanted) in [
            ("https://x/y.tgz", "https://x/y.tgz"),
            ("charts/y.tgz", "https://c.example/helm/charts/y.tgz"),
            ("/y.tgz", "https://c.example/y.tgz"),
        ] {
            assert_eq!(absolute("https://c.example/helm/", place), wanted);
        }
    }
}
