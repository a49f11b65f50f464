//! Finds a chart's archive in its repository or registry and fetches it here, held to its digest; tells what of it a bundle needs
//! so that it is found there. Does not know how the cluster gets it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::{ImageRef, Values, is_digest};
use crate::config::{Mirror, read_yaml};
use crate::target::artifact::{self, Descriptor, Registry};
use crate::target::inputs;

/// What registries call a chart's archive.
const LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Longest index of a repository, in bytes. The largest there are have some 20 MB.
const LONGEST: usize = 64 << 20;

/// Which chart.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name in the repository, `oci://…`, or the archive's own address.
    pub chart: &'a str,
    /// Address of the repository.
    pub repo: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Digest of the archive in hex; empty: whatever the repository has.
    pub sha256: &'a str,
}

/// A chart's archive, here.
#[derive(Debug, Clone)]
pub struct ChartArchive {
    /// Address, as the repository has it.
    pub url: String,
    /// The file.
    pub file: PathBuf,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Whether the recipe, or the stack's pins, say which digest it has.
    pub pinned: bool,
    /// Whether the repository or registry says so.
    pub listed: bool,
    /// What leads to it.
    pub found_by: FoundBy,
}

/// What leads to a chart's archive: an address and what is there.
#[derive(Debug, Clone)]
pub enum FoundBy {
    /// Its address is known.
    Nothing,
    /// The index of a repository, with nothing but this chart.
    Index(String, String),
    /// The manifest in a registry.
    Manifest(String, Vec<u8>),
}

/// The part of a repository's index that is of use.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default = "v1")]
    api_version: String,
    entries: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default = "v2")]
    api_version: String,
    #[serde(default)]
    name: String,
    version: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    digest: String,
}

fn v1() -> String {
    "v1".to_owned()
}

fn v2() -> String {
    "v2".to_owned()
}

impl Wanted<'_> {
    /// Returns the place of a chart in a registry.
    fn in_registry(&self) -> Option<Result<ImageRef, String>> {
        let rest = self.chart.strip_prefix("oci://")?;
        // A tag can't hold what versions may.
        let tag = self.version.replace('+', "_");
        let image = match rest.split_once('/') {
            Some((registry, path)) if !registry.is_empty() && !path.is_empty() => {
                ImageRef::parse(&format!("{}:{tag}", rest.trim_end_matches('/')))
            }
            _ => Err(String::new()),
        };
        Some(image.map_err(|_| {
            format!(
                "`{}` is no reference to a chart in a registry: `oci://registry/path/chart`",
                self.chart
            )
        }))
    }

    fn index_at(&self) -> String {
        format!("{}/index.yaml", self.repo.trim_end_matches('/'))
    }

    /// Returns whether mirrors stand in the way to it: then the cluster is not to fetch it by itself.
    #[must_use]
    pub fn is_mirrored(&self, mirrors: &[Mirror]) -> bool {
        let first = match self.in_registry() {
            Some(Ok(image)) => Registry::manifest_at(&image, image.key()),
            Some(Err(_)) => return false,
            None if self.chart.contains("://") => self.chart.to_owned(),
            None => self.index_at(),
        };
        artifact::mirrored(&first, mirrors) != first
    }
}

/// Returns the archive and its SHA-256, from the cache if it is there.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn fetch(wanted: Wanted<'_>, mirrors: &[Mirror]) -> Result<(PathBuf, String), String> {
    if !wanted.sha256.is_empty()
        && let Some(path) = artifact::cached(wanted.sha256).await
    {
        return Ok((path, wanted.sha256.to_owned()));
    }
    if let Some(image) = wanted.in_registry()
        && !wanted.sha256.is_empty()
    {
        let registry = Registry::new(mirrors);
        let layer = layer(wanted.sha256);
        let file = registry.blob(&image?, &layer).await?;
        return Ok((file, wanted.sha256.to_owned()));
    }
    let found = locate(wanted, mirrors).await?;
    Ok((found.file, found.sha256))
}

/// Finds a chart from the inputs of its step, for those who fetch it ahead of time.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn ahead(given: &Values, mirrors: &[Mirror]) -> Result<ChartArchive, String> {
    let sha256 = inputs::text(given, "sha256")?.to_ascii_lowercase();
    let wanted = Wanted {
        chart: inputs::text(given, "chart")?,
        repo: inputs::text(given, "repo")?,
        version: inputs::text(given, "version")?,
        sha256: &sha256,
    };
    find(wanted, mirrors).await
}

/// As [`ahead`], from what names the chart.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn find(wanted: Wanted<'_>, mirrors: &[Mirror]) -> Result<ChartArchive, String> {
    locate(wanted, mirrors).await
}

/// Returns what names the chart of a step: where it is, which, which version.
///
/// # Errors
/// When the inputs make no sense.
pub fn names(given: &Values) -> Result<String, String> {
    let text = |name| inputs::text(given, name);
    Ok(format!(
        "{} {} {}",
        text("repo")?,
        text("chart")?,
        text("version")?
    ))
}

