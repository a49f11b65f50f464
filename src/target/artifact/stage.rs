//! `artifact.image`: an image lies on a host as an archive, for a container runtime that imports what it finds when it starts. The
//! machine that Foundry runs on pulls it, through the mirrors, and pushes it over SSH. Knows no runtime.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::platform::Platform;
use super::registry::{Manifest, Registry};
use super::{fetch, layout, record};
use crate::catalog::{Collector, ImageRef, Value, Values};
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError, Upload};
use crate::target::script::Script;
use crate::target::{group, inputs};

/// Puts an image on a host.
pub struct StageImage;

/// Name of the action.
pub const IMAGE: &str = "artifact.image";

/// Folder on hosts of what is known of the archives on them: no runtime is to import a record.
const RECORDS: &str = "/opt/foundry/.images";

/// Archives made in this run, by what is in them: many hosts get the same.
type Made = HashMap<String, Arc<OnceCell<(PathBuf, String)>>>;

static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);

/// Returns the place of an archive's record.
fn record_of(path: &str) -> String {
    format!("{RECORDS}/{}", path.replace('/', "_"))
}

/// As [`record::facts`]; an archive of the same name that was made of another digest is another one.
fn image_facts(told: &Facts, image: &str) -> Facts {
    let mut facts = record::facts(told, &BTreeMap::new(), &BTreeMap::new());
    let mut lines = group::fact(told, "record", "content").lines();
    let recorded = lines.find_map(|line| line.strip_prefix("image "));
    if facts
        .get("state")
        .is_some_and(|state| state.value() == "installed")
        && recorded != Some(image)
    {
        facts.insert("state".to_owned(), "another".into());
    }
    facts
}

impl ActionProbe for StageImage {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        let path = inputs::text(inputs, "path")?;
        ImageRef::parse(inputs::text(inputs, "image")?)?;
        let question = |collector, prefix: &str, subject| Question {
            collector,
            prefix: prefix.to_owned(),
            subject: Value::Text(subject),
            secret: false,
        };
        Ok(vec![
            question(Collector::Content, "record", record_of(path)),
            question(Collector::Stat, "file", path.to_owned()),
        ])
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let image = wanted(inputs).map_err(group::senseless)?.to_string();
        match group::all(seen)?.first() {
            Some((_, told)) => Ok(image_facts(told, &image)),
            None => Err(group::senseless("an image is for one host".to_owned())),
        }
    }
}

impl Action for StageImage {
    fn name(&self) -> &'static str {
        IMAGE
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let text = |name| inputs::text(context.inputs, name).map_err(inputs::wrong);
            let (path, image) = (text("path")?, text("image")?);
            let image = ImageRef::parse(image).map_err(inputs::wrong)?;
            let (Some(&host), Some(Some(facts))) =
                (context.hosts.first(), context.host_facts.first())
            else {
                return Err(inputs::wrong(
                    "the host did not tell its architecture".into(),
                ));
            };
            let platform = Platform::linux(&facts.arch);
            let registry = Registry::new(&context.stack.mirrors);
            (context.say)(&format!("pulling {image} for {platform}"));
            let (from, sha256) = archive(&registry, &image, &platform)
                .await
                .map_err(inputs::wrong)?;
            (context.say)("pushing it over SSH");
            let writer = context.writers.writer(host).await?;
            let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
            let ready = Script::new(
                "enter \"$folder\" root\nenter \"$records\" root\nchmod 0700 -- .\n",
                Duration::from_secs(60),
                &[("folder", &folder.to_string_lossy()), ("records", RECORDS)],
            );
            ready.run(&*writer).await?;
            let upload = Upload {
                from,
                to: path.to_owned(),
                owner: "root:root".to_owned(),
                mode: "0600".to_owned(),
                sha256: sha256.clone(),
            };
            writer.upload(&upload).await?;
            Script::new(
                include_str!("stage.sh"),
                Duration::from_secs(60),
                &[
                    ("path", path),
                    ("record", &record_of(path)),
                    ("image", &image.to_string()),
                    ("sha256", &sha256),
                    ("arch", &facts.arch),
                ],
            )
            .run(&*writer)
            .await?;
            Ok(())
        })
    }
}

/// Pulls an image and makes an archive of it in the cache, once a run; returns the archive and its SHA-256.
async fn archive(
    registry: &Registry,
    image: &ImageRef,
    platform: &Platform,
) -> Result<(PathBuf, String), String> {
    let made = {
        let mut all = MADE.lock().await;
        all.entry(format!("{image} {platform}"))
            .or_default()
            .clone()
    };
    let made = made
        .get_or_try_init(|| async {
            let pulled = registry
                .image(image, std::slice::from_ref(platform))
                .await?;
            let (_, manifest) = pulled
                .platforms
                .into_iter()
                .next()
                .ok_or("it has no platform")?;
            let mut blobs = BTreeMap::new();
            for blob in manifest.blobs() {
                blobs.insert(blob.digest.clone(), registry.blob(image, blob).await?);
            }
            let names = image.names();
            tokio::task::spawn_blocking(move || write(names, &manifest, &blobs))
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("the archive of an image can't be written: {error}"))
        })
        .await;
    made.cloned()
        .map_err(|why: String| format!("{image}: {why}"))
}

fn write(
    names: Vec<String>,
    manifest: &Manifest,
    blobs: &BTreeMap<String, PathBuf>,
) -> io::Result<(PathBuf, String)> {
    let folder = fetch::cache_ready().map_err(io::Error::other)?;
    let mut part = tempfile::Builder::new()
        .prefix(".image-")
        .tempfile_in(&folder)?;
    let sha256 = {
        let mut hashing = Hashing {
            inner: io::BufWriter::new(part.as_file_mut()),
            sha256: Sha256::new(),
        };
        layout::archive(names, manifest, blobs, &mut hashing)?;
        hex::encode(hashing.sha256.finalize())
    };
    let done = folder.join(&sha256);
    part.persist(&done).map_err(|error| error.error)?;
    Ok((done, sha256))
}

struct Hashing<W> {
    inner: W,
    sha256: Sha256,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the image that a step with these inputs needs, for those who fetch it ahead of time.
///
/// # Errors
/// When the inputs make no sense.
pub fn wanted(inputs: &Values) -> Result<ImageRef, String> {
    ImageRef::parse(inputs::text(inputs, "image")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_another_digest_is_another_image() {
        let told = crate::target::fixture::facts(&[
            (
                "record.content",
                "image docker.io/a:1@sha256:aa\nsha256 ab\narch amd64\nsize 10\nmtime 20\n",
            ),
            ("file.kind", "file"),
            ("file.size", "10"),
            ("file.mtime", "20"),
        ]);
        let state = |image| image_facts(&told, image)["state"].value().to_owned();
        assert_eq!(state("docker.io/a:1@sha256:aa"), "installed");
        assert_eq!(state("docker.io/a:1@sha256:bb"), "another");
        assert_eq!(state("docker.io/a:1"), "another");
        let none =
            crate::target::fixture::facts(&[("record.content", "absent"), ("file.kind", "absent")]);
        assert_eq!(
            image_facts(&none, "docker.io/a:1")["state"].value(),
            "absent"
        );
    }
}
