//! What comes of the pins that a file has and those that were found anew: what is kept, comes in, changes, goes. A digest that is
//! another one for the same version is an alarm, never a change by itself. Asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Pin, PinKey, Pins};
use crate::graph::Download;

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Kind, name, version, architecture.
    pub what: String,
    /// SHA-256 that the file had; `None` for a new entry.
    pub before: Option<String>,
    /// SHA-256 that it has now; `None` for one that went.
    pub after: Option<String>,
    /// Who said so, of what it is now.
    pub source: Option<String>,
    /// Version that stood there before, where only that moved.
    pub moved_from: Option<String>,
}

/// The same version has another digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Kind, name, version, architecture.
    pub what: String,
    /// By what it can be accepted.
    pub name: String,
    /// SHA-256 in the file.
    pub pinned: String,
    /// SHA-256 that was found.
    pub found: String,
    /// Where, or for an image which.
    pub url: String,
    /// Who said so.
    pub source: String,
}

/// What the file is to be.
#[derive(Debug, Clone)]
pub struct Settled {
    /// All entries.
    pub pins: Pins,
    /// New entries.
    pub added: Vec<Change>,
    /// Entries with another digest, which was accepted.
    pub changed: Vec<Change>,
    /// Entries that nothing of the stack uses any more.
    pub removed: Vec<Change>,
    /// How many entries stay as they are.
    pub kept: usize,
}

impl Settled {
    /// Returns whether the file stays as it is.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Returns what has to be asked for: of the chosen downloads those without an entry, or whose recipe says otherwise; with `update`
/// all of them.
#[must_use]
pub fn missing<'a>(
    pins: &Pins,
    downloads: impl IntoIterator<Item = &'a Download>,
    chosen: &BTreeSet<PinKey>,
    update: bool,
) -> Vec<Download> {
    let contradicts = |download: &Download, pin: &Pin| {
        !download.sha256.is_empty() && !download.repackaged && download.sha256 != pin.sha256
    };
    downloads
        .into_iter()
        .filter(|download| chosen.contains(&download.key))
        .filter(|download| {
            let pin = pins.get(&download.key);
            update || pin.is_none_or(|pin| contradicts(download, pin))
        })
        .cloned()
        .collect()
}

/// Puts the entries of a file and the pins that were found together. `used` is all that the stack downloads; `accepted` are names
/// whose digests may change.
///
/// # Errors
/// Digests that changed without being accepted, all of them.
pub fn settle(
    pins: &Pins,
    used: &BTreeSet<PinKey>,
    found: Vec<Pin>,
    accepted: &[String],
) -> Result<Settled, Vec<Alarm>> {
    let mut alarms = Vec::new();
    let mut settled = Settled {
        pins: pins.clone(),
        added: Vec::new(),
        changed: Vec::new(),
        removed: Vec::new(),
        kept: 0,
    };
    let mut entries: BTreeMap<PinKey, Pin> = BTreeMap::new();
    for old in pins.iter() {
        if used.contains(&old.key()) {
            entries.insert(old.key(), old.clone());
        } else {
            settled.removed.push(change(Some(old), None));
        }
    }
    for new in found {
        let Some(old) = entries.get(&new.key()) else {
            settled.added.push(change(None, Some(&new)));
            entries.insert(new.key(), new);
            continue;
        };
        if old.sha256 == new.sha256 {
            // Which images a manifest names follows from its text alone.
            continue;
        }
        if accepted.iter().any(|name| new.is_called(name)) {
            settled.changed.push(change(Some(old), Some(&new)));
            entries.insert(new.key(), new);
        } else {
            alarms.push(alarm(old, &new));
        }
    }
    if !alarms.is_empty() {
        return Err(alarms);
    }
    // A release that took the place of another one is one change for people, though two entries.
    for added in &mut settled.added {
        let before = settled.removed.iter().find(|gone| is_moved(gone, added));
        added.moved_from = before.and_then(|gone| version_of(&gone.what));
    }
    settled.kept = entries.len() - settled.added.len() - settled.changed.len();
    settled.pins = pins.with(entries.into_values());
    Ok(settled)
}

fn change(old: Option<&Pin>, new: Option<&Pin>) -> Change {
    Change {
        what: new.or(old).map(ToString::to_string).unwrap_or_default(),
        before: old.map(|pin| pin.sha256.clone()),
        after: new.map(|pin| pin.sha256.clone()),
        source: new.map(|pin| pin.source.to_string()),
        moved_from: None,
    }
}

fn alarm(old: &Pin, new: &Pin) -> Alarm {
    let name = match new.name.is_empty() {
        true => &new.url,
        false => &new.name,
    };
    Alarm {
        what: new.to_string(),
        name: name.clone(),
        pinned: old.sha256.clone(),
        found: new.sha256.clone(),
        url: match new.url.is_empty() {
            true => new.name.clone(),
            false => new.url.clone(),
        },
        source: new.source.to_string(),
    }
}