fn layer(sha256: &str) -> Descriptor {
    Descriptor {
        media_type: LAYER.to_owned(),
        digest: format!("sha256:{sha256}"),
        size: 0,
        platform: None,
    }
}

/// Goes the whole way, from what names the chart to its archive.
async fn locate(wanted: Wanted<'_>, mirrors: &[Mirror]) -> Result<ChartArchive, String> {
    let pinned = !wanted.sha256.is_empty();
    if let Some(image) = wanted.in_registry() {
        let image = image?;
        let registry = Registry::new(mirrors);
        let manifest = registry.manifest(&image, image.key()).await?;
        let layers = manifest.layers().iter();
        let archive = layers
            .clone()
            .find(|layer| layer.media_type == LAYER)
            .ok_or_else(|| format!("{image} is no chart"))?;
        if pinned && archive.hex() != wanted.sha256 {
            return Err(format!(
                "{} {} has sha256 {}, wanted {}: it was replaced, or another was pinned; find out which before `foundry stack pin --update --accept` takes the new one",
                wanted.chart,
                wanted.version,
                archive.hex(),
                wanted.sha256
            ));
        }
        return Ok(ChartArchive {
            url: Registry::blob_at(&image, &archive.digest),
            file: registry.blob(&image, archive).await?,
            sha256: archive.hex().to_owned(),
            pinned,
            listed: true,
            found_by: FoundBy::Manifest(
                Registry::manifest_at(&image, image.key()),
                manifest.text.clone(),
            ),
        });
    }
    let (url, digest, index) = if wanted.chart.contains("://") {
        (wanted.chart.to_owned(), String::new(), None)
    } else {
        let at = wanted.index_at();
        let index = artifact::mirrored(&at, mirrors);
        let text = artifact::text(&index, LONGEST).await?;
        let entry = in_index(&text, wanted.chart, wanted.version)
            .map_err(|why| format!("{index} {why}"))?;
        let place = entry.urls.first().map_or("", String::as_str);
        (
            absolute(wanted.repo, place),
            entry.digest.clone(),
            Some((at, entry)),
        )
    };
    let listed = !digest.is_empty();
    let held_to = if pinned {
        wanted.sha256.to_owned()
    } else {
        digest
    };
    let (file, sha256) = if held_to.is_empty() {
        artifact::unpinned(&url, mirrors).await?
    } else {
        (artifact::fetched(&url, &held_to, mirrors).await?, held_to)
    };
    let found_by = match index {
        None => FoundBy::Nothing,
        Some((at, entry)) => {
            let entry = Entry {
                name: wanted.chart.to_owned(),
                urls: vec![url.clone()],
                digest: sha256.clone(),
                ..entry
            };
            let entries = [(wanted.chart.to_owned(), vec![entry])].into();
            FoundBy::Index(at, written(entries))
        }
    };
    Ok(ChartArchive {
        url,
        file,
        sha256,
        pinned,
        listed,
        found_by,
    })
}

/// Puts the charts of one index into another; of the same version, the later one's counts.
///
/// # Errors
/// When either is none.
pub fn merged(earlier: &str, later: &str) -> Result<String, String> {
    let read = |text: &str| {
        read_yaml::<Index>(text, LONGEST).map_err(|error| format!("no chart repository: {error}"))
    };
    let mut entries = read(earlier)?.entries;
    for (chart, new) in read(later)?.entries {
        let of = entries.entry(chart).or_default();
        let all = std::mem::take(of).into_iter().chain(new);
        let by_version: BTreeMap<String, Entry> =
            all.map(|entry| (entry.version.clone(), entry)).collect();
        *of = by_version.into_values().collect();
    }
    Ok(written(entries))
}

fn written(entries: BTreeMap<String, Vec<Entry>>) -> String {
    let index = Index {
        api_version: v1(),
        entries,
    };
    serde_yaml::to_string(&index).unwrap_or_default()
}

