//! The machine that Foundry runs on, without SSH: commands run as children, a port leads to itself. Knows neither sudo
//! nor uploads.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::access;
use super::wire::{Heard, MOST, Shell, Stdin, Wire, subshell, too_late, too_much, unheard};
use crate::probe::{AccessError, AccessKind, Reply};
use crate::run::Tunnel;
use crate::secret::private;

/// After the end of a command, how long to wait for more output of something left behind in the background.
const STRAGGLER: Duration = Duration::from_secs(5);

/// Where commands are looked for: root's path on Debian, which sudo sets too.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This machine.
pub(super) struct LocalWire {
    host: Arc<str>,
    user: String,
}

impl LocalWire {
    pub fn new(host: Arc<str>, user: String) -> Self {
        Self { host, user }
    }

    /// Returns what commands find in their environment: what sshd gives them on other hosts, and nothing of Foundry's own,
    /// which may hold secrets.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let home = std::env::home_dir().unwrap_or_else(|| "/".into());
        vec![
            ("HOME", home.into_os_string()),
            ("USER", self.user.clone().into()),
            ("LOGNAME", self.user.clone().into()),
            ("SHELL", "/bin/sh".into()),
            ("PATH", PATH.into()),
        ]
    }

    async fn run(
        &self,
        command: &str,
        stdin: Stdin<'_>,
        deadline: Duration,
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<(), AccessError> {
        let local = |what: &str, error: std::io::Error| {
            access(&self.host, AccessKind::Local, format!("{what}: {error}"))
        };
        let mut sh = Command::new("sh");
        // Ctrl-C is for Foundry, which stops what it started itself.
        #[cfg(unix)]
        sh.process_group(0);
        let mut child = sh
            .arg("-c")
            .arg(command)
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| local("sh can't be started", error))?;
        let (Some(mut input), Some(mut out), Some(mut err)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(access(&self.host, AccessKind::Local, "sh has no pipes"));
        };
        let running = async {
            let feed = async {
                // A command that does not listen (it failed at once) is no error here: its reply tells.
                for text in &stdin.text {
                    if input.write_all(text).await.is_err() {
                        return;
                    }
                }
                if let Some(mut file) = stdin.file {
                    let _ = tokio::io::copy(&mut file, &mut input).await;
                }
                drop(input);
            };
            let answer = async {
                let both = async {
                    tokio::try_join!(
                        collect(&mut out, &mut reply.stdout, heard),
                        collect(&mut err, &mut reply.stderr, &unheard)
                    )
                    .map(drop)
                };
                tokio::pin!(both);
                let (status, whole) = tokio::select! {
                    whole = &mut both => {
                        whole?;
                        (child.wait().await, Ok(()))
                    }
                    status = child.wait() => {
                        (status, timeout(STRAGGLER, both).await.unwrap_or(Ok(())))
                    }
                };
                whole.map(|()| status)
            };
            tokio::pin!(feed, answer);
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                () = &mut feed => answer.await,
            }
        };
        let Ok(answer) = timeout(deadline, running).await else {
            return Err(too_late(&self.host, deadline));
        };
        let Ok(status) = answer else {
            return Err(too_much(&self.host));
        };
        reply.status = status
            .map_err(|error| local("sh can't be waited for", error))?
            .code();
        Ok(())
    }
}

/// There is more than anybody wants.
struct TooMuch;

async fn collect(
    from: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    heard: &Heard<'_>,
) -> Result<(), TooMuch> {
    // A broken pipe ends the output as its end does.
    while matches!(from.read_buf(into).await, Ok(more) if more > 0) {
        heard(into);
        if into.len() > MOST {
            return Err(TooMuch);
        }
    }
    Ok(())
}

/// The port itself.
struct Direct(SocketAddr);

impl Tunnel for Direct {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

impl Wire for LocalWire {
    fn host(&self) -> &Arc<str> {
        &self.host
    }

    fn user(&self) -> String {
        self.user.clone()
    }

    fn is_root(&self) -> bool {
        private::is_root()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), AccessError>> {
        Box::pin(async { Ok(()) })
    }

    fn exec<'a>(
        &'a self,
        command: &'a str,
        stdin: Stdin<'a>,
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.run(command, stdin, deadline, reply, heard))
    }

    fn program<'a>(
        &'a self,
        shell: &'a Shell,
        program: &'a [&'a [u8]],
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        // A child costs little here: the shell ends with its program.
        let mut text = subshell(program);
        text.insert(0, shell.first.as_bytes());
        let stdin = Stdin { text, file: None };
        Box::pin(self.run(&shell.command, stdin, deadline, reply, heard))
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        Box::pin(async move {
            let tunnel: Box<dyn Tunnel> =
                Box::new(Direct(SocketAddr::from(([127, 0, 0, 1], port))));
            Ok(tunnel)
        })
    }
}
