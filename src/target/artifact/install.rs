//! The action itself: the host downloads, or the controller does and pushes; the host verifies, unpacks, moves into
//! place. Does not know what the artifact is.

use std::time::Duration;

use futures::future::BoxFuture;

use super::source::{self, Source, Wanted};
use super::{fetch, record};
use crate::catalog::{Collector, Value, Values};
use crate::probe::{ActionProbe, Facts, Fault, Question, Reply, Seen};
use crate::run::{Action, ActionContext, StepError, Upload, Writer};
use crate::target::script::{Script, tail};
use crate::target::{group, inputs};

/// Installs a download.
pub struct Install;

/// Longest that the host may take to download and unpack.
const DEADLINE: Duration = Duration::from_secs(25 * 60);

/// Statuses by which `install.sh` tells what went wrong.
mod status {
    /// The download could not be had from there.
    pub const UNREACHABLE: i32 = 10;
    /// It is another file.
    pub const DIGEST: i32 = 11;
    /// The disk is full.
    pub const FULL: i32 = 12;
    /// The host has no program for it.
    pub const NO_TOOL: i32 = 13;
}

/// What of the inputs both halves need.
struct Order<'a> {
    name: &'a str,
    version: &'a str,
    member: &'a str,
}

impl<'a> Order<'a> {
    fn read(inputs: &'a Values) -> Result<Self, String> {
        let order = Self {
            name: inputs::text(inputs, "name")?,
            version: inputs::text(inputs, "version")?,
            member: inputs::text(inputs, "member")?,
        };
        for part in [order.name, order.version] {
            if part.is_empty() || part.starts_with('.') || part.contains('/') {
                return Err(format!("`{part}` can't name a folder"));
            }
        }
        Ok(order)
    }

    fn folder(&self) -> String {
        record::folder(self.name, self.version)
    }

    /// Returns what of it is looked at: the one file, or the folder.
    fn installed(&self) -> String {
        if self.member.is_empty() {
            return self.folder();
        }
        format!("{}/{}", self.folder(), source::file_name(self.member))
    }
}

impl ActionProbe for Install {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        let order = Order::read(inputs)?;
        let question = |collector, prefix: &str, subject| Question {
            collector,
            prefix: prefix.to_owned(),
            subject: Value::Text(subject),
            secret: false,
        };
        Ok(vec![
            question(
                Collector::Content,
                "record",
                format!("{}/.foundry", order.folder()),
            ),
            question(Collector::Stat, "file", order.installed()),
        ])
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let pins = inputs::map(inputs, "sha256").map_err(group::senseless)?;
        let checksums = inputs::map(inputs, "checksums").map_err(group::senseless)?;
        match group::all(seen)?.first() {
            Some((_, told)) => Ok(record::facts(told, &pins, &checksums)),
            None => Err(group::senseless("an artifact is for one host".to_owned())),
        }
    }
}

impl Action for Install {
    fn name(&self) -> &'static str {
        super::INSTALL
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let order = Order::read(context.inputs).map_err(inputs::wrong)?;
            let (Some(&host), Some(Some(facts))) =
                (context.hosts.first(), context.host_facts.first())
            else {
                return Err(inputs::wrong(
                    "the host did not tell its architecture".into(),
                ));
            };
            let writer = context.writers.writer(host).await?;
            let checksums = inputs::map(context.inputs, "checksums").map_err(inputs::wrong)?;
            let source = source::choose(
                &facts.arch,
                &inputs::map(context.inputs, "url").map_err(inputs::wrong)?,
                &inputs::map(context.inputs, "sha256").map_err(inputs::wrong)?,
                checksums
                    .get(facts.arch.as_str())
                    .copied()
                    .unwrap_or_default(),
                &context.stack.mirrors,
            )
            .map_err(inputs::wrong)?;
            let sha256 = digest(&source, &*writer).await?;
            let via = inputs::text(context.inputs, "via").map_err(inputs::wrong)?;
            let push = via == "controller" || source.url.starts_with("file://");
            let job = Job {
                context,
                order,
                source: &source,
                sha256: &sha256,
                arch: &facts.arch,
                writer: &*writer,
            };
            if !push {
                (context.say)(&format!("downloading {}", source.url));
                match job.install(&source.url).await {
                    Err(Refused {
                        unreachable: true,
                        error,
                    }) if via == "auto" => {
                        (context.say)(&format!("{error}; downloading here and pushing"));
                    }
                    other => return other.map_err(|refused| refused.error),
                }
            }
            job.push().await?;
            job.install("").await.map_err(|refused| refused.error)
        })
    }
}

