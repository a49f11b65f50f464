//! Asks upstream, through the mirrors, which digests downloads have. What the recipe, a release's checksum file or an index says is
//! compared; nothing is taken on trust that somebody vouches for. Decides nothing about a file.

use futures::{StreamExt as _, stream};

use crate::catalog::{ImageRef, images_in};
use crate::config::{Mirror, Pin, PinKind, PinSource, Span, can_vouch};
use crate::graph::Download;
use crate::target::artifact::{self, Registry};
use crate::target::cluster::chart::{self, FoundBy, WantedChart};

/// How many are asked for side by side.
const AT_ONCE: usize = 4;

/// Longest manifest of objects that is searched for images, in bytes.
const LONGEST: u64 = 16 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Asked {
    /// Digests, one for each download.
    pub pins: Vec<Pin>,
    /// What could not be found, each with its reason.
    pub missing: Vec<String>,
    /// What people are to know of those that were found.
    pub notes: Vec<String>,
}

/// Asks for all of them, side by side.
pub async fn ask(downloads: Vec<Download>, mirrors: &[Mirror]) -> Asked {
    let registry = &Registry::new(mirrors);
    let mut asked = Asked::default();
    let mut answers = stream::iter(downloads)
        .map(|download| async move { (one(&download, registry, mirrors).await, download) })
        .buffer_unordered(AT_ONCE);
    while let Some((answer, download)) = answers.next().await {
        match answer {
            Ok((pin, note)) => {
                asked.pins.push(pin);
                asked.notes.extend(note);
            }
            Err(why) => asked.missing.push(format!("{download}: {why}")),
        }
    }
    asked.pins.sort_by_key(Pin::key);
    asked.missing.sort();
    asked.notes.sort();
    asked
}

type Answer = Result<(Pin, Option<String>), String>;

async fn one(download: &Download, registry: &Registry, mirrors: &[Mirror]) -> Answer {
    vouched(download, mirrors)?;
    match download.key.kind {
        PinKind::Artifact => of_artifact(download, mirrors).await,
        PinKind::Chart => of_chart(download, mirrors).await,
        PinKind::Manifest => of_manifest(download, mirrors).await,
        PinKind::Image => of_image(download, registry).await,
    }
}

/// Refuses to write down what was said in the clear, where nobody else says it.
fn vouched(download: &Download, mirrors: &[Mirror]) -> Result<(), String> {
    if !download.sha256.is_empty() && !download.repackaged {
        return Ok(());
    }
    let says = match download.key.kind {
        PinKind::Artifact if !download.checksums.is_empty() => download.checksums.clone(),
        PinKind::Artifact | PinKind::Manifest => download.url.clone(),
        PinKind::Chart => match download.name.strip_prefix("oci://") {
            Some(place) => format!("https://{place}"),
            None if download.name.contains("://") => download.name.clone(),
            None => download.repo.clone(),
        },
        PinKind::Image => {
            let image = ImageRef::of_pin(&download.name)?;
            Registry::manifest_at(&image, image.key())
        }
    };
    let says = artifact::mirrored(&says, mirrors);
    if can_vouch(&says) {
        return Ok(());
    }
    Err(format!(
        "only {says} says which digest it has, and anybody on the way can change that: it takes a mirror with https"
    ))
}

fn pin(download: &Download, sha256: String, source: PinSource) -> Pin {
    Pin {
        kind: download.key.kind,
        name: download.name.clone(),
        version: download.version.clone(),
        arch: download.arch.clone(),
        repo: download.repo.clone(),
        url: download.url.clone(),
        sha256,
        source,
        images: Vec::new(),
        span: Span::default(),
    }
}

/// A release's file: as its recipe says, compared with the release's own checksums; or as those say; or, where nobody says
/// anything, as it is.
async fn of_artifact(download: &Download, mirrors: &[Mirror]) -> Answer {
    let listed = match download.checksums.as_str() {
        "" => None,
        at => Some(artifact::listed(at, &download.url, mirrors).await),
    };
    let recipe = Some(&download.sha256).filter(|sha256| !sha256.is_empty() && !download.repackaged);
    match (recipe, listed) {
        (Some(recipe), Some(Ok(listed))) if *recipe != listed => Err(format!(
            "the recipe says sha256 {recipe}, the release's own checksums ({}) say {listed}: one of the two was tampered with or is wrong",
            download.checksums
        )),
        (Some(recipe), listed) => {
            let note = match listed {
                Some(Err(why)) => Some(format!(
                    "{download}: as its recipe says, not compared with the release's checksums: {why}"
                )),
                _ => None,
            };
            Ok((pin(download, recipe.clone(), PinSource::Recipe), note))
        }
        (None, Some(listed)) => Ok((pin(download, listed?, PinSource::Checksums), None)),
        (None, None) => {
            let (_, sha256) = artifact::unpinned(&download.url, mirrors).await?;
            let note = format!("{download}: nobody vouches for it, taken as it is now");
            Ok((pin(download, sha256, PinSource::Download), Some(note)))
        }
    }
}

