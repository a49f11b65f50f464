//! `foundry bundle`: the artifacts and manifests of a stack in one file, for machines without internet. Connects to no host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::Global;
use super::exit::{CliError, CliResult};
use super::print::{Output, print, print_json, table};
use super::session::Session;
use crate::config::{Mirror, MirrorDigests};
use crate::ops::bundle::{self, BundleError, Index, Kind, Part};
use crate::probe::Known;
use crate::target::artifact::{Download, downloads};

/// How many downloads run side by side.
const AT_ONCE: usize = 4;

/// Packs the artifacts and manifests of a stack into one file, for machines without internet
#[derive(Debug, Args)]
#[command(after_help = "\
On a machine with internet:
  foundry bundle create stack.tar                    those of the whole stack
  foundry bundle create new.tar --since stack.tar    only what stack.tar does not hold
Where there is none:
  foundry bundle verify stack.tar                    is it whole?
  foundry bundle load stack.tar /srv/foundry         a folder for `mirrors:` of the config; prints what to put there
  foundry build stack

Contents are known by their BLAKE3 digest and held to the same SHA-256 that the recipes pin. Debian's packages are not
part of it: hosts get those from whatever mirror their sources.list names. Neither are charts and container images.")]
pub struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Downloads everything and writes the bundle
    Create {
        /// Where to write it
        file: PathBuf,
        /// For what: labels or expressions over them, with all that they need
        #[arg(default_value = "stack", value_name = "TARGET")]
        targets: Vec<String>,
        /// For which architectures of hosts
        #[arg(long, value_delimiter = ',', default_value = "amd64")]
        arch: Vec<String>,
        /// Leave out what this earlier bundle, or one that it builds on, holds
        #[arg(long, value_name = "BUNDLE")]
        since: Option<PathBuf>,
        /// How to print what it holds
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Reads a bundle and checks every content against its digests
    Verify {
        /// The bundle
        file: PathBuf,
        /// How to print what it holds
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Unpacks a bundle into a folder that `mirrors:` of the config can point to
    Load {
        /// The bundle
        file: PathBuf,
        /// The folder; loading further bundles into it adds to it
        folder: PathBuf,
    },
}

/// Runs `foundry bundle …`.
pub async fn bundle(args: BundleArgs, global: &Global) -> CliResult {
    match args.command {
        BundleCommand::Create {
            file,
            targets,
            arch,
            since,
            output,
        } => {
            let session = Session::open(global)?;
            let index = create(&session, &file, &targets, arch, since).await?;
            shown(&file, &index, output)
        }
        BundleCommand::Verify { file, output } => {
            let path = file.clone();
            let verified = aside(move || bundle::verify(&path)).await?;
            shown(&file, &verified.index, output)
        }
        BundleCommand::Load { file, folder } => {
            let folder = std::path::absolute(folder)?;
            let loaded = aside(move || bundle::load(&file, &folder)).await?;
            print(&format!(
                "{} downloads are ready. In the config:\n\n{}",
                loaded.index.entries.len(),
                stanza(&loaded.mirrors)
            ))
        }
    }
}

/// Does blocking work off the runtime's own threads.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(CliError::failed)?
        .map_err(CliError::from)
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        let hint = match &error {
            BundleError::Earlier { .. } => {
                Some("load the bundles that it was made `--since` first, into the same folder")
            }
            BundleError::Damaged { .. } => Some("copy it again, or make it again"),
            BundleError::Local { .. } | BundleError::Format { .. } => None,
        };
        let mut shown = Self::failed(error);
        shown.hint = hint.map(str::to_owned);
        shown
    }
}

