//! Which tasks download something, and images with the digests that `stack.pins` has of them. Downloads nothing.

use super::image::{ImageRef, is_digest};
use super::task::Task;
use crate::config::{Pin, PinKey, Pins};

/// What a step brings from outside, and so which of its inputs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brings {
    /// Artifacts: `url`, `sha256` and `checksums` by architecture.
    Artifact,
    /// A chart: `repo`, `chart`, `version`, `sha256`.
    Chart,
    /// A manifest: `url`, `sha256`.
    Manifest,
    /// An image: `image`.
    Image,
    /// Whatever images the text `objects` names.
    Objects,
}

impl Task {
    /// Returns what its steps bring, by the built-in action that applies them.
    #[must_use]
    pub fn brings(&self) -> Option<Brings> {
        Some(match self.apply.as_ref()?.action.as_deref()? {
            "artifact.install" => Brings::Artifact,
            "artifact.image" => Brings::Image,
            "cluster.chart" => Brings::Chart,
            "cluster.manifest-url" => Brings::Manifest,
            "cluster.manifest" => Brings::Objects,
            _ => return None,
        })
    }
}

impl ImageRef {
    /// Returns what it is looked up by among pins: its full name and tag, without a digest; `None` if it has no tag.
    #[must_use]
    pub fn pin_key(&self) -> Option<PinKey> {
        let tag = self.tag.as_ref()?;
        Some(PinKey::image(&format!(
            "{}/{}:{tag}",
            self.registry, self.repository
        )))
    }

    /// Returns what the pins say of it.
    #[must_use]
    pub fn pin<'a>(&self, pins: &'a Pins) -> Option<&'a Pin> {
        pins.get(&self.pin_key()?)
    }

    /// Reads an image as a pin names it: in full, with a tag, without a digest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_pin(name: &str) -> Result<Self, String> {
        let image = Self::parse(name)?;
        if image.to_string() == name && image.tag.is_some() && image.digest.is_none() {
            return Ok(image);
        }
        Err(format!("`{name}` is no image's full name and tag"))
    }
}

/// Returns an image with the digest that the pins have of it: as it was written, and `@sha256:…` after it. One that has a digest,
/// is not pinned, or is no image stays as it is.
#[must_use]
pub fn pinned_image(written: &str, pins: &Pins) -> String {
    let pin = ImageRef::parse(written)
        .ok()
        .filter(|image| image.digest.is_none())
        .and_then(|image| image.pin(pins).map(Pin::digest));
    match pin {
        Some(digest) if is_digest(&digest) => format!("{written}@{digest}"),
        _ => written.to_owned(),
    }
}

/// Returns a text with Kubernetes objects in which every image that the pins know has its digest.
#[must_use]
pub fn pin_images(text: &str, pins: &Pins) -> String {
    if pins.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match super::image::image_of(line) {
            Some(value) => {
                let at = value.as_ptr() as usize - line.as_ptr() as usize;
                out.push_str(&line[..at]);
                out.push_str(&pinned_image(value, pins));
                out.push_str(&line[at + value.len()..]);
            }
            None => out.push_str(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PinKind, PinSource, Span};

    fn pins(names: &[&str]) -> Pins {
        Pins::none("stack.pins").with(names.iter().map(|name| Pin {
            kind: PinKind::Image,
            name: (*name).to_owned(),
            version: String::new(),
            arch: String::new(),
            repo: String::new(),
            url: String::new(),
            sha256: "ab".repeat(32),
            source: PinSource::Registry,
            images: Vec::new(),
            span: Span::default(),
        }))
    }

    #[test]
    fn images_get_the_digest_that_is_pinned() {
        let pins = pins(&["docker.io/library/busybox:1.37", "quay.io/a/b:1"]);
        let digest = format!("@sha256:{}", "ab".repeat(32));
        let own = format!("quay.io/a/b:1@sha256:{}", "cd".repeat(32));
        for (written, wanted) in [
            ("busybox:1.37", format!("busybox:1.37{digest}")),
            ("quay.io/a/b:1", format!("quay.io/a/b:1{digest}")),
            ("quay.io/a/b:2", "quay.io/a/b:2".to_owned()),
            (own.as_str(), own.clone()),
            ("no image!", "no image!".to_owned()),
        ] {
            assert_eq!(pinned_image(written, &pins), wanted);
        }
        let text = "spec:\n  - image: \"busybox:1.37\" # small\n    name: image\n  - image: other:1\n    image: 'quay.io/a/b:1'";
        let wanted = format!(
            "spec:\n  - image: \"busybox:1.37{digest}\" # small\n    name: image\n  - image: other:1\n    image: 'quay.io/a/b:1{digest}'"
        );
        assert_eq!(pin_images(text, &pins), wanted);
        assert_eq!(pin_images(&wanted, &pins), wanted, "twice is once");
        assert_eq!(pin_images(text, &Pins::none("x")), text);
    }

    #[test]
    fn a_pin_names_an_image_in_full() {
        assert!(ImageRef::of_pin("docker.io/library/busybox:1").is_ok());
        for wrong in [
            "busybox:1",
            "docker.io/library/busybox",
            "quay.io/a/b@sha256:x",
        ] {
            assert!(ImageRef::of_pin(wrong).is_err(), "{wrong}");
        }
    }
}