async fn of_chart(download: &Download, mirrors: &[Mirror]) -> Answer {
    let wanted = WantedChart {
        chart: &download.name,
        repo: &download.repo,
        version: &download.version,
        sha256: &download.sha256,
    };
    let found = chart::find(wanted, mirrors).await?;
    let source = match (&found.found_by, found.pinned, found.listed) {
        (_, true, _) => PinSource::Recipe,
        (FoundBy::Manifest(..), ..) => PinSource::Registry,
        (_, _, true) => PinSource::Index,
        _ => PinSource::Download,
    };
    let note = (source == PinSource::Download)
        .then(|| format!("{download}: its repository says no digest, taken as it is now"));
    let pin = Pin {
        url: found.url,
        ..pin(download, found.sha256, source)
    };
    Ok((pin, note))
}

async fn of_manifest(download: &Download, mirrors: &[Mirror]) -> Answer {
    let (path, sha256, source) = match download.sha256.as_str() {
        "" => {
            let (path, sha256) = artifact::unpinned(&download.url, mirrors).await?;
            (path, sha256, PinSource::Download)
        }
        given => {
            let path = artifact::fetched(&download.url, given, mirrors).await?;
            (path, given.to_owned(), PinSource::Recipe)
        }
    };
    let text = artifact::read_again(&path, &sha256, LONGEST).await?;
    let text = String::from_utf8(text).map_err(|error| format!("is no text: {error}"))?;
    let pin = Pin {
        images: images_in(&text),
        ..pin(download, sha256, source)
    };
    let note = (source == PinSource::Download)
        .then(|| format!("{download}: nobody vouches for it, taken as it is now"));
    Ok((pin, note))
}

/// An image's index, so that the digest covers every platform.
async fn of_image(download: &Download, registry: &Registry) -> Answer {
    let image = ImageRef::of_pin(&download.name)?;
    let recipe = download.sha256.as_str();
    let key = match recipe {
        "" => image.key().to_owned(),
        hex => format!("sha256:{hex}"),
    };
    let found = registry.manifest(&image, &key).await?;
    let source = match recipe {
        "" => PinSource::Registry,
        _ => PinSource::Recipe,
    };
    let sha256 = found.about.hex().to_owned();
    Ok((pin(download, sha256, source), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MirrorDigests;

    #[test]
    fn what_is_said_in_the_clear_is_not_written_down() {
        let mirror = |url: &str| {
            vec![Mirror {
                prefix: "https://".to_owned(),
                url: url.to_owned(),
                digests: MirrorDigests::Pinned,
            }]
        };
        let (clear, own, tls) = (
            mirror("http://mirror.example/"),
            mirror("http://127.0.0.1:5000/"),
            mirror("https://mirror.example/"),
        );
        let hex = "ab".repeat(32);
        for name in ["quay.io/a/b:1", &format!("quay.io/a/b:1@sha256:{hex}")] {
            let image = Download::image(&ImageRef::parse(name).unwrap()).unwrap();
            let known = !image.sha256.is_empty();
            let said = vouched(&image, &clear);
            assert_eq!(said.is_ok(), known, "{said:?}");
            assert!(vouched(&image, &own).is_ok() && vouched(&image, &tls).is_ok());
        }
        let image = Download::image(&ImageRef::parse("quay.io/a/b:1").unwrap()).unwrap();
        let chart = |name: &str, repo: &str| Download {
            key: crate::config::PinKey::chart(repo, name, "1"),
            name: name.to_owned(),
            repo: repo.to_owned(),
            ..image.clone()
        };
        for chart in [
            chart("web", "https://charts.example"),
            chart("oci://quay.io/charts/web", ""),
            chart("https://charts.example/web.tgz", ""),
            chart("web", "http://charts.example"),
        ] {
            let said = vouched(&chart, &clear).unwrap_err();
            assert!(said.contains("only http://"), "{said}");
        }
    }
}
