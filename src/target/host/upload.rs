//! Puts a file in place on a machine: atomic, verified there, never readable by more than it will be. Knows nothing of
//! what is in it.

use std::time::Duration;

use tokio::fs::File;

use super::error::{Hint as _, access, words};
use super::machine::Machine;
use super::sudo::Sudo;
use super::wire::Stdin;
use crate::probe::{AccessError, AccessKind, Door, Reply, WAITING};
use crate::run::Upload;

/// Puts standard input into a file: `$1` path, `$2` owner, `$3` mode, `$4` sha256. Nobody but root can read it before it
/// is whole, verified and on disk; then it takes its place in one step.
const UPLOAD: &str = include_str!("upload.sh");

/// Exit status of [`UPLOAD`] for another digest.
const OTHER_DIGEST: i32 = 65;

/// Uploads slower than this, in bytes per second, are given up.
const SLOWEST: u64 = 64 << 10;

impl Machine {
    pub(super) async fn put(
        &self,
        upload: &Upload,
        door: Option<&Door>,
    ) -> Result<(), AccessError> {
        let host = self.wire.host();
        let sudo = self.sudo.lock().await.clone()?;
        let mut reply = self.send(&sudo, upload, door).await?;
        if let Some(sudo) = self.sudo_after(&sudo, &reply).await? {
            reply = self.send(&sudo, upload, door).await?;
        }
        if let Some(why) = door.and_then(|door| door.refused(&reply)) {
            return Err(access(host, AccessKind::Fenced, why));
        }
        let said = words(&reply.stderr, 1024);
        match reply.status {
            Some(0) => Ok(()),
            Some(OTHER_DIGEST) => Err(access(
                host,
                AccessKind::Local,
                format!(
                    "{} arrived with the digest {said}, expected {}; {} was left as it was",
                    upload.from.display(),
                    upload.sha256,
                    upload.to
                ),
            )
            .hint("the file here is not the one that was verified: remove it and let it be fetched again")),
            status => Err(access(
                host,
                AccessKind::Host,
                format!(
                    "{} could not be put in place ({}): {said}",
                    upload.to,
                    status.map_or("no exit status".to_owned(), |status| format!(
                        "exit status {status}"
                    ))
                ),
            )),
        }
    }

    async fn send(
        &self,
        sudo: &Sudo,
        upload: &Upload,
        door: Option<&Door>,
    ) -> Result<Reply, AccessError> {
        let local = |error: std::io::Error| {
            access(
                self.wire.host(),
                AccessKind::Local,
                format!("{} can't be sent: {error}", upload.from.display()),
            )
        };
        let file = File::open(&upload.from).await.map_err(local)?;
        let bytes = file.metadata().await.map_err(local)?.len();
        let preamble = sudo.preamble();
        let stdin = Stdin {
            text: vec![preamble.as_bytes()],
            file: Some(file),
        };
        let mut arguments = vec![
            upload.to.as_str(),
            upload.owner.as_str(),
            upload.mode.as_str(),
            upload.sha256.as_str(),
        ];
        let mut deadline = Duration::from_secs(60 + bytes / SLOWEST);
        let (fence, more);
        let script = match door {
            None => UPLOAD,
            Some(door) => {
                more = door.arguments();
                arguments.extend(more.iter().map(String::as_str));
                deadline += WAITING;
                fence = door.script() + UPLOAD;
                &fence
            }
        };
        self.exec(&sudo.command(script, &arguments), stdin, deadline)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::UPLOAD;

    #[test]
    fn the_script_can_be_quoted() {
        assert!(!UPLOAD.contains('\''));
    }
}
