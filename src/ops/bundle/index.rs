//! What a bundle holds, as its index says. Opens no file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::catalog::{ImageRef, is_digest};

/// Version of the format; another one is refused.
pub const FORMAT: u32 = 2;

/// The index of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Version of the format.
    pub format: u32,
    /// Stack that it was made for.
    pub stack: String,
    /// Platforms that it was made for: `linux/amd64`.
    pub platforms: Vec<String>,
    /// All that the stack needs, sorted by address; what an earlier bundle holds too.
    pub entries: Vec<Entry>,
    /// Container images, sorted by name: their manifests and blobs are entries.
    pub images: Vec<Held>,
}

/// An image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its name, in full.
    pub name: String,
    /// `sha256:…` of what the registry knew by that name: a list, or one platform's manifest.
    pub digest: String,
    /// What that is.
    pub media_type: String,
    /// Platforms that are there.
    pub platforms: Vec<String>,
    /// Of all of it, in bytes.
    pub size: u64,
    /// What needs it: labels of steps without their hosts, names of components.
    pub steps: BTreeSet<String>,
}

/// One thing that is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Address, as recipes write it.
    pub url: String,
    /// What it is.
    pub kind: Kind,
    /// BLAKE3 of its content in hex: the name it is kept by.
    pub blake3: String,
    /// SHA-256 of its content in hex, what recipes and hosts hold it to.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// Whether it was repackaged by a mirror, whose own checksum file then counts.
    pub repackaged: bool,
    /// Whether nothing said beforehand which digest it must have: what there was is what was taken.
    pub as_found: bool,
    /// Whether its content is in an earlier bundle and so not in this one.
    pub earlier: bool,
    /// Labels of the steps that fetch it, without their hosts.
    pub steps: BTreeSet<String>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A download that steps install.
    Artifact,
    /// A release's file of checksums.
    Checksums,
    /// The archive of a chart.
    Chart,
    /// What leads to the archive of a chart: a repository's index, with nothing but what is needed, or a manifest.
    ChartIndex,
    /// A manifest of an image, or a list of them.
    Manifest,
    /// A config or layer of an image.
    Blob,
}

impl Index {
    /// Returns the BLAKE3 digests of the contents that the bundle itself holds, sorted, each once.
    #[must_use]
    pub fn held(&self) -> BTreeSet<&str> {
        self.entries
            .iter()
            .filter(|entry| !entry.earlier)
            .map(|entry| entry.blake3.as_str())
            .collect()
    }

    /// Says what is wrong with it, if anything is: it came from outside.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!(
                "it is of format {}, this Foundry knows {FORMAT}",
                self.format
            ));
        }
        if let Some(image) = self
            .images
            .iter()
            .find(|image| !is_digest(&image.digest) || ImageRef::parse(&image.name).is_err())
        {
            return Some(format!("`{}` is no image with a digest", image.name));
        }
        let hex =
            |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.entries.iter().find_map(|entry| {
            if !hex(&entry.blake3) || !hex(&entry.sha256) {
                Some(format!("{} has a digest that is none", entry.url))
            } else if place(&entry.url).is_none() {
                Some(format!("{} can't be kept under its address", entry.url))
            } else {
                // What a registry knows by its digest.
                let (_, digest) = entry.url.rsplit_once("/sha256:")?;
                let images = matches!(entry.kind, Kind::Manifest | Kind::Blob);
                (images && digest != entry.sha256)
                    .then(|| format!("{} has sha256 {}", entry.url, entry.sha256))
            }
        })
    }
}

/// Returns where the content of an address lies in a loaded folder: the address without its scheme, with `%2B` and the
/// like as the characters that they stand for, as web servers and `file:` addresses have it. `None` where that would be
/// outside of the folder, or for what isn't fetched over HTTPS or HTTP.
#[must_use]
pub fn place(url: &str) -> Option<PathBuf> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/')?;
    let mut place = PathBuf::new();
    for part in [host].into_iter().chain(path.split('/')) {
        let plain = percent_decode_str(part).decode_utf8().ok()?;
        if plain.is_empty() || plain == "." || plain == ".." || plain.contains(['/', '\\', '\0']) {
            return None;
        }
        place.push(&*plain);
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_within_the_folder_or_not_at_all() {
        assert_eq!(
            place("https://github.com/a/b%2Bc/d.tar.gz"),
            Some(PathBuf::from("github.com/a/b+c/d.tar.gz"))
        );
        for wrong in [
            "https://a/../../etc/passwd",
            "https://a//etc",
            "https://../x",
            "https://a",
            "file:///etc/passwd",
            "https://a/..",
            "https://a/%2e%2e/b",
            "https://a/b%2Fc",
            "https://a/",
        ] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
