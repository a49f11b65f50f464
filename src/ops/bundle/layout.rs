//! The images of a bundle as wholes: whether all of each is there, and the OCI image layout that a loaded folder has of them (all
//! links), for whoever pushes them into a registry. Does not know how they get on hosts.

use std::collections::HashMap;

use super::BundleError;
use super::folder::Store;
use super::index::{Entry, Index, Kind};
use crate::catalog::ImageRef;
use crate::target::artifact::{Descriptor, Manifest, layout, store};

/// All contents that images may be made of.
pub(super) struct Parts<'a> {
    /// By SHA-256.
    there: HashMap<&'a str, &'a Entry>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(index: &'a Index) -> Self {
        let entries = index.entries.iter();
        Self {
            there: entries
                .map(|entry| (entry.sha256.as_str(), entry))
                .collect(),
        }
    }

    /// Names images without their first manifest.
    pub(super) fn faults(&self, index: &Index) -> Vec<String> {
        let lacking = index
            .images
            .iter()
            .filter(|image| !self.there.contains_key(hex(&image.digest)));
        lacking
            .map(|image| format!("{} lacks its manifest, {}", image.name, image.digest))
            .collect()
    }

    /// Names what a manifest tells of and is not there, or is another.
    pub(super) fn lacking(&self, entry: &Entry, text: Vec<u8>) -> Vec<String> {
        let manifest = match Manifest::parse(text) {
            Ok(manifest) => manifest,
            Err(why) => return vec![format!("{} {why}", entry.url)],
        };
        let fault = |blob: &Descriptor| match self.there.get(blob.hex()) {
            None => Some(format!("{} lacks {}", entry.url, blob.digest)),
            Some(found) if found.size != blob.size => Some(format!(
                "{} has {} bytes, its manifest says {}",
                found.url, found.size, blob.size
            )),
            Some(_) => None,
        };
        manifest.blobs().filter_map(fault).collect()
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// Makes the layout, or adds to it.
pub(super) fn link_all(index: &Index, store: &mut Store) -> Result<(), BundleError> {
    if index.images.is_empty() {
        return Ok(());
    }
    let parts = Parts::of(index);
    let of_images = index
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Manifest | Kind::Blob));
    for entry in of_images {
        let place = format!("{}/blobs/sha256/{}", store::IMAGES, entry.sha256);
        store.link(&entry.blake3, place.as_ref())?;
    }
    for image in &index.images {
        let Some(manifest) = parts.there.get(hex(&image.digest)) else {
            continue;
        };
        let about = Descriptor {
            media_type: image.media_type.clone(),
            digest: image.digest.clone(),
            size: manifest.size,
            platform: None,
        };
        store.record.images.insert(image.name.clone(), about);
    }
    let images: Vec<(Vec<String>, Descriptor)> = store
        .record
        .images
        .iter()
        .filter_map(|(name, about)| Some((ImageRef::parse(name).ok()?.names(), about.clone())))
        .collect();
    let text = layout::index(&images).to_string();
    let at = |name: &str| format!("{}/{name}", store::IMAGES);
    store.replace(at(layout::MARK.0).as_ref(), layout::MARK.1.as_bytes())?;
    store.replace(at(layout::INDEX).as_ref(), text.as_bytes())
}
