//! What a bundle holds, as its index says. Opens no file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::catalog::{ImageRef, is_digest};

/// Version of the format; another one is refused.
pub const FORMAT: u32 = 2;

/// Longest content that is read as a whole, in bytes: a manifest of an image or the index of a chart repository.
pub(super) const LONGEST_TEXT: u64 = 4 << 20;

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

    /// Returns the entries of each content, by its BLAKE3 digest: the first one stands for all.
    pub(super) fn by_content(&self) -> BTreeMap<&str, &Entry> {
        let mut all = BTreeMap::new();
        for entry in &self.entries {
            all.entry(entry.blake3.as_str()).or_insert(entry);
        }
        all
    }

    /// Says what is wrong with it, if anything is: it came from outside. Nothing of a bundle is written before this.
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
        let mut contents: HashMap<&str, &Entry> = HashMap::new();
        let mut by_sha256: HashMap<&str, &Entry> = HashMap::new();
        let mut places: HashMap<PathBuf, &Entry> = HashMap::new();
        for entry in &self.entries {
            if let Some(fault) = entry.fault() {
                return Some(fault);
            }
            // What is checked of one content is checked of all addresses that have it.
            let first = *contents.entry(&entry.blake3).or_insert(entry);
            let same = *by_sha256.entry(&entry.sha256).or_insert(entry);
            let of = |entry: &Entry| (entry.sha256.clone(), entry.size, entry.earlier);
            if of(first) != of(entry) || same.blake3 != entry.blake3 {
                let other = if of(first) == of(entry) { same } else { first };
                return Some(format!(
                    "{} and {} have one content and differ in what they say of it",
                    other.url, entry.url
                ));
            }
            let place = place(&entry.url)?;
            if let Some(other) = places.insert(place, entry)
                && other.blake3 != entry.blake3
            {
                return Some(format!(
                    "{} and {} are kept in one place",
                    other.url, entry.url
                ));
            }
        }
        // What is a file in the folder can be no folder there.
        places.iter().find_map(|(place, entry)| {
            let above = place
                .ancestors()
                .skip(1)
                .find_map(|above| places.get(above))?;
            Some(format!("{} lies below {}, a file", entry.url, above.url))
        })
    }
}

impl Entry {
    fn fault(&self) -> Option<String> {
        let hex = |text: &str| {
            let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == 64 && text.bytes().all(small)
        };
        if !hex(&self.blake3) || !hex(&self.sha256) {
            return Some(format!("{} has a digest that is none", self.url));
        }
        let Some(place) = place(&self.url) else {
            return Some(format!("{} can't be kept under its address", self.url));
        };
        let longest = match self.kind {
            Kind::Manifest | Kind::ChartIndex => LONGEST_TEXT,
            Kind::Artifact | Kind::Checksums | Kind::Chart | Kind::Blob => u64::MAX,
        };
        if self.size > longest {
            return Some(format!(
                "{} has {} bytes, {longest} is the most for what it is",
                self.url, self.size
            ));
        }
        // What a registry knows by its digest.
        let digest = place.file_name()?.to_str()?.strip_prefix("sha256:")?;
        let images = matches!(self.kind, Kind::Manifest | Kind::Blob);
        (images && digest != self.sha256)
            .then(|| format!("{} has sha256 {}", self.url, self.sha256))
    }
}

/// Returns where the content of an address lies below a loaded folder's names: the address without its scheme, with `%2B` and
/// the like as the characters that they stand for, as web servers and `file:` addresses have it. `None` where that would be
/// outside of them, or for what isn't fetched over HTTPS or HTTP.
#[must_use]
pub fn place(url: &str) -> Option<PathBuf> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/')?;
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if !host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        || !host.bytes().all(in_host)
    {
        return None;
    }
    let mut place = PathBuf::from(host);
    for part in path.split('/') {
        let plain = percent_decode_str(part).decode_utf8().ok()?;
        let never = |character: char| matches!(character, '/' | '\\') || character.is_control();
        if matches!(&*plain, "" | "." | "..") || plain.len() > 255 || plain.contains(never) {
            return None;
        }
        place.push(&*plain);
    }
    // Longer ones no system opens.
    (place.as_os_str().len() <= 2048).then_some(place)
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
            "https://.blobs/x",
            "https://%2eblobs/x",
            "https:///x",
            "https://-/x",
            "https://a b/x",
            "https://a/\u{1b}[2J",
            "https://a/x%0ay",
        ] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
