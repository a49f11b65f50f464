//! Fetches what is needed, side by side, through the mirrors and the cache. What can't be had is told all at once. Writes no
//! bundle.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};

use super::index::{Held, Kind};
use super::needs::Needs;
use super::{BundleError, Content, Known, Part};
use crate::catalog::ImageRef;
use crate::config::{Mirror, MirrorDigests};
use crate::target::artifact::{Descriptor, Download, Image, Manifest, Platform, Registry};
use crate::target::cluster::chart::{self, ChartArchive, FoundBy};

/// How many downloads run side by side.
const AT_ONCE: usize = 4;

/// Largest manifest of objects that is searched for images, in bytes.
const LONGEST: u64 = 16 << 20;

/// What was fetched.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Contents under their addresses.
    pub parts: Vec<Part>,
    /// Images as wholes.
    pub images: Vec<Held>,
}

/// Fetches everything. With `images` for these platforms; blobs of images that `earlier` has are not fetched again.
///
/// # Errors
/// What could not be had, all of it, each with its reason.
pub async fn gather(
    mut needs: Needs,
    images: Option<&[Platform]>,
    earlier: &BTreeMap<String, Known>,
    mirrors: &[Mirror],
) -> Result<Gathered, BundleError> {
    let mut gathered = Gathered::default();
    let mut missing = Vec::new();
    let downloads = std::mem::take(&mut needs.downloads);
    let fetched: Vec<_> = stream::iter(downloads.into_values())
        .map(|(download, steps)| async move { (download.fetch().await, download, steps) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (fetched, download, steps) in fetched {
        match fetched {
            Ok(fetched) => {
                if let Some(text) = objects(&download, &fetched.file).await {
                    steps.iter().for_each(|step| needs.named_in(&text, step));
                }
                gathered.download(download, fetched, steps);
            }
            Err(error) => missing.push((shown(&steps), error.to_string())),
        }
    }
    let charts: Vec<_> = stream::iter(std::mem::take(&mut needs.charts).into_values())
        .map(|(inputs, steps)| async move { (chart::ahead(&inputs, mirrors).await, steps) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (found, steps) in charts {
        match found {
            Ok(found) => gathered.chart(found, &steps),
            Err(why) => missing.push((shown(&steps), why)),
        }
    }
    if let Some(platforms) = images {
        gathered
            .images(needs.images, platforms, earlier, mirrors, &mut missing)
            .await;
    }
    if missing.is_empty() {
        gathered.images.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(gathered);
    }
    missing.sort();
    let missing = missing.into_iter();
    Err(BundleError::Missing {
        missing: missing
            .map(|(what, why)| format!("{what}: {why}"))
            .collect(),
    })
}

fn shown(steps: &BTreeSet<String>) -> String {
    steps
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the text of a manifest with objects.
async fn objects(download: &Download, file: &std::path::Path) -> Option<String> {
    if !download.is_manifest || tokio::fs::metadata(file).await.ok()?.len() > LONGEST {
        return None;
    }
    tokio::fs::read_to_string(file).await.ok()
}

impl Gathered {
    fn download(
        &mut self,
        download: Download,
        fetched: crate::target::artifact::Fetched,
        steps: BTreeSet<String>,
    ) {
        let repackaged = download.digests == MirrorDigests::Mirror;
        if let Some((url, text)) = fetched.listed_in {
            self.parts.push(Part {
                repackaged,
                ..Part::text(url, Kind::Checksums, text.into_bytes(), &steps)
            });
        }
        self.parts.push(Part {
            url: download.upstream,
            kind: Kind::Artifact,
            content: Content::File(fetched.file),
            sha256: fetched.sha256,
            repackaged,
            as_found: false,
            steps,
        });
    }

    fn chart(&mut self, found: ChartArchive, steps: &BTreeSet<String>) {
        let as_found = !found.pinned;
        match found.found_by {
            FoundBy::Nothing => {}
            FoundBy::Index(url, text) => {
                let part = Part::text(url, Kind::ChartIndex, text.into_bytes(), steps);
                self.parts.push(part);
            }
            FoundBy::Manifest(url, text) => {
                self.parts
                    .push(Part::text(url, Kind::ChartIndex, text, steps));
            }
        }
        self.parts.push(Part {
            url: found.url,
            kind: Kind::Chart,
            content: Content::File(found.file),
            sha256: found.sha256,
            repackaged: false,
            as_found,
            steps: steps.clone(),
        });
    }

    async fn images(
        &mut self,
        wanted: BTreeMap<ImageRef, BTreeSet<String>>,
        platforms: &[Platform],
        earlier: &BTreeMap<String, Known>,
        mirrors: &[Mirror],
        missing: &mut Vec<(String, String)>,
    ) {
        let registry = &Registry::new(mirrors);
        let pulled: Vec<_> =
            stream::iter(wanted)
                .map(|(image, steps)| async move {
                    (registry.image(&image, platforms).await, image, steps)
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        // A blob that many images of a repository have is fetched once.
        let mut blobs: BTreeMap<String, (ImageRef, Descriptor, BTreeSet<String>)> = BTreeMap::new();
        for (pulled, image, steps) in pulled {
            let pulled = match pulled {
                Ok(pulled) => pulled,
                Err(why) => {
                    missing.push((format!("{image} ({})", shown(&steps)), why));
                    continue;
                }
            };
            for (_, manifest) in &pulled.platforms {
                for blob in manifest.blobs() {
                    let url = Registry::blob_at(&image, &blob.digest);
                    let entry = blobs.entry(url);
                    let entry =
                        entry.or_insert_with(|| (image.clone(), blob.clone(), BTreeSet::new()));
                    entry.2.extend(steps.iter().cloned());
                }
            }
            self.manifests(&pulled, &steps);
            self.images.push(held(&pulled, steps));
        }
        let fetched: Vec<_> = stream::iter(blobs)
            .map(|(url, (image, blob, steps))| async move {
                let content = match earlier.get(blob.hex()) {
                    Some(known) => Ok(Content::Earlier(known.clone())),
                    None => registry.blob(&image, &blob).await.map(Content::File),
                };
                (url, image, blob, steps, content)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (url, image, blob, steps, content) in fetched {
            match content {
                Ok(content) => self.parts.push(Part {
                    url,
                    kind: Kind::Blob,
                    content,
                    sha256: blob.hex().to_owned(),
                    repackaged: false,
                    as_found: false,
                    steps,
                }),
                Err(why) => missing.push((format!("{image} ({})", shown(&steps)), why)),
            }
        }
    }

    /// Adds an image's manifests, under what they are asked for by: the reference, and each digest.
    fn manifests(&mut self, image: &Image, steps: &BTreeSet<String>) {
        let mut add = |key: &str, manifest: &Manifest| {
            let url = Registry::manifest_at(&image.reference, key);
            let part = Part::text(url, Kind::Manifest, manifest.text.clone(), steps);
            self.parts.push(part);
        };
        if let Some(tag) = &image.reference.tag {
            add(tag, &image.top);
        }
        add(&image.top.about.digest, &image.top);
        for (_, manifest) in &image.platforms {
            add(&manifest.about.digest, manifest);
        }
    }
}

fn held(image: &Image, steps: BTreeSet<String>) -> Held {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    sizes.insert(&image.top.about.digest, image.top.about.size);
    for (_, manifest) in &image.platforms {
        sizes.insert(&manifest.about.digest, manifest.about.size);
        sizes.extend(
            manifest
                .blobs()
                .map(|blob| (blob.digest.as_str(), blob.size)),
        );
    }
    Held {
        name: image.reference.to_string(),
        digest: image.top.about.digest.clone(),
        media_type: image.top.about.media_type.clone(),
        platforms: image
            .platforms
            .iter()
            .map(|(platform, _)| platform.to_string())
            .collect(),
        size: sizes.values().sum(),
        steps,
    }
}
