//! What the steps of a graph download, by name; and inputs held to the digests that `stack.pins` has of it, so that these enter keys
//! and probes as if the recipe had said them. Downloads nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::{Graph, Input, Inputs, Part, Step, StepSet};
use crate::catalog::{AllProblems, Brings, ImageRef, Value, images_in, pin_images, pinned_image};
use crate::config::{MirrorDigests, Pin, PinKey, PinKind, Pins, Problem, Stack};

/// One thing that steps download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// What it is looked up by among pins.
    pub key: PinKey,
    /// Name of an artifact or chart, full name and tag of an image; empty for a manifest.
    pub name: String,
    /// Version of an artifact or chart.
    pub version: String,
    /// Architecture of an artifact.
    pub arch: String,
    /// Repository of a chart.
    pub repo: String,
    /// Address of an artifact or manifest.
    pub url: String,
    /// SHA-256 in hex that its step holds it to; empty: none.
    pub sha256: String,
    /// Address of the release's own file of checksums; empty: none.
    pub checksums: String,
    /// Whether a mirror that repackages stands in its place, so that the recipe's digest says nothing.
    pub repackaged: bool,
    /// Labels of the steps that need it, without their hosts; components for images that those list.
    pub steps: BTreeSet<String>,
}

/// For people: `artifact k3s 1.36.3+k3s1 amd64`.
impl fmt::Display for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.kind.fmt(f)?;
        let name = match self.key.kind {
            PinKind::Manifest => &self.url,
            _ => &self.name,
        };
        [name, &self.version, &self.arch]
            .into_iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, " {part}"))
    }
}

/// All that steps download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Downloads {
    /// Each once, sorted by key.
    pub list: Vec<Download>,
    /// Labels of steps whose downloads are named by what is known only during the run.
    pub unknown: BTreeSet<String>,
}

impl Download {
    /// Makes one of an image; `None` if only its digest names it, which is pin enough.
    #[must_use]
    pub fn image(image: &ImageRef) -> Option<Self> {
        let key = image.pin_key()?;
        let digest = image.digest.as_deref().unwrap_or_default();
        Some(Self {
            name: key.id.clone(),
            sha256: digest.trim_start_matches("sha256:").to_owned(),
            ..Self::of(key)
        })
    }

    fn of(key: PinKey) -> Self {
        Self {
            key,
            name: String::new(),
            version: String::new(),
            arch: String::new(),
            repo: String::new(),
            url: String::new(),
            sha256: String::new(),
            checksums: String::new(),
            repackaged: false,
            steps: BTreeSet::new(),
        }
    }
}

impl Graph {
    /// Returns what the chosen steps download, and the images that their components run.
    #[must_use]
    pub fn downloads(&self, chosen: &StepSet) -> Downloads {
        let mut found: BTreeMap<PinKey, Download> = BTreeMap::new();
        let mut all = Downloads::default();
        let mut add = |download: Download, step: &str| {
            let entry = found.entry(download.key.clone()).or_insert(download);
            entry.steps.insert(step.to_owned());
        };
        let mut components: BTreeSet<&Arc<str>> = BTreeSet::new();
        let mut last: Option<&Arc<str>> = None;
        let mut seen: BTreeSet<(String, *const Inputs)> = BTreeSet::new();
        for id in chosen.iter() {
            let step = self.step(id);
            // Steps of a component stand together.
            let component = &step.label.component;
            if !last.is_some_and(|last| Arc::ptr_eq(last, component)) {
                components.insert(component);
                last = Some(component);
            }
            let Some(brings) = step.task.as_ref().and_then(|task| task.brings()) else {
                continue;
            };
            let label = step.label.to_string();
            let name = label.split(['[', '@']).next().unwrap_or(&label).to_owned();
            // Alike on many hosts: once is enough.
            if !seen.insert((name.clone(), Arc::as_ptr(&step.inputs))) {
                continue;
            }
            match of_step(step, brings, &self.stack) {
                Some(list) => list.into_iter().for_each(|one| add(one, &name)),
                None => _ = all.unknown.insert(name),
            }
        }
        for (component, images) in &self.images {
            let images = images.iter().filter(|_| components.contains(component));
            for image in images.filter_map(|image| ImageRef::parse(image).ok()) {
                if let Some(download) = Download::image(&image) {
                    add(download, component);
                }
            }
        }
        all.list = found.into_values().collect();
        all
    }
}

