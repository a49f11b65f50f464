//! The images of a bundle as wholes: whether all of each is there, and the OCI image layout that a loaded folder has of them
//! (`.oci`, all links), for whoever pushes them into a registry. Does not know how they get on hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::index::{Entry, Index, Kind};
use super::load::{link, replace};
use super::{BundleError, local};
use crate::catalog::ImageRef;
use crate::target::artifact::{Descriptor, Manifest, layout};

/// Folder of the layout, within the loaded one.
const FOLDER: &str = ".oci";

/// Says what images lack. `manifests` are those that the bundle itself holds, by their BLAKE3 digest.
pub(super) fn faults(index: &Index, manifests: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let there: BTreeMap<&str, &Entry> = index
        .entries
        .iter()
        .map(|entry| (entry.sha256.as_str(), entry))
        .collect();
    let mut faults = BTreeSet::new();
    for image in &index.images {
        let hex = image.digest.trim_start_matches("sha256:");
        if !there.contains_key(hex) {
            faults.insert(format!(
                "{} lacks its manifest, {}",
                image.name, image.digest
            ));
        }
    }
    let own = index
        .entries
        .iter()
        .filter(|entry| entry.kind == Kind::Manifest);
    for entry in own {
        let Some(text) = manifests.get(&entry.blake3) else {
            continue;
        };
        match Manifest::parse(text.clone()) {
            Ok(manifest) => {
                for blob in manifest.blobs() {
                    match there.get(blob.hex()) {
                        None => _ = faults.insert(format!("{} lacks {}", entry.url, blob.digest)),
                        Some(found) if found.size != blob.size => {
                            faults.insert(format!(
                                "{} has {} bytes, its manifest says {}",
                                found.url, found.size, blob.size
                            ));
                        }
                        Some(_) => {}
                    }
                }
            }
            Err(why) => _ = faults.insert(format!("{} {why}", entry.url)),
        }
    }
    faults.into_iter().collect()
}

/// Makes the layout, or adds to it.
pub(super) fn link_all(index: &Index, contents: &Path, folder: &Path) -> Result<(), BundleError> {
    if index.images.is_empty() {
        return Ok(());
    }
    let folder = folder.join(FOLDER);
    let blobs = folder.join("blobs/sha256");
    let of_images = index
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Manifest | Kind::Blob));
    let mut sizes = BTreeMap::new();
    for entry in of_images {
        let place = blobs.join(&entry.sha256);
        sizes.insert(entry.sha256.as_str(), entry.size);
        if !place.exists() {
            link(&contents.join(&entry.blake3), &place)?;
        }
    }
    let images: Vec<(Vec<String>, Descriptor)> = index
        .images
        .iter()
        .filter_map(|image| {
            let hex = image.digest.trim_start_matches("sha256:");
            let about = Descriptor {
                media_type: image.media_type.clone(),
                digest: image.digest.clone(),
                size: *sizes.get(hex)?,
                platform: None,
            };
            Some((ImageRef::parse(&image.name).ok()?.names(), about))
        })
        .collect();
    let at = folder.join(layout::INDEX);
    let there = match fs::read(&at) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or(Value::Null),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(local(&at)(error)),
    };
    let whole = with(&there, layout::index(&images));
    replace(&folder.join(layout::MARK.0), layout::MARK.1.as_bytes())?;
    replace(&at, whole.to_string().as_bytes())
}

/// Returns the new index with those images of the earlier one whose names it does not have.
fn with(earlier: &Value, mut new: Value) -> Value {
    let name = |entry: &Value| {
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        name.as_str().unwrap_or_default().to_owned()
    };
    let Some(entries) = new["manifests"].as_array_mut() else {
        return new;
    };
    let names: BTreeSet<String> = entries.iter().map(name).collect();
    let kept = earlier["manifests"].as_array().into_iter().flatten();
    entries.extend(kept.filter(|entry| !names.contains(&name(entry))).cloned());
    entries.sort_by_key(name);
    new
}
