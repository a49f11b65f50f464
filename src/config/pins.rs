//! `stack.pins`, the file beside a config that says of everything that the stack downloads which digest it has: read, looked up,
//! written. The same pins make the same bytes. Does not know what a stack downloads, and asks nobody.

use std::collections::{BTreeMap, btree_map};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::problem::{Problem, Problems};
use super::setting::{Source, Span};

/// Format of the file that this version reads and writes.
const FORMAT: i64 = 1;

/// What the file begins with unless somebody wrote something else there.
const HEADER: &str = "\
# Digests of everything that this stack downloads. `foundry stack pin` writes this file, every build holds to it: keep it in
# version control beside the config, and read its changes as those of code.
";

/// What is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinKind {
    /// A release's file, installed on hosts.
    Artifact,
    /// A Helm chart's archive.
    Chart,
    /// A file of Kubernetes objects.
    Manifest,
    /// A container image.
    Image,
}

impl fmt::Display for PinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifact => "artifact",
            Self::Chart => "chart",
            Self::Manifest => "manifest",
            Self::Image => "image",
        })
    }
}

/// Who said which digest it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinSource {
    /// The recipe, or the table of versions.
    Recipe,
    /// The release's own file of checksums.
    Checksums,
    /// The index of the chart's repository.
    Index,
    /// The registry that has it.
    Registry,
    /// Nobody: it is the digest of what was there when it was first asked for.
    Download,
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipe => "recipe",
            Self::Checksums => "checksums",
            Self::Index => "index",
            Self::Registry => "registry",
            Self::Download => "download",
        })
    }
}

/// Names one download: its kind, and what it is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinKey {
    /// What it is.
    pub kind: PinKind,
    /// Address of an artifact or manifest as upstream has it; repository, name and version of a chart; an image's full name with its
    /// tag.
    pub id: String,
}

impl PinKey {
    /// Names an artifact by its address.
    #[must_use]
    pub fn artifact(url: &str) -> Self {
        Self {
            kind: PinKind::Artifact,
            id: url.to_owned(),
        }
    }

    /// Names a manifest by its address.
    #[must_use]
    pub fn manifest(url: &str) -> Self {
        Self {
            kind: PinKind::Manifest,
            id: url.to_owned(),
        }
    }

    /// Names a chart.
    #[must_use]
    pub fn chart(repo: &str, name: &str, version: &str) -> Self {
        let repo = repo.trim_end_matches('/');
        Self {
            kind: PinKind::Chart,
            id: format!("{repo} {name} {version}").trim().to_owned(),
        }
    }

    /// Names an image by its full name and tag.
    #[must_use]
    pub fn image(name: &str) -> Self {
        Self {
            kind: PinKind::Image,
            id: name.to_owned(),
        }
    }
}

/// What the file says of one download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What it is.
    pub kind: PinKind,
    /// Name of an artifact or chart, full name and tag of an image; empty for a manifest.
    pub name: String,
    /// Version of an artifact or chart; else empty.
    pub version: String,
    /// Architecture of an artifact; else empty.
    pub arch: String,
    /// Address of a chart's repository; else empty.
    pub repo: String,
    /// Where it is, as upstream has it; empty for an image.
    pub url: String,
    /// Its SHA-256 in hex. An image's is that of its index, and so covers every platform.
    pub sha256: String,
    /// Who said so.
    pub source: PinSource,
    /// Images that a manifest names.
    pub images: Vec<String>,
    /// Where its digest is written.
    pub span: Span,
}

impl Pin {
    /// Returns what it is looked up by.
    #[must_use]
    pub fn key(&self) -> PinKey {
        match self.kind {
            PinKind::Artifact => PinKey::artifact(&self.url),
            PinKind::Chart => PinKey::chart(&self.repo, &self.name, &self.version),
            PinKind::Manifest => PinKey::manifest(&self.url),
            PinKind::Image => PinKey::image(&self.name),
        }
    }

    /// Returns its digest as registries write it.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// Returns whether a person may mean it by `name`.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        !name.is_empty() && (self.name == name || self.url == name || self.to_string() == name)
    }
}

/// For people: `artifact k3s 1.36.3+k3s1 amd64`.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        let name = match self.kind {
            PinKind::Manifest => &self.url,
            _ => &self.name,
        };
        let parts = [name, &self.version, &self.arch];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, " {part}"))
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The file, for errors that point into it; without text where there is none.
    pub source: Arc<Source>,
    /// Whether there is such a file.
    pub exists: bool,
    pins: BTreeMap<PinKey, Pin>,
}

