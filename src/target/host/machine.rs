//! One host as the rest of Foundry sees it: a `Reader` and a `Writer` over whatever wire leads there. Becomes root, puts
//! files in place, counts its commands. Knows nothing of what programs do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::fs::File;
use tokio::sync::Mutex;

use super::error::{Hint as _, access, words};
use super::settings::{Password, PasswordWanted, Prompts};
use super::sudo::{Refusal, Sudo, refusal};
use super::wire::{Stdin, Wire};
use crate::probe::{AccessError, AccessKind, Program, Reader, Reply};
use crate::run::{Tunnel, Upload, Writer};
use crate::secret::Secret;

/// Runs what comes on standard input.
const PROGRAM: &str = r#"eval "$(cat)""#;

/// Puts standard input into a file: `$1` path, `$2` owner, `$3` mode, `$4` sha256. Nobody but root can read it before it
/// is whole, verified and on disk; then it takes its place in one step.
const UPLOAD: &str = r#"set -eu
umask 077
dir=$(dirname -- "$1")
[ ! -d "$1" ] || { echo "$1 is a directory" >&2; exit 73; }
tmp=$(mktemp -- "$dir/.foundry.XXXXXXXXXX")
trap "rm -f -- \"\$tmp\"" EXIT
trap "exit 74" HUP INT TERM PIPE
cat > "$tmp"
sum=$(sha256sum < "$tmp")
sum=${sum%% *}
[ "$sum" = "$4" ] || { echo "$sum" >&2; exit 65; }
chown -- "$2" "$tmp"
chmod -- "$3" "$tmp"
sync -- "$tmp"
mv -fT -- "$tmp" "$1"
sync -- "$dir""#;

/// Said first on standard error by every program, and taken away again: the process to stop if it hangs. sshd itself
/// takes no signals for root's sessions, and none for what runs under sudo.
const SAY_PID: &str = "echo \"foundry-pid $$\" >&2\n";
const PID: &str = "foundry-pid ";

/// Stops the process `$root` and all that descend from it, if it still is what we started.
const STOP: &str = r#"
grep -qF 'eval "$(cat)"' "/proc/$root/cmdline" 2>/dev/null || exit 0
tree=" $root " grown=1
while [ "$grown" = 1 ]; do
  grown=0
  for file in /proc/[0-9]*/stat; do
    { read -r stat < "$file"; } 2>/dev/null || continue
    pid=${stat%% *}
    set -- ${stat##*) }
    case $tree in *" $pid "*) continue ;; esac
    case $tree in *" $2 "*) tree="$tree$pid " grown=1 ;; esac
  done
done
kill -TERM $tree 2>/dev/null
for turn in 1 2 3 4 5 6 7 8 9 10; do
  left=
  for pid in $tree; do [ ! -d "/proc/$pid" ] || left="$left $pid"; done
  [ -n "$left" ] || exit 0
  sleep 0.2
done
kill -KILL $left 2>/dev/null
"#;

/// Time for stopping a program.
const STOPPING: Duration = Duration::from_secs(10);

/// Exit status of [`UPLOAD`] for another digest.
const OTHER_DIGEST: i32 = 65;

/// Time for sudo to judge a password: PAM waits some seconds after a wrong one.
const SUDO: Duration = Duration::from_secs(30);

/// Uploads slower than this, in bytes per second, are given up.
const SLOWEST: u64 = 64 << 10;

/// One host.
pub(super) struct Machine {
    /// Itself, for what must go on when nobody waits for it any more.
    me: Weak<Self>,
    wire: Box<dyn Wire>,
    prompts: Option<Arc<dyn Prompts>>,
    /// What sudo takes; a refusal is remembered, so that a wrong password isn't tried until the account is locked.
    sudo: Mutex<Result<Sudo, AccessError>>,
    execs: AtomicU64,
}