/// Returns the SHA-256 that the download must have.
async fn digest(source: &Source, writer: &dyn Writer) -> Result<String, StepError> {
    let checksums = match &source.digest {
        Wanted::Pinned(pin) => return Ok(pin.clone()),
        Wanted::Listed { checksums, .. } => checksums,
    };
    let text = match fetch::text(checksums, fetch::CHECKSUMS).await {
        Ok(text) => text,
        Err(error) if checksums.starts_with("file://") => {
            return Err(inputs::wrong(error.to_string()));
        }
        // The controller may sit where only the hosts can reach out.
        Err(error) => {
            let script = Script::new(
                include_str!("text.sh"),
                Duration::from_secs(60),
                &[("url", checksums)],
            );
            match script.run(writer).await {
                Ok(text) => text.expose().clone(),
                Err(_) => return Err(inputs::wrong(error.to_string())),
            }
        }
    };
    let name = source::file_name(&source.url);
    source::listed(&text, name)
        .ok_or_else(|| inputs::wrong(format!("{checksums} says nothing of {name}")))
}

struct Job<'a> {
    context: &'a ActionContext<'a>,
    order: Order<'a>,
    source: &'a Source,
    sha256: &'a str,
    arch: &'a str,
    writer: &'a dyn Writer,
}

/// What the host could not do, and whether that was reaching the address.
struct Refused {
    unreachable: bool,
    error: StepError,
}