fn in_index(text: &str, chart: &str, version: &str) -> Result<Entry, String> {
    let index: Index =
        read_yaml(text, LONGEST).map_err(|error| format!("is no chart repository: {error}"))?;
    let entries = index
        .entries
        .get(chart)
        .ok_or_else(|| format!("has no chart `{chart}`"))?;
    let plain = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
    let mut entry = entries
        .iter()
        .find(|entry| plain(&entry.version) == plain(version) && !entry.urls.is_empty())
        .cloned()
        .ok_or_else(|| format!("has no version {version} of `{chart}`"))?;
    let digest = entry
        .digest
        .trim_start_matches("sha256:")
        .to_ascii_lowercase();
    // Not every repository says a digest, and what is none says nothing.
    entry.digest = match is_digest(&format!("sha256:{digest}")) {
        true => digest,
        false => String::new(),
    };
    Ok(entry)
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
        let entry = in_index(index, "zot", "0.1.0").unwrap();
        assert_eq!(entry.urls, ["charts/zot-0.1.0.tgz"]);
        assert_eq!(
            in_index(index, "zot", "9").err().unwrap(),
            "has no version 9 of `zot`"
        );
        assert_eq!(
            in_index(index, "loki", "9").err().unwrap(),
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

    fn wanted<'a>(chart: &'a str, repo: &'a str, sha256: &'a str) -> Wanted<'a> {
        Wanted {
            chart,
            repo,
            version: "1.2.0+b",
            sha256,
        }
    }

    #[test]
    fn charts_in_registries_are_found_by_their_version() {
        let of = |chart| wanted(chart, "", "").in_registry();
        let image = of("oci://ghcr.io/org/charts/zot/").unwrap().unwrap();
        assert_eq!(image.to_string(), "ghcr.io/org/charts/zot:1.2.0_b");
        assert!(of("https://ghcr.io/x").is_none());
        for wrong in ["oci://ghcr.io", "oci:///x", "oci://ghcr.io/A"] {
            assert!(of(wrong).unwrap().unwrap_err().contains("oci://registry/"));
        }
        let mirrors = [Mirror {
            prefix: "https://ghcr.io/".to_owned(),
            url: "file:///srv/".to_owned(),
            digests: crate::config::MirrorDigests::Pinned,
        }];
        assert!(wanted("oci://ghcr.io/org/zot", "", "").is_mirrored(&mirrors));
        assert!(!wanted("oci://quay.io/org/zot", "", "").is_mirrored(&mirrors));
        assert!(!wanted("zot", "https://charts.example", "").is_mirrored(&mirrors));
        assert!(wanted("zot", "https://ghcr.io/charts/", "").is_mirrored(&mirrors));
    }

    #[test]
    fn indexes_are_put_together_and_the_later_one_counts() {
        let index = |chart: &str, version: &str, url: &str| {
            format!("entries:\n  {chart}:\n  - {{ version: {version}, urls: [{url}] }}\n")
        };
        let one = merged(&index("a", "2.0.0", "x"), &index("b", "1.0.0", "y")).unwrap();
        let two = merged(&one, &index("a", "1.0.0", "z")).unwrap();
        let three = merged(&two, &index("a", "2.0.0", "new")).unwrap();
        let found = |version| in_index(&three, "a", version).unwrap().urls;
        assert_eq!(
            (found("1.0.0"), found("2.0.0")),
            (vec!["z".to_owned()], vec!["new".to_owned()])
        );
        assert!(in_index(&three, "b", "1.0.0").is_ok());
        assert_eq!(merged(&three, &three).unwrap(), three);
        assert!(merged("<html>", &one).is_err());
    }

    #[test]
    fn a_deep_or_long_index_takes_no_time() {
        let began = std::time::Instant::now();
        let deep = format!("entries: {}", "[".repeat(200_000));
        assert!(merged(&deep, "entries: {}").is_err());
        assert!(in_index(&deep, "a", "1").is_err());
        let many = |from: u32| {
            let entries = (from..from + 20_000).map(|n| format!("  - {{ version: {n}.0.0 }}\n"));
            format!("entries:\n  a:\n{}", entries.collect::<String>())
        };
        let both = merged(&many(0), &many(10_000)).unwrap();
        assert_eq!(both.matches("version:").count(), 30_000);
        // A comparison of each with each would be 400 million of them.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_chart_without_a_digest_is_taken_as_it_is_and_its_digest_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mirrors = [Mirror {
            prefix: "https://charts.example/".to_owned(),
            url: format!("file://{}/", folder.path().display()),
            digests: crate::config::MirrorDigests::Pinned,
        }];
        std::fs::write(folder.path().join("zot.tgz"), "archive").unwrap();
        std::fs::write(
            folder.path().join("index.yaml"),
            "entries:\n  zot:\n  - { version: 1.2.0+b, urls: [zot.tgz] }\n",
        )
        .unwrap();
        let repo = "https://charts.example";
        let found = locate(wanted("zot", repo, ""), &mirrors).await.unwrap();
        use sha2::Digest as _;
        assert_eq!(found.sha256, hex::encode(sha2::Sha256::digest("archive")));
        assert!(!found.pinned);
        assert_eq!(found.url, "https://charts.example/zot.tgz");
        let FoundBy::Index(at, text) = &found.found_by else {
            panic!("{found:?}");
        };
        assert_eq!(at, "https://charts.example/index.yaml");
        assert!(text.contains(&found.sha256), "{text}");

        // What an index says it is, it must be.
        let said = format!(
            "entries:\n  zot:\n  - {{ version: 1.2.0+b, urls: [zot.tgz], digest: {} }}\n",
            "0".repeat(64)
        );
        std::fs::write(folder.path().join("index.yaml"), said).unwrap();
        let error = locate(wanted("zot", repo, ""), &mirrors).await.unwrap_err();
        assert!(
            error.contains(&found.sha256) && error.contains("000000"),
            "{error}"
        );
    }
}