async fn create(
    session: &Session,
    file: &Path,
    targets: &[String],
    arch: Vec<String>,
    since: Option<PathBuf>,
) -> Result<Index, CliError> {
    // An unreadable earlier bundle is told before anything is downloaded.
    let earlier = match since {
        Some(path) => aside(move || bundle::earlier(&path)).await?,
        None => BTreeSet::new(),
    };
    let wanted = wanted(session, targets, &arch)?;
    let parts: Vec<Part> = stream::iter(wanted)
        .map(|(download, steps)| async move {
            let fetched = download.fetch().await.map_err(|error| {
                let first = steps.first().cloned().unwrap_or_default();
                CliError::failed(format!("{first}: {error}"))
            })?;
            Ok::<_, CliError>(Part {
                url: download.upstream,
                digests: download.digests,
                steps,
                fetched,
            })
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let (path, stack) = (file.to_owned(), session.stack.name.to_string());
    aside(move || bundle::create(&path, &stack, &arch, parts, &earlier)).await
}

/// Returns what the selected steps download, each once, with the labels of the steps.
fn wanted(
    session: &Session,
    targets: &[String],
    arch: &[String],
) -> Result<Vec<(Download, BTreeSet<String>)>, CliError> {
    let graph = &*session.graph;
    let known = Known::new(graph, []);
    let selection = session.select(targets)?;
    let mut wanted: BTreeMap<String, (Download, BTreeSet<String>)> = BTreeMap::new();
    for id in graph.ids().filter(|id| selection.steps.contains(*id)) {
        let step = graph.step(id);
        let Some(action) = step
            .task
            .as_ref()
            .and_then(|task| task.apply.as_ref())
            .and_then(|apply| apply.action.as_deref())
        else {
            continue;
        };
        let label = step.label.to_string();
        let name = label.split('@').next().unwrap_or(&label);
        let inputs = known.fill(&step.inputs).values;
        for arch in arch {
            let found = downloads(action, &inputs, arch, &session.stack.mirrors)
                .map_err(|words| CliError::failed(format!("{name}: {words}")))?;
            for download in found {
                wanted
                    .entry(download.upstream.clone())
                    .or_insert_with(|| (download, BTreeSet::new()))
                    .1
                    .insert(name.to_owned());
            }
        }
    }
    Ok(wanted.into_values().collect())
}

fn shown(file: &Path, index: &Index, output: Output) -> CliResult {
    if output == Output::Json {
        return print_json(index);
    }
    let rows: Vec<Vec<String>> = index
        .entries
        .iter()
        .map(|entry| {
            let what = match (entry.earlier, entry.kind) {
                (true, _) => "earlier",
                (false, Kind::Artifact) => "artifact",
                (false, Kind::Checksums) => "checksums",
            };
            let steps: Vec<&str> = entry.steps.iter().map(String::as_str).collect();
            vec![
                what.to_owned(),
                indicatif::HumanBytes(entry.size).to_string(),
                entry.blake3[..12].to_owned(),
                steps.join(" "),
                entry.url.clone(),
            ]
        })
        .collect();
    let held: u64 = index
        .entries
        .iter()
        .filter(|entry| !entry.earlier)
        .map(|entry| entry.size)
        .sum();
    let mut out = table(&["WHAT", "SIZE", "BLAKE3", "FOR", "ADDRESS"], &rows);
    let _ = writeln!(
        out,
        "\n{}: stack {}, {}, {} downloads, {}",
        file.display(),
        index.stack,
        index.arch.join(" and "),
        index.entries.len(),
        indicatif::HumanBytes(held)
    );
    print(&out)
}

/// Writes mirrors as the config has them.
fn stanza(mirrors: &[Mirror]) -> String {
    let mut out = "mirrors:\n".to_owned();
    for mirror in mirrors {
        let _ = write!(
            out,
            "  - prefix: {}\n    url: {}\n",
            mirror.prefix, mirror.url
        );
        if mirror.digests == MirrorDigests::Mirror {
            out.push_str("    digests: mirror\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stanza_is_what_the_config_reads() {
        let mirrors = [
            Mirror {
                prefix: "https://up.example/v1/".to_owned(),
                url: "file:///srv/up.example/v1/".to_owned(),
                digests: MirrorDigests::Mirror,
            },
            Mirror {
                prefix: "https://".to_owned(),
                url: "file:///srv/".to_owned(),
                digests: MirrorDigests::Pinned,
            },
        ];
        let source = crate::config::Source {
            name: "stack.yaml".to_owned(),
            text: format!("cluster: {{ name: lab }}\n{}", stanza(&mirrors)),
        };
        let stack = crate::config::parse(&std::sync::Arc::new(source)).unwrap();
        assert_eq!(stack.mirrors, mirrors);
    }
}