/// Returns what a step downloads; `None` if that is not known yet.
fn of_step(step: &Step, brings: Brings, stack: &Stack) -> Option<Vec<Download>> {
    let inputs = &step.inputs;
    Some(match brings {
        Brings::Artifact => {
            let (sha256, checksums) = (map(inputs, "sha256")?, map(inputs, "checksums")?);
            let (name, version) = (text(inputs, "name")?, text(inputs, "version")?);
            let of = |arch: &str, url: &str| Download {
                name: name.to_owned(),
                version: version.to_owned(),
                arch: arch.to_owned(),
                url: url.to_owned(),
                sha256: sha256.get(arch).copied().unwrap_or_default().to_lowercase(),
                checksums: checksums.get(arch).copied().unwrap_or_default().to_owned(),
                repackaged: is_repackaged(url, stack),
                ..Download::of(PinKey::artifact(url))
            };
            let urls = map(inputs, "url")?;
            urls.iter().map(|(arch, url)| of(arch, url)).collect()
        }
        Brings::Chart => {
            let (repo, name) = (text(inputs, "repo")?, text(inputs, "chart")?);
            let version = text(inputs, "version")?;
            vec![Download {
                name: name.to_owned(),
                version: version.to_owned(),
                repo: repo.to_owned(),
                sha256: text(inputs, "sha256")?.to_lowercase(),
                ..Download::of(PinKey::chart(repo, name, version))
            }]
        }
        Brings::Manifest => {
            let url = text(inputs, "url")?;
            vec![Download {
                url: url.to_owned(),
                sha256: text(inputs, "sha256")?.to_lowercase(),
                ..Download::of(PinKey::manifest(url))
            }]
        }
        Brings::Image => {
            let image = ImageRef::parse(text(inputs, "image")?).ok()?;
            Download::image(&image).into_iter().collect()
        }
        Brings::Objects => {
            let images = match inputs.get("objects") {
                Some(Input::Known(Value::Text(objects))) => images_in(objects),
                Some(Input::Text(parts)) => {
                    let literal = |part: &Part| match part {
                        Part::Literal(text) => text.clone(),
                        Part::Hole(_) => String::new(),
                        // One scalar, whatever it is.
                        Part::Encoded(..) => "\"\"".to_owned(),
                    };
                    images_in(&parts.iter().map(literal).collect::<String>())
                }
                _ => Vec::new(),
            };
            let images = images
                .iter()
                .filter_map(|image| ImageRef::parse(image).ok());
            images.filter_map(|image| Download::image(&image)).collect()
        }
    })
}

fn is_repackaged(url: &str, stack: &Stack) -> bool {
    let mirror = stack
        .mirrors
        .iter()
        .find(|mirror| url.starts_with(mirror.prefix.as_str()));
    mirror.is_some_and(|mirror| mirror.digests == MirrorDigests::Mirror)
}

fn text<'a>(inputs: &'a Inputs, name: &str) -> Option<&'a str> {
    match inputs.get(name) {
        Some(Input::Known(Value::Text(text))) => Some(text),
        None => Some(""),
        _ => None,
    }
}

fn map<'a>(inputs: &'a Inputs, name: &str) -> Option<BTreeMap<&'a str, &'a str>> {
    match inputs.get(name) {
        Some(Input::Known(Value::Map(entries))) => entries
            .iter()
            .map(|(key, value)| match value {
                Value::Text(text) => Some((key.as_str(), text.as_str())),
                _ => None,
            })
            .collect(),
        None => Some(BTreeMap::new()),
        _ => None,
    }
}

