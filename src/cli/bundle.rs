//! `foundry bundle`: all that a stack downloads in one file, for machines without internet. Connects to no host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Global;
use super::bundle_sign::{self, KeygenArgs, SignArgs, TrustArgs};
use super::exit::{CliError, CliResult};
use super::print::{Output, print, print_json, say, table, warn};
use super::session::Session;
use crate::config::{Mirror, MirrorDigests};
use crate::ops::bundle::{self, BundleError, Index, Kind, Needs, Signed, Signer};
use crate::target::artifact::Platform;
use crate::terminal::line;

/// Packs all that a stack downloads into one file, for machines without internet
#[derive(Debug, Args)]
#[command(after_help = "\
On a machine with internet:
  foundry bundle create stack.tar                    those of the whole stack
  foundry bundle create new.tar --since stack.tar    only what stack.tar does not hold
Where there is none:
  foundry bundle verify stack.tar                    is it whole?
  foundry bundle load stack.tar /srv/foundry         checks who signed it; a folder for `mirrors:` of the config; prints what to put there
  foundry build stack

In it are artifacts, manifests, charts and container images. Contents are known by their BLAKE3 digest and held to the same \
SHA-256 that recipes, repositories and registries say. Debian's packages are not part of it: hosts get those from whatever \
mirror their sources.list names.")]
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
        /// For which kinds of hosts
        #[arg(long, value_delimiter = ',', default_value = "linux/amd64")]
        platform: Vec<Platform>,
        /// Leave container images out
        #[arg(long)]
        without_images: bool,
        /// Leave out what this earlier bundle, or one that it builds on, holds
        #[arg(long, value_name = "BUNDLE")]
        since: Option<PathBuf>,
        #[command(flatten)]
        sign: SignArgs,
        /// How to print what it holds
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Makes a pair of keys for signing bundles, in minisign's format
    Keygen(KeygenArgs),
    /// Reads a whole bundle and signs it
    Sign {
        /// The bundle
        file: PathBuf,
        #[command(flatten)]
        sign: SignArgs,
    },
    /// Reads a bundle and checks every content against its digests
    Verify {
        /// The bundle
        file: PathBuf,
        #[command(flatten)]
        trust: TrustArgs,
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
        #[command(flatten)]
        trust: TrustArgs,
        /// Load it although no trusted key signed it
        #[arg(long)]
        unsigned: bool,
    },
}

/// Runs `foundry bundle …`.
pub async fn bundle(args: BundleArgs, global: &Global) -> CliResult {
    match args.command {
        BundleCommand::Create {
            file,
            targets,
            platform,
            without_images,
            since,
            sign,
            output,
        } => {
            // A key that can't be used is told before anything is downloaded.
            let signer = sign.signer(global).await?;
            let session = Session::open(global)?;
            let images = !without_images;
            let index = create(&session, &file, &targets, &platform, images, since, signer).await?;
            shown(&file, &index, output)
        }
        BundleCommand::Keygen(args) => bundle_sign::keygen(args, global).await,
        BundleCommand::Sign { file, sign } => {
            let signer = sign.signer(global).await?;
            let signer =
                signer.ok_or_else(|| CliError::usage("`--sign-key` says which key signs"))?;
            let (path, key) = (file.clone(), signer.public());
            aside(move || bundle::sign(&path, &signer)).await?;
            say(&format!("{} is signed by key {}", file.display(), key.id()));
            Ok(())
        }
        BundleCommand::Verify {
            file,
            trust,
            output,
        } => {
            let (path, trust) = (file.clone(), trust.trust(false, global)?);
            let verified = aside(move || bundle::verify(&path, &trust)).await?;
            say(&signed_by(&file, &verified.signed));
            shown(&file, &verified.index, output)
        }
        BundleCommand::Load {
            file,
            folder,
            trust,
            unsigned,
        } => {
            let folder = std::path::absolute(folder)?;
            let (path, trust) = (file.clone(), trust.trust(unsigned, global)?);
            let loaded = aside(move || bundle::load(&path, &folder, &trust)).await?;
            let told = signed_by(&file, &loaded.signed);
            match &loaded.signed {
                Signed::Trusted { .. } => say(&told),
                Signed::Unknown { .. } | Signed::No => warn(&told),
            }
            let index = &loaded.index;
            let mut page = line(format_args!(
                "{} downloads and {} images are ready. In the config:",
                downloads(index).count(),
                index.images.len(),
            ));
            page.gap();
            page.drawn(&stanza(&loaded.mirrors));
            print(&page)
        }
    }
}

