//! Unpacks a bundle into a folder that `mirrors` can point to: contents by their digest, and under each address a hard link
//! to one. Loading again, or a later bundle, adds what is new. Does not touch the config.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::index::{Index, place};
use super::{BundleError, local, read};
use crate::config::{Mirror, MirrorDigests};

/// Contents by their digest, within the folder.
const CONTENTS: &str = ".blobs";

/// A loaded bundle.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds.
    pub index: Index,
    /// What belongs under `mirrors:` of the config, in this order.
    pub mirrors: Vec<Mirror>,
}

/// Unpacks the bundle at `path` into `folder`, which must be absolute. Nothing stands under an address before all of the
/// bundle was found whole.
///
/// # Errors
/// When it can't be read or written, is damaged, or builds on an earlier one that was not loaded here.
pub fn load(path: &Path, folder: &Path) -> Result<Loaded, BundleError> {
    let contents = folder.join(CONTENTS);
    fs::create_dir_all(&contents).map_err(local(&contents))?;
    // Contents are put beside their names and get them once their digests were found right.
    let staging = tempfile::Builder::new()
        .prefix(".loading-")
        .tempdir_in(folder)
        .map_err(local(folder))?;
    let index = read::read(path, |digest, content| {
        if contents.join(digest).exists() {
            return io::copy(content, &mut io::sink()).map(drop);
        }
        let mut file = fs::File::create(staging.path().join(digest))?;
        io::copy(content, &mut file)?;
        file.sync_all()
    })?;
    for digest in index.held() {
        let staged = staging.path().join(digest);
        if staged.exists() {
            fs::rename(&staged, contents.join(digest)).map_err(local(&staged))?;
        }
    }
    let missing: Vec<String> = index
        .entries
        .iter()
        .filter(|entry| !contents.join(&entry.blake3).exists())
        .map(|entry| entry.url.clone())
        .collect();
    if !missing.is_empty() {
        return Err(BundleError::Earlier {
            path: path.display().to_string(),
            missing,
        });
    }
    for entry in &index.entries {
        if let Some(place) = place(&entry.url) {
            link(&contents.join(&entry.blake3), &folder.join(&place))?;
        }
    }
    let mirrors = mirrors(&index, folder);
    Ok(Loaded { index, mirrors })
}

/// Puts a content under an address, in place of what stood there.
fn link(content: &Path, place: &Path) -> Result<(), BundleError> {
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).map_err(local(parent))?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)
        .map_err(local(parent))?;
    let new = new.path().join("content");
    // A file system without hard links gets a copy.
    fs::hard_link(content, &new)
        .or_else(|_| fs::copy(content, &new).map(drop))
        .and_then(|()| fs::rename(&new, place))
        .map_err(local(place))
}

/// Returns what the config needs to find the folder: one entry for all, before it one for each folder of repackaged files.
fn mirrors(index: &Index, folder: &Path) -> Vec<Mirror> {
    let parent = |url: &str| url.rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
    let repackaged: BTreeSet<String> = index
        .entries
        .iter()
        .filter(|entry| entry.repackaged)
        .filter_map(|entry| parent(&entry.url))
        .collect();
    let root = format!("file://{}/", folder.display());
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
    mirrors
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ops::bundle::{Part, create, earlier, verify};
    use crate::target::artifact::Fetched;
    use sha2::Digest as _;

    const TOOL: &str = "https://up.example/v1%2Bk3s1/tool.tar.gz";
    const SUMS: &str = "https://up.example/v1%2Bk3s1/sums.txt";

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
            let listed_in = (digests == MirrorDigests::Mirror)
                .then(|| (SUMS.to_owned(), format!("{sha256}  tool.tar.gz\n")));
            Part {
                url: url.to_owned(),
                digests,
                steps: ["tool:artifact".to_owned()].into(),
                fetched: Fetched {
                    file,
                    sha256,
                    listed_in,
                },
            }
        }

        fn bundle(&self, name: &str, parts: Vec<Part>, earlier: &BTreeSet<String>) -> PathBuf {
            let path = self.at(name);
            create(&path, "lab", &["amd64".to_owned()], parts, earlier).unwrap();
            path
        }
    }

    #[test]
    fn what_goes_in_comes_out_under_its_address() {
        let rig = Rig::new();
        let parts = vec![
            rig.part(TOOL, "the tool", MirrorDigests::Mirror),
            rig.part(
                "https://other.example/chart.tgz",
                "a chart",
                MirrorDigests::Pinned,
            ),
        ];
        let path = rig.bundle("one.tar", parts, &BTreeSet::new());
        let verified = verify(&path).unwrap();
        assert_eq!(verified.index.entries.len(), 3);
        let folder = rig.at("mirror");
        for _ in 0..2 {
            let loaded = load(&path, &folder).unwrap();
            let read = |at: &str| fs::read_to_string(folder.join(at)).unwrap();
            assert_eq!(read("up.example/v1+k3s1/tool.tar.gz"), "the tool");
            assert!(read("up.example/v1+k3s1/sums.txt").ends_with("  tool.tar.gz\n"));
            assert_eq!(read("other.example/chart.tgz"), "a chart");
            let root = folder.display();
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
            fs::read(rig.bundle(name, parts, &BTreeSet::new())).unwrap()
        };
        assert_eq!(make("one.tar"), make("two.tar"));
    }

    #[test]
    fn a_later_bundle_leaves_out_what_an_earlier_one_holds() {
        let rig = Rig::new();
        let old = rig.part(TOOL, "the tool", MirrorDigests::Pinned);
        let first = rig.bundle("one.tar", vec![old], &BTreeSet::new());
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
        assert!(rig.at("mirror/up.example/new").exists());
    }

    #[test]
    fn damage_is_named_and_nothing_of_it_is_loaded() {
        let rig = Rig::new();
        let parts = vec![rig.part(TOOL, "the tool", MirrorDigests::Pinned)];
        let path = rig.bundle("one.tar", parts, &BTreeSet::new());
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
        assert!(!rig.at("mirror/up.example").exists());

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