impl Job<'_> {
    /// Has the host unpack the download, which it fetches from `url` first unless that is empty.
    async fn install(&self, url: &str) -> Result<(), Refused> {
        let digests = match &self.source.digest {
            Wanted::Pinned(_) => "pinned",
            Wanted::Listed { mirror: true, .. } => "mirror",
            Wanted::Listed { mirror: false, .. } => "release",
        };
        let mode = inputs::text(self.context.inputs, "mode").map_err(|words| Refused {
            unreachable: false,
            error: inputs::wrong(words),
        })?;
        let unpack = inputs::flag(self.context.inputs, "unpack").map_err(|words| Refused {
            unreachable: false,
            error: inputs::wrong(words),
        })?;
        let reply = Script::new(
            include_str!("install.sh"),
            DEADLINE,
            &[
                ("url", url),
                ("source", &self.source.url),
                ("sha256", self.sha256),
                ("digests", digests),
                ("arch", self.arch),
                ("folder", &self.order.folder()),
                ("downloads", record::DOWNLOADS),
                ("member", self.order.member),
                ("file", source::file_name(&self.source.url)),
                ("unpack", if unpack { "yes" } else { "no" }),
                ("mode", mode),
            ],
        )
        .reply(self.writer)
        .await
        .map_err(|error| Refused {
            unreachable: false,
            error,
        })?;
        self.judge(&reply)
    }

    fn judge(&self, reply: &Reply) -> Result<(), Refused> {
        let output = tail(&reply.stderr);
        let full = output.contains("No space left on device");
        let (message, hint) = match reply.status {
            Some(0) => return Ok(()),
            Some(status::FULL) => (
                "the host's disk is full".to_owned(),
                Some("make room under /opt/foundry and run again: the download goes on where it stopped".to_owned()),
            ),
            _ if full => ("the host's disk is full".to_owned(), Some("make room under /opt/foundry and run again".to_owned())),
            Some(status::DIGEST) => (
                format!(
                    "{} has sha256 {}, wanted {}: nothing was installed",
                    self.source.url,
                    String::from_utf8_lossy(&reply.stdout).trim(),
                    self.sha256
                ),
                Some("the file was changed upstream or on the way: find out which before `foundry stack pin --update --accept` takes the new one".to_owned()),
            ),
            Some(status::UNREACHABLE) => (
                format!("the host can't download {}", self.source.url),
                Some("set `mirrors` in the config, or `via: controller`".to_owned()),
            ),
            Some(status::NO_TOOL) => ("the host lacks a program for this".to_owned(), None),
            Some(other) => (format!("installing ended with status {other}"), None),
            None => ("installing was killed".to_owned(), None),
        };
        Err(Refused {
            unreachable: matches!(reply.status, Some(status::UNREACHABLE)),
            error: StepError::Failed {
                message,
                output,
                hint,
                status: reply.status,
            },
        })
    }

    /// Downloads here and puts the file where `install.sh` looks for it.
    async fn push(&self) -> Result<(), StepError> {
        let from = fetch::file(&self.source.url, self.sha256, None)
            .await
            .map_err(|error| inputs::wrong(error.to_string()))?;
        (self.context.say)("pushing it over SSH");
        Script::new(
            "enter \"$downloads\" root\nchmod 0700 -- .\n",
            Duration::from_secs(60),
            &[("downloads", record::DOWNLOADS)],
        )
        .run(self.writer)
        .await?;
        self.writer
            .upload(&Upload {
                from,
                to: format!("{}/{}", record::DOWNLOADS, self.sha256),
                owner: "root:root".to_owned(),
                mode: "0600".to_owned(),
                sha256: self.sha256.to_owned(),
            })
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Output};

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn archive() -> (Vec<u8>, String) {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        for (name, text) in [
            ("tool-1/tool", "#!/bin/sh\necho one\n"),
            ("tool-1/LICENSE", "free"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            header.set_cksum();
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        let digest = hex::encode(Sha256::digest(&bytes));
        (bytes, digest)
    }

    /// Runs `install.sh` in a folder of its own, as the current user (who must be root for `chown`).
    fn run(root: &Path, download: Option<&[u8]>, sha256: &str, member: &str) -> Output {
        run_with(root, download, sha256, member, "yes")
    }

    fn run_with(
        root: &Path,
        download: Option<&[u8]>,
        sha256: &str,
        member: &str,
        unpack: &str,
    ) -> Output {
        let downloads = root.join(".downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        if let Some(bytes) = download {
            std::fs::write(downloads.join(sha256), bytes).unwrap();
        }
        let folder = root.join("tool/1");
        let script = Script::new(
            include_str!("install.sh"),
            DEADLINE,
            &[
                ("url", ""),
                ("source", "https://up.example/tool.tar.gz"),
                ("sha256", sha256),
                ("digests", "pinned"),
                ("arch", "amd64"),
                ("folder", folder.to_str().unwrap()),
                ("downloads", downloads.to_str().unwrap()),
                ("member", member),
                ("file", "tool.tar.gz"),
                ("unpack", unpack),
                ("mode", "0755"),
            ],
        );
        let mut child = Command::new("sh")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.text().as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test says why it is skipped")]
    fn an_archive_can_be_kept_as_it_is() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may give files to root");
            return;
        }
        let (bytes, digest) = archive();
        let root = tempfile::tempdir().unwrap();
        let output = run_with(root.path(), Some(&bytes), &digest, "", "no");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            std::fs::read(root.path().join("tool/1/tool.tar.gz")).unwrap(),
            bytes
        );
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test says why it is skipped")]
    fn one_member_is_installed_alone_and_its_record_makes_it_installed() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may give files to root");
            return;
        }
        let (bytes, digest) = archive();
        let root = tempfile::tempdir().unwrap();
        let output = run(root.path(), Some(&bytes), &digest, "tool");
        assert!(output.status.success(), "{output:?}");
        let folder = root.path().join("tool/1");
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".foundry", "tool"]);
        let ran = Command::new(folder.join("tool")).output().unwrap();
        assert_eq!(ran.stdout, b"one\n");
        let record = std::fs::read_to_string(folder.join(".foundry")).unwrap();
        let told = crate::target::fixture::facts(&[
            ("record.content", &record),
            ("file.kind", "file"),
            ("file.size", "19"),
            ("file.mtime", "1700000000"),
        ]);
        let facts = record::facts(&told, &[("amd64", digest.as_str())].into(), &[].into());
        assert_eq!(facts["state"].value(), "installed", "{record}");
        assert!(!root.path().join(".downloads").join(&digest).exists());
    }

    #[test]
    fn all_of_it_takes_the_place_of_what_was_there() {
        let (bytes, digest) = archive();
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("tool/1");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("left-over"), "x").unwrap();
        let output = run(root.path(), Some(&bytes), &digest, "");
        assert!(output.status.success(), "{output:?}");
        assert!(folder.join("tool-1/LICENSE").exists());
        assert!(!folder.join("left-over").exists());
    }

    #[test]
    fn another_file_is_refused_and_nothing_is_installed() {
        let (bytes, digest) = archive();
        let root = tempfile::tempdir().unwrap();
        let wanted = "0".repeat(64);
        let output = run(root.path(), Some(&bytes), &wanted, "tool");
        assert_eq!(output.status.code(), Some(status::DIGEST));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), digest);
        assert!(!root.path().join("tool").exists());
    }
}
