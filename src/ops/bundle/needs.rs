//! What a stack needs of the internet: downloads, charts and images of its steps, with the steps that need them. Fetches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{ImageRef, Value, Values, images_in, pin_images};
use crate::config::{Mirror, Pins};
use crate::graph::{Graph, StepSet};
use crate::probe::Known;
use crate::target::artifact::{self, Download, Platform, downloads};
use crate::target::cluster;

/// What is needed, each once, with the labels of the steps that need it (without their hosts), or names of components.
#[derive(Debug, Default)]
pub struct Needs {
    /// Artifacts and manifests, by address.
    pub downloads: BTreeMap<String, (Download, BTreeSet<String>)>,
    /// Charts: the inputs of their steps, by what names the chart.
    pub charts: BTreeMap<String, (Values, BTreeSet<String>)>,
    /// Images.
    pub images: BTreeMap<ImageRef, BTreeSet<String>>,
    /// Whether a step puts images on hosts beforehand.
    pub staged: bool,
    /// Digests that the stack pins, for images that are found later.
    pins: Arc<Pins>,
}

impl Needs {
    /// Gathers what the chosen steps need, on hosts of these kinds.
    ///
    /// # Errors
    /// When a step's inputs make no sense, or there is no download for a kind of host: all of them, a line each.
    pub fn of(
        graph: &Graph,
        chosen: &StepSet,
        platforms: &[Platform],
        mirrors: &[Mirror],
    ) -> Result<Self, Vec<String>> {
        let known = Known::new(graph, []);
        let mut needs = Self {
            pins: graph.stack.pins.clone(),
            ..Self::default()
        };
        let mut wrong = BTreeSet::new();
        let mut components = BTreeSet::new();
        for id in graph.ids().filter(|id| chosen.contains(*id)) {
            let step = graph.step(id);
            let apply = step.task.as_ref().and_then(|task| task.apply.as_ref());
            components.insert(step.label.component.clone());
            let Some(action) = apply.and_then(|apply| apply.action.as_deref()) else {
                continue;
            };
            let label = step.label.to_string();
            let name = label.split(['[', '@']).next().unwrap_or(&label).to_owned();
            let inputs = known.fill(&step.inputs).values;
            if let Err(words) = needs.step(action, &inputs, &name, platforms, mirrors) {
                wrong.insert(format!("{name}: {words}"));
            }
        }
        for (component, images) in &graph.images {
            for image in images.iter().filter(|_| components.contains(component)) {
                match ImageRef::parse(image) {
                    Ok(image) => needs.image(image, component),
                    Err(words) => _ = wrong.insert(format!("{component}: {words}")),
                }
            }
        }
        if wrong.is_empty() {
            Ok(needs)
        } else {
            Err(wrong.into_iter().collect())
        }
    }

    fn step(
        &mut self,
        action: &str,
        inputs: &Values,
        name: &str,
        platforms: &[Platform],
        mirrors: &[Mirror],
    ) -> Result<(), String> {
        match action {
            artifact::IMAGE => {
                self.staged = true;
                self.image(artifact::wanted_image(inputs)?, name);
            }
            cluster::CHART => {
                let entry = self.charts.entry(cluster::chart::names(inputs)?);
                let entry = entry.or_insert_with(|| (inputs.clone(), BTreeSet::new()));
                entry.1.insert(name.to_owned());
            }
            cluster::MANIFEST => {
                if let Some(Value::Text(objects)) = inputs.get("objects") {
                    self.named_in(objects, name);
                }
            }
            _ => {
                for platform in platforms {
                    let arch = &platform.architecture;
                    for download in downloads(action, inputs, arch, mirrors)? {
                        let entry = self.downloads.entry(download.upstream.clone());
                        let entry = entry.or_insert_with(|| (download, BTreeSet::new()));
                        entry.1.insert(name.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the images that a text with objects names.
    pub fn named_in(&mut self, objects: &str, name: &str) {
        for image in images_in(&pin_images(objects, &self.pins)) {
            if let Ok(image) = ImageRef::parse(&image) {
                self.image(image, name);
            }
        }
    }

    fn image(&mut self, image: ImageRef, name: &str) {
        self.images
            .entry(image)
            .or_default()
            .insert(name.to_owned());
    }
}
