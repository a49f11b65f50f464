//! References to container images, `registry/repository:tag@digest`, with what people leave out filled in. Asks no registry.

use std::fmt;

/// The registry of names that name none.
const DEFAULT: &str = "docker.io";

/// Names one image, in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    /// Host of the registry, with a port where it has one.
    pub registry: String,
    /// Path within the registry: `library/busybox`.
    pub repository: String,
    /// Tag, if it has one.
    pub tag: Option<String>,
    /// Digest, `sha256:…`, if it has one: then the tag says nothing.
    pub digest: Option<String>,
}

impl ImageRef {
    /// Reads a reference as Kubernetes does: without a registry it is Docker Hub's, without a tag `latest`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{text}` is no image: {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return wrong("a digest is `sha256:` and 64 hexadecimal digits");
        }
        // A colon before the last slash is that of a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.bytes().all(word)) {
            return wrong("a tag is made of letters, digits, `.`, `_` and `-`");
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, path.to_owned())
            }
            _ => (DEFAULT, name.to_owned()),
        };
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if registry.starts_with(['.', ':']) || !registry.bytes().all(host) {
            return wrong("its registry is no host");
        }
        let path = match registry {
            DEFAULT | "index.docker.io" if !path.contains('/') => format!("library/{path}"),
            _ => path,
        };
        let part = |part: &str| {
            part.bytes()
                .all(|byte| word(byte) && !byte.is_ascii_uppercase())
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if !path.split('/').all(part) {
            return wrong("a repository is made of small letters, digits, `.`, `_` and `-`");
        }
        let registry = match registry {
            "index.docker.io" => DEFAULT,
            other => other,
        };
        let tag = match (tag, digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository: path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Returns what a registry finds it by: its digest, else its tag.
    #[must_use]
    pub fn key(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }

    /// Returns the beginning of the addresses of all that belongs to its repository, with a slash at the end. Docker Hub
    /// answers under another name than its images have; registries on this machine are asked without TLS.
    #[must_use]
    pub fn base(&self) -> String {
        let host = match self.registry.as_str() {
            DEFAULT => "registry-1.docker.io",
            other => other,
        };
        let name = host.split(':').next().unwrap_or(host);
        let scheme = match name {
            "localhost" | "127.0.0.1" => "http",
            _ => "https",
        };
        format!("{scheme}://{host}/v2/{}/", self.repository)
    }

    /// Returns the names by which a container runtime knows it: by its tag, and by its digest if it has one.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let plain = format!("{}/{}", self.registry, self.repository);
        let tagged = self.tag.iter().map(|tag| format!("{plain}:{tag}"));
        let pinned = self.digest.iter().map(|digest| format!("{plain}@{digest}"));
        tagged.chain(pinned).collect()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Returns whether a text is a digest that Foundry can check.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Finds the images that a text with Kubernetes objects names: the values of `image`, wherever they stand, those within
/// texts of a ConfigMap too. Sorted, each once. What is no image (a field of a definition, a template) is passed over.
#[must_use]
pub fn images_in(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| ImageRef::parse(image_of(line)?).ok())
        .map(|image| image.to_string())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Returns what a line gives as the value of `image`, if that can be one: words of a description, or the name of a field, have
/// neither a tag or a digest nor a registry.
pub(super) fn image_of(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("- ").trim_start();
    let value = line
        .strip_prefix("image:")
        .or_else(|| line.strip_prefix("\"image\":"))?;
    let value = value.split(" #").next()?.trim().trim_end_matches(',');
    let value = value.trim_matches(['"', '\'']);
    let full = |first: (&str, &str)| first.0.contains('.');
    let named = value.contains([':', '@']) || value.split_once('/').is_some_and(full);
    (named && !value.contains(char::is_whitespace)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_kubernetes_reads_them() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let table = [
            (
                "busybox",
                "docker.io/library/busybox:latest",
                "https://registry-1.docker.io/v2/library/busybox/",
            ),
            (
                "chrislusf/seaweedfs:4.44",
                "docker.io/chrislusf/seaweedfs:4.44",
                "https://registry-1.docker.io/v2/chrislusf/seaweedfs/",
            ),
            (
                "docker.io/busybox:1.37.0",
                "docker.io/library/busybox:1.37.0",
                "https://registry-1.docker.io/v2/library/busybox/",
            ),
            (
                "index.docker.io/a/b:1",
                "docker.io/a/b:1",
                "https://registry-1.docker.io/v2/a/b/",
            ),
            (
                "quay.io/a/b/c:v1.2_x-y",
                "quay.io/a/b/c:v1.2_x-y",
                "https://quay.io/v2/a/b/c/",
            ),
            (
                "reg.example:5000/a:1",
                "reg.example:5000/a:1",
                "https://reg.example:5000/v2/a/",
            ),
            (
                "localhost:5000/a",
                "localhost:5000/a:latest",
                "http://localhost:5000/v2/a/",
            ),
            (
                "127.0.0.1:5000/a:2",
                "127.0.0.1:5000/a:2",
                "http://127.0.0.1:5000/v2/a/",
            ),
        ];
        for (text, full, base) in table {
            let image = ImageRef::parse(text).unwrap();
            assert_eq!(
                (image.to_string().as_str(), image.base().as_str()),
                (full, base)
            );
            assert_eq!(ImageRef::parse(full).unwrap(), image);
        }
        let pinned = ImageRef::parse(&format!("ghcr.io/a/b:1@{digest}")).unwrap();
        assert_eq!(pinned.key(), digest);
        assert_eq!(
            pinned.names(),
            ["ghcr.io/a/b:1".to_owned(), format!("ghcr.io/a/b@{digest}")]
        );
        let bare = ImageRef::parse(&format!("ghcr.io/a/b@{digest}")).unwrap();
        assert_eq!((bare.tag, bare.digest), (None, Some(digest)));
    }

    #[test]
    fn what_is_no_reference_is_said() {
        for wrong in [
            "",
            ":",
            "a:",
            "A/b:1",
            "a//b:1",
            "../b:1",
            "ghcr.io/../b:1",
            "a@sha256:12",
            "a@md5:x",
            "a b:1",
            "ghcr.io/a:x/../y",
            "-/a",
            "a?x:1",
            "ghcr.io/.hidden:1",
        ] {
            let error = ImageRef::parse(wrong).unwrap_err();
            assert!(
                error.starts_with(&format!("`{wrong}` is no image: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn images_are_found_wherever_a_manifest_names_them() {
        let text = "
kind: Deployment
spec:
  containers:
    - image: \"quay.io/a/b:1\"
      name: image
    - name: c
      image: busybox:1.37 # for its shell
---
kind: ConfigMap
data:
  helperPod.yaml: |-
    spec:
      containers:
        - image: 'rancher/mirrored-library-busybox:1.37.0'
        - image: docker.io/library/alpine
---
properties:
  image:
    description: 'image: the one to run'
    type: string
  other: { image: text }
  image: {{ template }}:1
";
        assert_eq!(
            images_in(text),
            [
                "docker.io/library/alpine:latest",
                "docker.io/library/busybox:1.37",
                "docker.io/rancher/mirrored-library-busybox:1.37.0",
                "quay.io/a/b:1"
            ]
        );
    }
}