fn signed_by(file: &Path, signed: &Signed) -> String {
    let file = file.display();
    match signed {
        Signed::Trusted { key, comment } => {
            format!("{file} is signed by the trusted key {key}: {comment}")
        }
        Signed::Unknown { key } => {
            format!("{file} is signed by key {key}, which is none that is trusted here")
        }
        Signed::No => format!("{file} is not signed"),
    }
}

/// Does blocking work off the runtime's own threads.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, CliError> {
    aside_plain(work).await?.map_err(CliError::from)
}

/// As [`aside`], for work with results of its own.
pub(super) async fn aside_plain<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(CliError::failed)
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        let hint = match &error {
            BundleError::Earlier { .. } => {
                Some("load the bundles that it was made `--since` first, into the same folder")
            }
            BundleError::Damaged { .. } => Some("copy it again, or make it again"),
            BundleError::Untrusted { hint, .. } => Some(*hint),
            BundleError::Missing { .. } => Some(
                "what was fetched stays in the cache: run it again once the rest can be had; `--without-images` leaves images out",
            ),
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
    platforms: &[Platform],
    images: bool,
    since: Option<PathBuf>,
    signer: Option<Signer>,
) -> Result<Index, CliError> {
    // An unreadable earlier bundle is told before anything is downloaded.
    let earlier = match since {
        Some(path) => aside(move || bundle::earlier(&path)).await?,
        None => BTreeMap::new(),
    };
    let selection = session.select(targets)?;
    let mirrors = &session.stack.mirrors;
    let needs = Needs::of(&session.graph, &selection.steps, platforms, mirrors)
        .map_err(|wrong| CliError::failed(wrong.join("\n")))?;
    let staged = needs.staged;
    let gathered = bundle::gather(needs, images.then_some(platforms), &earlier, mirrors).await?;
    let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let (path, stack) = (file.to_owned(), session.stack.name.to_string());
    let index = aside(move || {
        bundle::create(
            &path,
            &stack,
            &platforms,
            gathered,
            &earlier,
            signer.as_ref(),
        )
    })
    .await?;
    for chart in index.entries.iter().filter(|entry| entry.as_found) {
        warn(&format!(
            "{} is pinned by no recipe: taken as it is, sha256 {}",
            chart.url, chart.sha256
        ));
    }
    if !staged && !index.images.is_empty() {
        warn(
            "no step of the stack puts images on hosts: hosts that reach no registry need `images: true` of `k3s`, before a bundle is made",
        );
    }
    Ok(index)
}

/// Returns what people count: images are wholes, and what leads to something is none.
fn downloads(index: &Index) -> impl Iterator<Item = &bundle::Entry> {
    let shown = |kind| !matches!(kind, Kind::Manifest | Kind::Blob | Kind::ChartIndex);
    index.entries.iter().filter(move |entry| shown(entry.kind))
}

fn shown(file: &Path, index: &Index, output: Output) -> CliResult {
    if output == Output::Json {
        return print_json(index);
    }
    let steps = |steps: &std::collections::BTreeSet<String>| {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        steps.join(" ")
    };
    let mut rows: Vec<Vec<String>> = downloads(index)
        .map(|entry| {
            let what = match (entry.earlier, entry.kind) {
                (true, _) => "earlier",
                (false, Kind::Checksums) => "checksums",
                (false, Kind::Chart) => "chart",
                (false, _) => "artifact",
            };
            vec![
                what.to_owned(),
                indicatif::HumanBytes(entry.size).to_string(),
                entry.blake3[..12].to_owned(),
                steps(&entry.steps),
                entry.url.clone(),
            ]
        })
        .collect();
    let earlier = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        let mut entries = index.entries.iter();
        entries.any(|entry| entry.earlier && entry.sha256 == hex)
    };
    rows.extend(index.images.iter().map(|image| {
        let hex = image.digest.trim_start_matches("sha256:");
        let what = if earlier(&image.digest) {
            "earlier"
        } else {
            "image"
        };
        vec![
            what.to_owned(),
            indicatif::HumanBytes(image.size).to_string(),
            hex.get(..12).unwrap_or(hex).to_owned(),
            steps(&image.steps),
            image.name.clone(),
        ]
    }));
    // What several have is in it once.
    let held: BTreeMap<&str, u64> = index
        .entries
        .iter()
        .filter(|entry| !entry.earlier)
        .map(|entry| (entry.blake3.as_str(), entry.size))
        .collect();
    let mut out = table(&["WHAT", "SIZE", "DIGEST", "FOR", "ADDRESS"], &rows);
    out.gap();
    let _ = writeln!(
        out,
        "{}: stack {}, {}, {} downloads and {} images, {}",
        file.display(),
        index.stack,
        index.platforms.join(" and "),
        downloads(index).count(),
        index.images.len(),
        indicatif::HumanBytes(held.values().sum())
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