/// Takes `artifact k3s 1.36.3 amd64` apart; images and manifests have no version that people follow.
fn version_of(what: &str) -> Option<String> {
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        ["artifact", _, version, _] | ["chart", _, version] => Some((*version).to_owned()),
        _ => None,
    }
}

fn is_moved(gone: &Change, added: &Change) -> bool {
    let without = |what: &str| {
        let version = version_of(what)?;
        Some(what.replacen(&format!(" {version}"), "", 1))
    };
    without(&gone.what).is_some_and(|gone| Some(gone) == without(&added.what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ImageRef;
    use crate::config::{PinKind, PinSource, Span};

    fn artifact(version: &str, byte: &str) -> Pin {
        Pin {
            kind: PinKind::Artifact,
            name: "tool".to_owned(),
            version: version.to_owned(),
            arch: "amd64".to_owned(),
            repo: String::new(),
            url: format!("https://up.example/{version}"),
            sha256: byte.repeat(32),
            source: PinSource::Checksums,
            images: Vec::new(),
            span: Span::default(),
        }
    }

    fn image(name: &str, byte: &str) -> Pin {
        Pin {
            kind: PinKind::Image,
            name: name.to_owned(),
            version: String::new(),
            arch: String::new(),
            url: String::new(),
            source: PinSource::Registry,
            ..artifact("", byte)
        }
    }

    fn file(pins: &[Pin]) -> Pins {
        Pins::none("stack.pins").with(pins.iter().cloned())
    }

    fn used(pins: &[&Pin]) -> BTreeSet<PinKey> {
        pins.iter().map(|pin| pin.key()).collect()
    }

    fn download(image: &str) -> Download {
        Download::image(&ImageRef::parse(image).unwrap()).unwrap()
    }

    #[test]
    fn only_what_has_no_entry_is_asked_for_unless_all_is_wanted() {
        let pins = file(&[image("docker.io/a/b:1", "aa")]);
        let own = format!("docker.io/a/b:1@sha256:{}", "bb".repeat(32));
        let (known, new, contradicted) = (
            download("docker.io/a/b:1"),
            download("docker.io/a/b:2"),
            download(&own),
        );
        let chosen: BTreeSet<PinKey> = [&known, &new].map(|one| one.key.clone()).into();
        let asked = |update, downloads: &[&Download], chosen: &BTreeSet<PinKey>| {
            let asked = missing(&pins, downloads.iter().copied(), chosen, update).into_iter();
            asked.map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(asked(false, &[&known, &new], &chosen), ["docker.io/a/b:2"]);
        assert_eq!(asked(true, &[&known, &new], &chosen).len(), 2);
        assert_eq!(asked(true, &[&known, &new], &BTreeSet::new()).len(), 0);
        assert_eq!(asked(false, &[&contradicted], &chosen), ["docker.io/a/b:1"]);
    }

    #[test]
    fn entries_come_move_and_go_and_the_rest_stays() {
        let (old, new) = (artifact("1.0.0", "aa"), artifact("1.1.0", "bb"));
        let (kept, gone) = (
            image("docker.io/a/b:1", "cc"),
            image("docker.io/a/c:1", "dd"),
        );
        let pins = file(&[old, kept.clone(), gone]);
        let settled = settle(&pins, &used(&[&new, &kept]), vec![new, kept.clone()], &[]).unwrap();
        assert_eq!(settled.added.len(), 1);
        assert_eq!(settled.added[0].moved_from.as_deref(), Some("1.0.0"));
        let removed: Vec<&str> = settled
            .removed
            .iter()
            .map(|gone| gone.what.as_str())
            .collect();
        assert_eq!(
            removed,
            ["artifact tool 1.0.0 amd64", "image docker.io/a/c:1"]
        );
        assert_eq!((settled.kept, settled.is_same()), (1, false));
        assert_eq!(settled.pins.iter().count(), 2);
        let again = settle(&settled.pins, &used(&[&kept]), Vec::new(), &[]).unwrap();
        assert_eq!(again.removed.len(), 1, "{again:?}");
    }

    #[test]
    fn another_digest_of_the_same_version_is_an_alarm_until_it_is_accepted_by_name() {
        let pins = file(&[artifact("1.0.0", "aa"), image("docker.io/a/b:1", "cc")]);
        let found = || vec![artifact("1.0.0", "bb"), image("docker.io/a/b:1", "dd")];
        let used: BTreeSet<PinKey> = pins.iter().map(Pin::key).collect();
        let alarms = settle(&pins, &used, found(), &["tool".to_owned()]).unwrap_err();
        assert_eq!(alarms.len(), 1);
        assert_eq!(
            (
                alarms[0].name.as_str(),
                &alarms[0].pinned[..2],
                &alarms[0].found[..2]
            ),
            ("docker.io/a/b:1", "cc", "dd")
        );
        let both = ["tool".to_owned(), "docker.io/a/b:1".to_owned()];
        let settled = settle(&pins, &used, found(), &both).unwrap();
        assert_eq!((settled.changed.len(), settled.kept), (2, 0));
        assert!(
            settled
                .pins
                .iter()
                .all(|pin| ["bb", "dd"].contains(&&pin.sha256[..2]))
        );
    }
}