/// Holds the graph's steps to the stack's pins. What the recipe says otherwise is a problem of the file's.
pub(super) fn hold(graph: &mut Graph, problems: &mut AllProblems) {
    let stack = graph.stack.clone();
    let pins = &*stack.pins;
    if pins.is_empty() {
        return;
    }
    // Steps that are alike share their inputs, and still do afterwards.
    let mut held: HashMap<*const Inputs, Arc<Inputs>> = HashMap::new();
    for step in &mut graph.steps {
        let Some(brings) = step.task.as_ref().and_then(|task| task.brings()) else {
            continue;
        };
        let before = step.inputs.clone();
        step.inputs = held
            .entry(Arc::as_ptr(&before))
            .or_insert_with(|| {
                let downloads = of_step(step, brings, &stack).unwrap_or_default();
                // Images that are put on hosts are those of all components: their own recipes are asked below.
                if brings != Brings::Image {
                    for download in &downloads {
                        against_recipe(download, pins, problems, &step.label.component);
                    }
                }
                let mut inputs = (*before).clone();
                hold_inputs(&mut inputs, brings, &downloads, pins);
                Arc::new(inputs)
            })
            .clone();
    }
    for (component, images) in &mut graph.images {
        *images = images
            .iter()
            .map(|written| {
                let image = ImageRef::parse(written).ok();
                if let Some(download) = image.as_ref().and_then(Download::image) {
                    against_recipe(&download, pins, problems, component);
                }
                pinned_image(written, pins)
            })
            .collect();
    }
}

/// Says so where a pin and a recipe differ.
fn against_recipe(download: &Download, pins: &Pins, problems: &mut AllProblems, recipe: &str) {
    let Some(pin) = pins.get(&download.key) else {
        return;
    };
    let given = &download.sha256;
    if given.is_empty() || download.repackaged || *given == pin.sha256 {
        return;
    }
    let name = match pin.kind {
        PinKind::Manifest => &pin.url,
        _ => &pin.name,
    };
    problems.push(
        &pins.source,
        Problem::at(
            pin.span,
            format!(
                "{pin} is pinned to sha256 {}, but the recipe `{recipe}` says {given}",
                pin.sha256
            ),
        )
        .help(format!(
            "one of them is wrong: compare with what upstream publishes; `foundry stack pin --accept {name}` takes the recipe's"
        )),
    );
}

fn hold_inputs(inputs: &mut Inputs, brings: Brings, downloads: &[Download], pins: &Pins) {
    let pinned = downloads
        .iter()
        .filter_map(|one| Some((one, pins.get(&one.key)?)));
    let pinned: Vec<(&Download, &Pin)> = pinned.collect();
    let known = |text: String| Input::Known(Value::Text(text));
    match brings {
        Brings::Artifact => {
            if let Some(Input::Known(Value::Map(digests))) = inputs.get_mut("sha256") {
                digests.extend(
                    pinned
                        .iter()
                        .map(|(one, pin)| (one.arch.clone(), Value::Text(pin.sha256.clone()))),
                );
            }
            // Nothing but the pin says what it must be.
            if let Some(Input::Known(Value::Map(checksums))) = inputs.get_mut("checksums") {
                checksums.retain(|arch, _| !pinned.iter().any(|(one, _)| one.arch == *arch));
            }
        }
        Brings::Chart | Brings::Manifest => {
            if let [(_, pin)] = pinned.as_slice() {
                inputs.insert("sha256".to_owned(), known(pin.sha256.clone()));
            }
        }
        Brings::Image => {
            if let Some(Input::Known(Value::Text(image))) = inputs.get_mut("image") {
                *image = pinned_image(image, pins);
            }
        }
        Brings::Objects => match inputs.get_mut("objects") {
            Some(Input::Known(Value::Text(objects))) => *objects = pin_images(objects, pins),
            Some(Input::Text(parts)) => {
                let last = parts.len().saturating_sub(1);
                for (at, part) in parts.iter_mut().enumerate() {
                    if let Part::Literal(text) = part {
                        *text = within(text, at == 0, at == last, pins);
                    }
                }
            }
            _ => {}
        },
    }
}

/// Pins the images of whole lines: what stands beside a value to come may be half of a name.
fn within(text: &str, first: bool, last: bool, pins: &Pins) -> String {
    let begin = match first {
        true => 0,
        false => text.find('\n').map_or(text.len(), |at| at + 1),
    };
    let end = match last {
        true => text.len(),
        false => text.rfind('\n').map_or(begin, |at| at + 1).max(begin),
    };
    let (head, tail) = (&text[..begin], &text[end..]);
    format!("{head}{}{tail}", pin_images(&text[begin..end], pins))
}