impl Machine {
    pub fn new(wire: Box<dyn Wire>, prompts: Option<Arc<dyn Prompts>>) -> Arc<Self> {
        let sudo = if wire.is_root() {
            Sudo::Root
        } else {
            Sudo::Free
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            wire,
            prompts,
            sudo: Mutex::new(Ok(sudo)),
            execs: AtomicU64::new(0),
        })
    }

    /// Makes sure that it can be reached.
    pub async fn reach(&self) -> Result<(), AccessError> {
        self.wire.reach().await
    }

    /// Returns how many commands were run on it.
    pub fn execs(&self) -> u64 {
        self.execs.load(Ordering::Relaxed)
    }

    async fn program(&self, program: &Program) -> Result<Reply, AccessError> {
        let sudo = self.sudo.lock().await.clone()?;
        let reply = self.shell(&sudo, program).await?;
        match self.sudo_after(&sudo, &reply).await? {
            None => Ok(reply),
            Some(sudo) => {
                let reply = self.shell(&sudo, program).await?;
                match refusal(&reply) {
                    Some(_) => Err(self.refused(&words(&reply.stderr, 1024))),
                    None => Ok(reply),
                }
            }
        }
    }

    async fn shell(&self, sudo: &Sudo, program: &Program) -> Result<Reply, AccessError> {
        let preamble = sudo.preamble();
        let stdin = Stdin {
            text: vec![
                preamble.as_bytes(),
                SAY_PID.as_bytes(),
                program.text.expose().as_bytes(),
            ],
            file: None,
        };
        let command = sudo.command(PROGRAM, &[]);
        let mut running = Running {
            machine: self,
            sudo,
            reply: Reply::default(),
        };
        self.execs.fetch_add(1, Ordering::Relaxed);
        let result = self
            .wire
            .exec(&command, stdin, program.deadline, &mut running.reply)
            .await;
        let (reply, pid) = running.ended();
        match result {
            Ok(()) => Ok(reply),
            Err(error) if matches!(error.kind, AccessKind::Deadline | AccessKind::Host) => {
                if let Some(pid) = pid {
                    self.stop(sudo, pid).await;
                }
                Err(with_words(error, &reply.stderr))
            }
            Err(error) => Err(error),
        }
    }

    /// Stops what a program started; as good as it gets.
    async fn stop(&self, sudo: &Sudo, pid: u32) {
        let preamble = sudo.preamble();
        let text = format!("root={pid}{STOP}");
        let stdin = Stdin {
            text: vec![preamble.as_bytes(), text.as_bytes()],
            file: None,
        };
        if let Err(error) = self
            .exec(&sudo.command(PROGRAM, &[]), stdin, STOPPING)
            .await
        {
            tracing::warn!(host = %self.wire.host(), pid, "a program could not be stopped: {}", error.message);
        }
    }

    async fn exec(
        &self,
        command: &str,
        stdin: Stdin<'_>,
        deadline: Duration,
    ) -> Result<Reply, AccessError> {
        self.execs.fetch_add(1, Ordering::Relaxed);
        let mut reply = Reply::default();
        self.wire.exec(command, stdin, deadline, &mut reply).await?;
        Ok(reply)
    }

    /// Reads what sudo had against `reply`'s command. Returns how to try again, `None` if it had nothing against it.
    async fn sudo_after(&self, used: &Sudo, reply: &Reply) -> Result<Option<Sudo>, AccessError> {
        if matches!(used, Sudo::Root) {
            return Ok(None);
        }
        match refusal(reply) {
            None => Ok(None),
            Some(Refusal::Missing) => {
                Err(
                    access(self.wire.host(), AccessKind::Sudo, "there is no sudo on it")
                        .hint("install sudo there, or let `user:` be root"),
                )
            }
            Some(Refusal::No(said)) => Err(self.refused(&said)),
            Some(Refusal::PasswordNeeded) => {
                let mut sudo = self.sudo.lock().await;
                match &*sudo {
                    Err(error) => return Err(error.clone()),
                    // Another command has found out meanwhile.
                    Ok(now @ Sudo::Password(_)) if !matches!(used, Sudo::Password(_)) => {
                        return Ok(Some(now.clone()));
                    }
                    Ok(_) => {}
                }
                let found = self.password().await.map(Sudo::Password);
                // A lost connection says nothing about the password.
                if found
                    .as_ref()
                    .err()
                    .is_none_or(|error| error.kind == AccessKind::Sudo)
                {
                    *sudo = found.clone();
                }
                found.map(Some)
            }
        }
    }

    /// Asks for sudo's password and has sudo judge it, alone: with nothing after it on standard input that a second try
    /// could take for a password.
    async fn password(&self) -> Result<Secret<String>, AccessError> {
        let host = self.wire.host();
        let no_password = |what: &str| {
            access(host, AccessKind::Sudo, format!("sudo wants a password there, {what}")).hint(
                format!(
                    "run at a terminal to be asked for it, or allow sudo without: `{} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/",
                    self.wire.user()
                ),
            )
        };
        let prompts = self
            .prompts
            .as_ref()
            .ok_or_else(|| no_password("and nobody can be asked for it"))?;
        let wanted = PasswordWanted {
            host: Arc::clone(host),
            user: self.wire.user(),
            what: Password::Sudo,
        };
        let password = prompts
            .password(&wanted)
            .await
            .ok_or_else(|| no_password("and none was given"))?;
        if password.expose().contains('\n') {
            return Err(no_password("and the one given has more than one line"));
        }
        let line = zeroize::Zeroizing::new(format!("{}\n", password.expose()));
        let stdin = Stdin {
            text: vec![line.as_bytes()],
            file: None,
        };
        let command = "env LC_ALL=C sudo -k -S -p '' -- sh -c true";
        let reply = self.exec(command, stdin, SUDO).await?;
        if reply.status == Some(0) {
            Ok(password)
        } else {
            Err(self.refused(&words(&reply.stderr, 1024)))
        }
    }

    fn refused(&self, said: &str) -> AccessError {
        access(
            self.wire.host(),
            AccessKind::Sudo,
            format!("sudo refused {}: {said}", self.wire.user()),
        )
        .hint("check the password and the user's entry in /etc/sudoers; it isn't tried again in this run")
    }

    async fn put(&self, upload: &Upload) -> Result<(), AccessError> {
        let host = self.wire.host();
        let local = |error: std::io::Error| {
            access(
                host,
                AccessKind::Local,
                format!("{} can't be sent: {error}", upload.from.display()),
            )
        };
        // Finds out about sudo with a command that takes nothing from standard input but what it is told to.
        let sudo = self.sudo.lock().await.clone()?;
        let mut reply = self.send(&sudo, upload).await.map_err(|e| match e {
            SendError::File(error) => local(error),
            SendError::Access(error) => error,
        })?;
        if let Some(sudo) = self.sudo_after(&sudo, &reply).await? {
            reply = self.send(&sudo, upload).await.map_err(|e| match e {
                SendError::File(error) => local(error),
                SendError::Access(error) => error,
            })?;
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

    async fn send(&self, sudo: &Sudo, upload: &Upload) -> Result<Reply, SendError> {
        let file = File::open(&upload.from).await.map_err(SendError::File)?;
        let bytes = file.metadata().await.map_err(SendError::File)?.len();
        let preamble = sudo.preamble();
        let stdin = Stdin {
            text: vec![preamble.as_bytes()],
            file: Some(file),
        };
        let arguments = [
            upload.to.as_str(),
            upload.owner.as_str(),
            upload.mode.as_str(),
            upload.sha256.as_str(),
        ];
        let deadline = Duration::from_secs(60 + bytes / SLOWEST);
        self.exec(&sudo.command(UPLOAD, &arguments), stdin, deadline)
            .await
            .map_err(SendError::Access)
    }
}

/// A program under way. Dropped before its end (nobody waits for it any more), it is stopped.
struct Running<'a> {
    machine: &'a Machine,
    sudo: &'a Sudo,
    reply: Reply,
}

