//! What whoever helps needs to see, in one archive: what hosts say of themselves, beside documents that the caller made.
//! Every text passes through the masker on its way in. Changes nothing on any host.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt as _, stream};

use crate::catalog::{Collector, Value, evaluate_over};
use crate::config::HostId;
use crate::graph::{Graph, Target};
use crate::probe::{Known, Readers};
use crate::secret::Masker;
use crate::target::Script;

/// How many hosts are asked at once.
const AT_ONCE: usize = 32;

/// How long a host may take to tell.
const DEADLINE: Duration = Duration::from_secs(60);

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Path within the archive.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Asks every host of the graph about itself and the units that the stack's steps look after. A host that can't be asked
/// is a document too: it says why.
pub async fn hosts(graph: &Graph, readers: &dyn Readers) -> Vec<Document> {
    let known = Known::new(graph, []);
    let count = u32::try_from(graph.stack.hosts.len()).unwrap_or(u32::MAX);
    stream::iter((0..count).map(HostId))
        .map(|host| {
            let units = units(graph, &known, host);
            async move {
                Document {
                    name: format!(
                        "hosts/{}.txt",
                        graph.stack.host(host).name.replace('/', "_")
                    ),
                    text: about(readers, host, &units).await,
                }
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn about(readers: &dyn Readers, host: HostId, units: &[Arc<str>]) -> String {
    let reader = match readers.reader(host).await {
        Ok(reader) => reader,
        Err(error) => return format!("can't be asked: {error}\n"),
    };
    let script = Script::new(
        include_str!("support.sh"),
        DEADLINE,
        &[("units", &units.join("\n"))],
    );
    match script.ask(&*reader).await {
        Ok(reply) => {
            let mut text = String::from_utf8_lossy(&reply.stdout).into_owned();
            if !reply.stderr.is_empty() {
                text.push_str("\n# standard error\n");
                text.push_str(&String::from_utf8_lossy(&reply.stderr));
            }
            text
        }
        Err(error) => format!("could not tell: {error}\n"),
    }
}

/// Returns the systemd units on a host that steps ask about.
fn units(graph: &Graph, known: &Known, host: HostId) -> Vec<Arc<str>> {
    let mut units: Vec<Arc<str>> = Vec::new();
    for step in &graph.steps {
        let (Target::Host(on), Some(task)) = (&step.target, &step.task) else {
            continue;
        };
        if *on != host {
            continue;
        }
        let values = known.fill(&step.inputs).values;
        for question in &task.probe.questions {
            if question.collector == Collector::Unit
                && let Ok((Value::Text(unit), false)) =
                    evaluate_over(&question.subject, &values, None)
            {
                units.push(unit.into());
            }
        }
    }
    units.sort_unstable();
    units.dedup();
    units
}

/// Writes the documents to `path` as a gzipped tar archive, masked, in a folder of the archive's own name.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, documents: &[Document], masker: &Masker) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let root = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let root = root
        .trim_end_matches(".gz")
        .trim_end_matches(".tgz")
        .trim_end_matches(".tar");
    let mut part = tempfile::Builder::new()
        .prefix(".foundry-support-")
        .tempfile_in(folder)?;
    let gzip = GzEncoder::new(
        io::BufWriter::new(part.as_file_mut()),
        Compression::default(),
    );
    let mut tar = tar::Builder::new(gzip);
    for document in documents {
        let text = masker.mask(&document.text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(
            &mut header,
            format!("{root}/{}", document.name),
            text.as_bytes(),
        )?;
    }
    tar.into_inner()?.finish()?.flush()?;
    part.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn no_known_secret_gets_into_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("help.tar.gz");
        let masker = Masker::new(&[Secret::new("hunter2-canary".to_owned())]);
        let documents = [Document {
            name: "hosts/a.txt".to_owned(),
            text: "password=hunter2-canary\nfine\n".to_owned(),
        }];
        write(&path, &documents, &masker).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(
            std::fs::File::open(&path).unwrap(),
        ));
        let mut member = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(member.path().unwrap().to_str(), Some("help/hosts/a.txt"));
        let mut text = String::new();
        member.read_to_string(&mut text).unwrap();
        assert!(
            !text.contains("hunter2") && text.ends_with("fine\n"),
            "{text}"
        );
    }
}