impl Default for Pins {
    fn default() -> Self {
        Self::none("stack.pins")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: Spanned<i64>,
    #[serde(default)]
    artifact: Vec<ArtifactPin>,
    #[serde(default)]
    chart: Vec<ChartPin>,
    #[serde(default)]
    manifest: Vec<ManifestPin>,
    #[serde(default)]
    image: Vec<ImagePin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactPin {
    name: String,
    version: String,
    arch: String,
    url: Spanned<String>,
    sha256: Spanned<String>,
    source: PinSource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChartPin {
    name: Spanned<String>,
    version: String,
    #[serde(default)]
    repo: String,
    url: String,
    sha256: Spanned<String>,
    source: PinSource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestPin {
    url: Spanned<String>,
    sha256: Spanned<String>,
    source: PinSource,
    #[serde(default)]
    images: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagePin {
    name: Spanned<String>,
    digest: Spanned<String>,
    source: PinSource,
}

impl Pins {
    /// Returns the pins of a stack that has no such file; `name` is what it would be called.
    #[must_use]
    pub fn none(name: &str) -> Self {
        Self {
            source: Arc::new(Source {
                name: name.to_owned(),
                text: String::new(),
            }),
            exists: false,
            pins: BTreeMap::new(),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Everything that is wrong with it, with places.
    pub fn parse(source: Source) -> Result<Self, Problems> {
        let source = Arc::new(source);
        let mut problems = Problems::new(source.clone());
        let written: Written = match toml::from_str(&source.text) {
            Ok(written) => written,
            Err(error) => {
                let message = format!("can't be read: {}", error.message());
                let mut problem = match error.span() {
                    Some(range) => Problem::at(span(&source.text, &range), message),
                    None => Problem::new(message),
                };
                if source.text.contains("<<<<<<<") {
                    problem = problem.help("git could not merge it: keep the entries of both sides, then run `foundry stack pin`");
                }
                problems.push(problem);
                return Err(problems);
            }
        };
        if *written.format.get_ref() != FORMAT {
            let place = span(&source.text, &written.format.span());
            let message = format!("format {} can't be read", written.format.get_ref());
            problems.push(
                Problem::at(place, message).help(format!("this Foundry reads format {FORMAT}")),
            );
            return Err(problems);
        }
        let mut pins = Self {
            source,
            exists: true,
            pins: BTreeMap::new(),
        };
        for pin in written.artifact {
            let place = pin.url.span();
            let read = pins.read(PinKind::Artifact, pin.sha256, pin.source, &mut problems);
            let read = Pin {
                name: pin.name,
                version: pin.version,
                arch: pin.arch,
                url: pin.url.into_inner(),
                ..read
            };
            pins.add(read, &place, &mut problems);
        }
        for pin in written.chart {
            let place = pin.name.span();
            let read = pins.read(PinKind::Chart, pin.sha256, pin.source, &mut problems);
            let read = Pin {
                name: pin.name.into_inner(),
                version: pin.version,
                repo: pin.repo,
                url: pin.url,
                ..read
            };
            pins.add(read, &place, &mut problems);
        }
        for pin in written.manifest {
            let place = pin.url.span();
            let read = pins.read(PinKind::Manifest, pin.sha256, pin.source, &mut problems);
            let read = Pin {
                url: pin.url.into_inner(),
                images: pin.images,
                ..read
            };
            pins.add(read, &place, &mut problems);
        }
        for pin in written.image {
            let place = pin.name.span();
            let read = pins.read(PinKind::Image, pin.digest, pin.source, &mut problems);
            let read = Pin {
                name: pin.name.into_inner(),
                ..read
            };
            pins.add(read, &place, &mut problems);
        }
        problems.into_result(pins)
    }

    /// Begins an entry with its digest, which is checked.
    fn read(
        &self,
        kind: PinKind,
        digest: Spanned<String>,
        source: PinSource,
        problems: &mut Problems,
    ) -> Pin {
        let place = span(&self.source.text, &digest.span());
        let digest = digest.into_inner();
        let (hex, form) = match kind {
            PinKind::Image => (
                digest.strip_prefix("sha256:").unwrap_or_default(),
                "a digest is `sha256:` and 64 small hexadecimal digits",
            ),
            _ => (digest.as_str(), "a SHA-256 is 64 small hexadecimal digits"),
        };
        let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != 64 || !hex.bytes().all(small) {
            problems.push(Problem::at(place, form));
        }
        Pin {
            kind,
            name: String::new(),
            version: String::new(),
            arch: String::new(),
            repo: String::new(),
            url: String::new(),
            sha256: hex.to_owned(),
            source,
            images: Vec::new(),
            span: place,
        }
    }

    fn add(&mut self, pin: Pin, place: &std::ops::Range<usize>, problems: &mut Problems) {
        match self.pins.entry(pin.key()) {
            btree_map::Entry::Vacant(free) => _ = free.insert(pin),
            btree_map::Entry::Occupied(taken) => problems.push(
                Problem::at(
                    span(&self.source.text, place),
                    format!("{pin} is here twice"),
                )
                .help("leave one of them, then run `foundry stack pin`")
                .also(taken.get().span, "first here"),
            ),
        }
    }

    /// Returns what the file says of a download.
    #[must_use]
    pub fn get(&self, key: &PinKey) -> Option<&Pin> {
        self.pins.get(key)
    }

    /// Returns all entries, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// Returns whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// Returns the same file with other entries.
    #[must_use]
    pub fn with(&self, pins: impl IntoIterator<Item = Pin>) -> Self {
        Self {
            source: self.source.clone(),
            exists: self.exists,
            pins: pins.into_iter().map(|pin| (pin.key(), pin)).collect(),
        }
    }

    /// Returns the file's text: what people wrote at its head, then every entry in order.
    #[must_use]
    pub fn text(&self) -> String {
        let comment = |line: &&str| line.is_empty() || line.starts_with('#');
        let head: Vec<&str> = self.source.text.lines().take_while(comment).collect();
        let head = head.join("\n");
        let mut out = match head.trim() {
            "" => HEADER.to_owned(),
            own => format!("{own}\n"),
        };
        let _ = write!(out, "\nformat = {FORMAT}\n");
        let mut sorted: Vec<&Pin> = self.pins.values().collect();
        sorted.sort_by(|a, b| order(a).cmp(&order(b)));
        for pin in sorted {
            let _ = write!(out, "\n[[{}]]\n", pin.kind);
            let digest = match pin.kind {
                PinKind::Image => ("digest", pin.digest()),
                _ => ("sha256", pin.sha256.clone()),
            };
            let fields = [
                ("name", pin.name.clone()),
                ("version", pin.version.clone()),
                ("arch", pin.arch.clone()),
                ("repo", pin.repo.clone()),
                ("url", pin.url.clone()),
                digest,
                ("source", pin.source.to_string()),
            ];
            for (key, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
                let _ = writeln!(out, "{key:<7} = {}", quoted(value));
            }
            if !pin.images.is_empty() {
                let images: Vec<String> = pin.images.iter().map(|image| quoted(image)).collect();
                let _ = writeln!(out, "images  = [{}]", images.join(", "));
            }
        }
        out
    }
}

/// In which order entries are written: by kind, then by name, version and architecture.
fn order(pin: &Pin) -> [&str; 6] {
    let kind = match pin.kind {
        PinKind::Artifact => "1",
        PinKind::Chart => "2",
        PinKind::Manifest => "3",
        PinKind::Image => "4",
    };
    [
        kind,
        &pin.name,
        &pin.version,
        &pin.arch,
        &pin.repo,
        &pin.url,
    ]
}

/// Writes a text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Returns the place of a range of bytes.
fn span(text: &str, range: &std::ops::Range<usize>) -> Span {
    let before = text.get(..range.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
    Span {
        start: range.start,
        end: range.end,
        line: number(before.matches('\n').count()),
        column: number(before[line_start..].chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# Ours.
# Asked of upstream on Tuesdays.

format = 1

[[artifact]]
name    = "tool"
version = "1.0.0"
arch    = "amd64"
url     = "https://up.example/tool-1.0.0-amd64.tar.gz"
sha256  = "8dc11cc5fca0b539a9e352727dacb4e2d304daffcf9a66e0718ac325a20d05aa"
source  = "checksums"

[[artifact]]
name    = "tool"
version = "1.0.0"
arch    = "arm64"
url     = "https://up.example/tool-1.0.0-arm64.tar.gz"
sha256  = "1b408e01f3565ac0cbcb88d637dca271d0515148fb72efdeff4473a34fa50c4e"
source  = "recipe"

[[chart]]
name    = "web"
version = "1.2.0"
repo    = "https://charts.example/stable"
url     = "https://charts.example/stable/web-1.2.0.tgz"
sha256  = "7e729efdfdca0c8848258bcf862cc3112c874af080f85aea8e6ff4b3f8cc8a54"
source  = "index"

[[manifest]]
url     = "https://up.example/crds.yaml"
sha256  = "9781b39c24f3f651bd6d6e41b561e04e4904bbdb6d4f8c7a6009df3a702dcd65"
source  = "recipe"
images  = ["docker.io/library/busybox:1"]

[[image]]
name    = "docker.io/library/busybox:1"
digest  = "sha256:7d9e4eea5f1139e602508871f422b0116c60e87c662f3dcd234d5ab60cd0d8c1"
source  = "registry"
"#;

    fn parse(text: &str) -> Result<Pins, Problems> {
        Pins::parse(Source {
            name: "stack.pins".to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn what_is_written_is_read_again_and_comments_at_its_head_stay() {
        let pins = parse(TEXT).unwrap();
        assert_eq!(pins.text(), TEXT);
        // Entries out of order are put in order.
        let (head, rest) = TEXT.split_once("[[artifact]]").unwrap();
        let (artifacts, others) = rest.split_once("[[chart]]").unwrap();
        let turned = format!("{head}[[chart]]{others}\n[[artifact]]{artifacts}");
        assert_eq!(parse(&turned).unwrap().text(), TEXT);
        assert!(
            pins.with([])
                .text()
                .starts_with("# Ours.\n# Asked of upstream on Tuesdays.\n\nformat = 1\n")
        );
        assert!(Pins::none("lab.pins").text().starts_with(HEADER));
    }

    #[test]
    fn downloads_are_found_by_what_names_them() {
        let pins = parse(TEXT).unwrap();
        let found = |key: PinKey| pins.get(&key).map(ToString::to_string);
        for (key, wanted) in [
            (
                PinKey::artifact("https://up.example/tool-1.0.0-arm64.tar.gz"),
                "artifact tool 1.0.0 arm64",
            ),
            (
                PinKey::chart("https://charts.example/stable/", "web", "1.2.0"),
                "chart web 1.2.0",
            ),
            (
                PinKey::manifest("https://up.example/crds.yaml"),
                "manifest https://up.example/crds.yaml",
            ),
            (
                PinKey::image("docker.io/library/busybox:1"),
                "image docker.io/library/busybox:1",
            ),
        ] {
            assert_eq!(found(key).as_deref(), Some(wanted));
        }
        assert_eq!(found(PinKey::image("docker.io/library/busybox:2")), None);
        let image = pins
            .get(&PinKey::image("docker.io/library/busybox:1"))
            .unwrap();
        assert!(image.digest().starts_with("sha256:7d9e"));
        assert!(image.is_called("docker.io/library/busybox:1"));
        assert!(!image.is_called(""), "an image has no address");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let twice = TEXT.replace("tool-1.0.0-arm64", "tool-1.0.0-amd64");
        let short = TEXT.replace("9781b39c", "9781B39C");
        let bare = TEXT.replace("\"sha256:7d9e", "\"7d9e");
        for (text, wanted) in [
            (
                twice,
                "stack.pins:18:11: artifact tool 1.0.0 arm64 is here twice (leave one",
            ),
            (
                short,
                "stack.pins:32:11: a SHA-256 is 64 small hexadecimal digits",
            ),
            (bare, "stack.pins:38:11: a digest is `sha256:` and"),
            (
                TEXT.replace("format = 1", "format = 2"),
                "stack.pins:4:10: format 2 can't be read (this Foundry reads format 1)",
            ),
            (
                TEXT.replace("format = 1", ""),
                "stack.pins:1:1: can't be read: missing field `format`",
            ),
            (
                TEXT.replace("arch    = \"arm64\"", "architecture = \"arm64\""),
                "unknown field `architecture`",
            ),
            (
                TEXT.replace("[[chart]]", "<<<<<<< HEAD\n[[chart]]"),
                "keep the entries of both sides",
            ),
        ] {
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
        }
    }
}