impl Running<'_> {
    /// Takes the answer, and the process that gave it.
    fn ended(mut self) -> (Reply, Option<u32>) {
        let pid = take_pid(&mut self.reply.stderr);
        (std::mem::take(&mut self.reply), pid)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(pid) = take_pid(&mut self.reply.stderr) else {
            return;
        };
        if let (Some(machine), Ok(runtime)) = (
            self.machine.me.upgrade(),
            tokio::runtime::Handle::try_current(),
        ) {
            let sudo = self.sudo.clone();
            runtime.spawn(async move { machine.stop(&sudo, pid).await });
        }
    }
}

/// Cuts the line of [`SAY_PID`] out of what was said.
fn take_pid(stderr: &mut Vec<u8>) -> Option<u32> {
    // sudo may have had something to say first.
    let start = stderr
        .windows(PID.len())
        .position(|window| window == PID.as_bytes())?;
    let end = start + stderr[start..].iter().position(|&byte| byte == b'\n')?;
    let pid = std::str::from_utf8(&stderr[start + PID.len()..end])
        .ok()?
        .parse()
        .ok()?;
    stderr.drain(start..=end);
    Some(pid)
}

fn with_words(mut error: AccessError, stderr: &[u8]) -> AccessError {
    let said = words(stderr, 512);
    if !said.is_empty() {
        error.message.push_str("; it last said: ");
        error.message.push_str(&said);
    }
    error
}

enum SendError {
    File(std::io::Error),
    Access(AccessError),
}

impl Reader for Machine {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.program(program))
    }
}

impl Writer for Machine {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.program(program))
    }

    fn upload<'a>(&'a self, upload: &'a Upload) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.put(upload))
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.wire.forward(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_taken_out_of_what_was_said() {
        for (said, pid, left) in [
            ("foundry-pid 17\nrest\n", Some(17), "rest\n"),
            (
                "sudo: unable to resolve host\nfoundry-pid 17\n",
                Some(17),
                "sudo: unable to resolve host\n",
            ),
            ("foundry-pid 17", None, "foundry-pid 17"),
            ("foundry-pid x\n", None, "foundry-pid x\n"),
            ("nothing", None, "nothing"),
        ] {
            let mut stderr = said.as_bytes().to_vec();
            assert_eq!(take_pid(&mut stderr), pid, "{said}");
            assert_eq!(String::from_utf8(stderr).unwrap(), left);
        }
    }
}
