//! Unpacks a bundle into a folder whose names `mirrors` can point to; beside them an OCI image layout of all images. Loading
//! again mends what a load that was cut short, or anything else, left behind; a later bundle adds what is new. Does not touch the
//! config.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::folder::Store;
use super::index::{Entry, Index, Kind, place};
use super::read::Trust;
use super::sign::Signed;
use super::{BundleError, layout, local, read};
use crate::config::{Mirror, MirrorDigests};
use crate::target::artifact::store::{NAMES, Recorded};
use crate::target::cluster::chart;

/// A loaded bundle.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds.
    pub index: Index,
    /// Who signed it.
    pub signed: Signed,
    /// What belongs under `mirrors:` of the config, in this order.
    pub mirrors: Vec<Mirror>,
}

/// Unpacks the bundle at `path` into `folder`, which must be absolute. Nothing is written before its index was found
/// signed by somebody who is trusted, and sensible,
/// and nothing stands under an address before all of the bundle was found whole. What is in the folder already is read again:
/// no file is taken for what its name says.
///
/// # Errors
/// When it can't be read or written, is damaged, not trusted, or builds on an earlier one that was not loaded here.
pub fn load(path: &Path, folder: &Path, trust: &Trust) -> Result<Loaded, BundleError> {
    let head = read::head(path, &trust.keys)?;
    head.judge(path, trust)?;
    let index = &head.index;
    let mut store = Store::open(folder)?;
    let by_content = index.by_content();
    let mut missing = BTreeSet::new();
    let mut there = BTreeSet::new();
    for (&digest, &entry) in &by_content {
        if store.has(entry)? {
            there.insert(digest);
        } else if entry.earlier {
            missing.insert(entry.url.clone());
        }
    }
    if !missing.is_empty() {
        return Err(BundleError::Earlier {
            path: path.display().to_string(),
            missing: missing.into_iter().collect(),
        });
    }
    read::contents(path, &head, |entry, content| {
        if there.contains(entry.blake3.as_str()) {
            return io::copy(content, &mut io::sink()).map(drop);
        }
        store.stage(entry, content)
    })?;
    for entry in by_content.values() {
        store.take_in(entry)?;
    }
    for entry in &index.entries {
        name(entry, &mut store)?;
    }
    layout::link_all(index, &mut store)?;
    store.keep()?;
    let mirrors = mirrors(index, folder).map_err(local(folder))?;
    let read::Head { index, signed, .. } = head;
    Ok(Loaded {
        index,
        signed,
        mirrors,
    })
}

/// Puts the content of an entry under its address, and on record.
fn name(entry: &Entry, store: &mut Store) -> Result<(), BundleError> {
    let Some(place) = place(&entry.url) else {
        return Ok(());
    };
    let parts: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
    let name = parts.join("/");
    let at = Path::new(NAMES).join(&place);
    let mut contents = vec![entry.blake3.clone()];
    let earlier = store.record.names.get(&name);
    if entry.kind == Kind::ChartIndex
        && let Some(earlier) = earlier
    {
        // The index of a chart repository has the charts that were there before.
        let earlier = earlier.contents.iter();
        contents = earlier
            .filter(|digest| **digest != entry.blake3)
            .cloned()
            .chain(contents)
            .collect();
    }
    let (mut sha256, mut size) = (entry.sha256.clone(), entry.size);
    match merged(&contents, store)? {
        Some(text) => {
            use sha2::Digest as _;
            (sha256, size) = (hex::encode(sha2::Sha256::digest(&text)), text.len() as u64);
            store.replace(&at, text.as_bytes())?;
        }
        None => store.link(&entry.blake3, &at)?,
    }
    let recorded = Recorded {
        sha256,
        size,
        contents,
    };
    store.record.names.insert(name, recorded);
    Ok(())
}

/// Returns the index of a chart repository with the charts of all these; nothing where there is nothing to put together.
fn merged(contents: &[String], store: &Store) -> Result<Option<String>, BundleError> {
    let [first, later @ ..] = contents else {
        return Ok(None);
    };
    if later.is_empty() {
        return Ok(None);
    }
    let mut whole = store.text(first)?;
    for digest in later {
        let text = store.text(digest)?;
        // What leads to a chart in a registry is a manifest: the later one counts.
        whole = chart::merged(&whole, &text).unwrap_or(text);
    }
    Ok(Some(whole))
}

/// Returns what the config needs to find the folder: one entry for all, before it one for each folder of repackaged files.
fn mirrors(index: &Index, folder: &Path) -> io::Result<Vec<Mirror>> {
    let parent = |url: &str| url.rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
    let repackaged: BTreeSet<String> = index
        .entries
        .iter()
        .filter(|entry| entry.repackaged)
        .filter_map(|entry| parent(&entry.url))
        .collect();
    let root = reqwest::Url::from_directory_path(folder.join(NAMES))
        .map_err(|()| io::Error::other("is no absolute path"))?
        .to_string();
    // What is written in an address stays as it is: `file:` addresses are read as those of the web are.
    let there = |prefix: &str| {
        let rest = prefix.split_once("://").map_or(prefix, |(_, rest)| rest);
        format!("{root}{rest}")
    };
    let mut mirrors: Vec<Mirror> = repackaged
        .into_iter()
        .map(|prefix| Mirror {
            url: there(&prefix),
            prefix,
            digests: MirrorDigests::Mirror,
        })
        .collect();
    let schemes: BTreeSet<&str> = index
        .entries
        .iter()
        .filter_map(|entry| entry.url.split_once("://"))
        .map(|(scheme, _)| scheme)
        .collect();
    mirrors.extend(schemes.into_iter().map(|scheme| Mirror {
        prefix: format!("{scheme}://"),
        url: root.clone(),
        digests: MirrorDigests::Pinned,
    }));
    Ok(mirrors)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::ops::bundle::{self, Content, Gathered, Held, Known, Part, Verified, earlier};
    use serde_json::json;
    use sha2::Digest as _;
    use std::collections::BTreeMap;

    const TOOL: &str = "https://up.example/v1%2Bk3s1/tool.tar.gz";
    const SUMS: &str = "https://up.example/v1%2Bk3s1/sums.txt";

    fn any() -> Trust {
        Trust {
            unsigned: true,
            ..Trust::default()
        }
    }

    fn verify(path: &Path) -> Result<Verified, BundleError> {
        bundle::verify(path, &any())
    }

    fn load(path: &Path, folder: &Path) -> Result<Loaded, BundleError> {
        bundle::load(path, folder, &any())
    }

    struct Rig {
        folder: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn part(&self, url: &str, text: &str, digests: MirrorDigests) -> Part {
            let sha256 = hex::encode(sha2::Sha256::digest(text));
            let file = self.at(&sha256);
            fs::write(&file, text).unwrap();
            Part {
                url: url.to_owned(),
                kind: Kind::Artifact,
                content: Content::File(file),
                sha256,
                repackaged: digests == MirrorDigests::Mirror,
                as_found: false,
                steps: ["tool:artifact".to_owned()].into(),
            }
        }

        fn bundle(
            &self,
            name: &str,
            parts: Vec<Part>,
            earlier: &BTreeMap<String, Known>,
        ) -> PathBuf {
            let images = Vec::new();
            self.whole(name, Gathered { parts, images }, earlier)
        }

        fn whole(&self, name: &str, all: Gathered, earlier: &BTreeMap<String, Known>) -> PathBuf {
            let path = self.at(name);
            bundle::create(
                &path,
                "lab",
                &["linux/amd64".to_owned()],
                all,
                earlier,
                None,
            )
            .unwrap();
            path
        }
    }

    fn text(url: &str, kind: Kind, text: &str) -> Part {
        Part::text(
            url.to_owned(),
            kind,
            text.as_bytes().to_vec(),
            &BTreeSet::new(),
        )
    }

    /// An image of one layer, in a repository.
    fn image(repository: &str, layer: &str) -> Gathered {
        let base = format!("https://reg.example/v2/{repository}");
        let digest = |text: &str| format!("sha256:{}", hex::encode(sha2::Sha256::digest(text)));
        let about =
            |text: &str| json!({ "mediaType": "x", "digest": digest(text), "size": text.len() });
        let manifest =
            json!({ "schemaVersion": 2, "config": about("{}"), "layers": [about(layer)] });
        let manifest = manifest.to_string();
        let at = digest(&manifest);
        Gathered {
            parts: vec![
                text(&format!("{base}/manifests/1"), Kind::Manifest, &manifest),
                text(&format!("{base}/manifests/{at}"), Kind::Manifest, &manifest),
                text(&format!("{base}/blobs/{}", digest("{}")), Kind::Blob, "{}"),
                text(
                    &format!("{base}/blobs/{}", digest(layer)),
                    Kind::Blob,
                    layer,
                ),
            ],
            images: vec![Held {
                name: format!("reg.example/{repository}:1"),
                digest: at,
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                platforms: vec!["linux/amd64".to_owned()],
                size: 0,
                steps: BTreeSet::new(),
            }],
        }
    }

    #[test]
    fn images_come_out_as_a_registry_and_as_a_layout() {
        let rig = Rig::new();
        let nothing = BTreeMap::new();
        let mut both = image("a", "shared layer");
        let b = image("b", "shared layer");
        both.parts.extend(b.parts);
        both.images.extend(b.images);
        let path = rig.whole("one.tar", both, &nothing);
        let verified = verify(&path).unwrap();
        // One manifest, one config, one layer: each once, under eight addresses.
        assert_eq!(verified.index.entries.len(), 8);
        assert_eq!(verified.index.held().len(), 3);
        let folder = rig.at("mirror");
        load(&path, &folder).unwrap();
        load(
            &rig.whole("two.tar", image("c", "another"), &nothing),
            &folder,
        )
        .unwrap();
        let layout = folder.join("oci");
        let index: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(layout.join("index.json")).unwrap()).unwrap();
        let names: Vec<&str> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let hex = entry["digest"].as_str().unwrap().replace("sha256:", "");
                let text = fs::read(layout.join("blobs/sha256").join(&hex)).unwrap();
                assert_eq!(hex::encode(sha2::Sha256::digest(&text)), hex);
                entry["annotations"]["org.opencontainers.image.ref.name"]
                    .as_str()
                    .unwrap()
            })
            .collect();
        assert_eq!(
            names,
            ["reg.example/a:1", "reg.example/b:1", "reg.example/c:1"]
        );
        let manifest =
            fs::read_to_string(folder.join("mirror/reg.example/v2/a/manifests/1")).unwrap();
        assert!(manifest.contains("schemaVersion"));
    }

    #[test]
    fn an_image_that_lacks_something_is_named() {
        let rig = Rig::new();
        let mut broken = image("a", "layer");
        let gone = broken.parts.pop().unwrap();
        let path = rig.whole("one.tar", broken, &BTreeMap::new());
        let error = verify(&path).unwrap_err().to_string();
        assert!(
            error.contains("reg.example/v2/a/manifests/1 lacks") && error.contains(&gone.sha256),
            "{error}"
        );
    }

    #[test]
    fn charts_of_one_repository_are_found_by_one_index() {
        const AT: &str = "https://charts.example/index.yaml";
        let rig = Rig::new();
        let index =
            |chart: &str| format!("entries:\n  {chart}:\n  - version: 1.0.0\n    urls: [x]\n");
        let parts = vec![
            text(AT, Kind::ChartIndex, &index("b")),
            text(AT, Kind::ChartIndex, &index("a")),
        ];
        let path = rig.bundle("one.tar", parts, &BTreeMap::new());
        let folder = rig.at("mirror");
        load(&path, &folder).unwrap();
        let later = rig.bundle(
            "two.tar",
            vec![text(AT, Kind::ChartIndex, &index("c"))],
            &BTreeMap::new(),
        );
        load(&later, &folder).unwrap();
        let told = fs::read_to_string(folder.join("mirror/charts.example/index.yaml")).unwrap();
        for chart in ["a:", "b:", "c:"] {
            assert!(told.contains(&format!("\n  {chart}")), "{told}");
        }
        // The contents themselves stay what they are.
        load(&path, &folder).unwrap();
        for content in fs::read_dir(folder.join("contents")).unwrap() {
            let content = content.unwrap();
            if content.file_name() == ".lock" {
                continue;
            }
            let found = blake3::hash(&fs::read(content.path()).unwrap()).to_hex();
            assert_eq!(found.as_str(), content.file_name());
        }
    }

    #[test]
    fn what_goes_in_comes_out_under_its_address() {
        let rig = Rig::new();
        let parts = vec![
            rig.part(TOOL, "the tool", MirrorDigests::Mirror),
            text(SUMS, Kind::Checksums, "12  tool.tar.gz\n"),
            rig.part(
                "https://other.example/chart.tgz",
                "a chart",
                MirrorDigests::Pinned,
            ),
        ];
        let path = rig.bundle("one.tar", parts, &BTreeMap::new());
        let verified = verify(&path).unwrap();
        assert_eq!(verified.index.entries.len(), 3);
        let folder = rig.at("mirror");
        for _ in 0..2 {
            let loaded = load(&path, &folder).unwrap();
            let read = |at: &str| fs::read_to_string(folder.join("mirror").join(at)).unwrap();
            assert_eq!(read("up.example/v1+k3s1/tool.tar.gz"), "the tool");
            assert!(read("up.example/v1+k3s1/sums.txt").ends_with("  tool.tar.gz\n"));
            assert_eq!(read("other.example/chart.tgz"), "a chart");
            let root = folder.join("mirror");
            let root = root.display();
            let told: Vec<(String, String)> = loaded
                .mirrors
                .into_iter()
                .map(|mirror| (mirror.prefix, mirror.url))
                .collect();
            assert_eq!(
                told,
                [
                    (
                        "https://up.example/v1%2Bk3s1/".to_owned(),
                        format!("file://{root}/up.example/v1%2Bk3s1/")
                    ),
                    ("https://".to_owned(), format!("file://{root}/"))
                ]
            );
        }
    }

    #[test]
    fn the_same_parts_make_the_same_file() {
        let rig = Rig::new();
        let make = |name| {
            let parts = vec![rig.part(TOOL, "the tool", MirrorDigests::Pinned)];
            fs::read(rig.bundle(name, parts, &BTreeMap::new())).unwrap()
        };
        assert_eq!(make("one.tar"), make("two.tar"));
    }

    #[test]
    fn a_later_bundle_leaves_out_what_an_earlier_one_holds() {
        let rig = Rig::new();
        let old = rig.part(TOOL, "the tool", MirrorDigests::Pinned);
        let first = rig.bundle("one.tar", vec![old], &BTreeMap::new());
        let parts = vec![
            rig.part(TOOL, "the tool", MirrorDigests::Pinned),
            rig.part("https://up.example/new", "new", MirrorDigests::Pinned),
        ];
        let second = rig.bundle("two.tar", parts, &earlier(&first).unwrap());
        assert_eq!(verify(&second).unwrap().bytes, 3);
        let error = load(&second, &rig.at("bare")).unwrap_err().to_string();
        assert!(error.contains(TOOL), "{error}");
        load(&first, &rig.at("mirror")).unwrap();
        load(&second, &rig.at("mirror")).unwrap();
        assert!(rig.at("mirror/mirror/up.example/new").exists());
    }

    #[test]
    fn damage_is_named_and_nothing_of_it_is_loaded() {
        let rig = Rig::new();
        let parts = vec![rig.part(TOOL, "the tool", MirrorDigests::Pinned)];
        let path = rig.bundle("one.tar", parts, &BTreeMap::new());
        let whole = fs::read(&path).unwrap();

        let at = whole
            .windows(8)
            .position(|window| window == b"the tool")
            .unwrap();
        let mut bytes = whole.clone();
        bytes[at] = b'T';
        fs::write(&path, &bytes).unwrap();
        let error = load(&path, &rig.at("mirror")).unwrap_err().to_string();
        assert!(error.contains(TOOL) && error.contains("blake3"), "{error}");
        assert!(!rig.at("mirror/mirror/up.example").exists());

        for cut in [at + 4, at.next_multiple_of(512) - 512 - 100, 700, 10, 0] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(verify(&path).is_err(), "cut at {cut}");
        }
        fs::write(&path, b"no tar at all").unwrap();
        assert!(matches!(
            verify(&path).unwrap_err(),
            BundleError::Format { .. }
        ));
    }
}
