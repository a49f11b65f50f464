//! A machine over SSH: finds its connection, runs commands on it, tries once more when it turns out to be dead before
//! anything of the command was sent. Knows neither sudo nor uploads.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::error::access;
use super::exec::{Fault, exec};
use super::links::Links;
use super::route::Route;
use super::shell;
use super::tunnel;
use super::wire::{Heard, Shell, Stdin, Wire};
use crate::probe::{AccessError, AccessKind, Reply};
use crate::run::Tunnel;

/// A host over SSH.
pub(super) struct SshWire {
    links: Arc<Links>,
    route: Route,
}

impl SshWire {
    pub fn new(links: Arc<Links>, route: Route) -> Self {
        Self { links, route }
    }

    /// Does `work` on the connection; once more on a new one if that turns out to be dead before anything was sent.
    async fn run(
        &self,
        mut work: Work<'_>,
        deadline: Duration,
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<(), AccessError> {
        let host = self.host();
        let mut again = true;
        loop {
            let open = self.links.get(&self.route).await?;
            let link = &open.link;
            let result = match &mut work {
                Work::Command(command, stdin) => {
                    exec(link, host, command, stdin, deadline, reply, heard).await
                }
                Work::Program(shell, text) => {
                    shell::run(link, host, shell, text, deadline, reply, heard).await
                }
            };
            match result {
                Ok(()) => return Ok(()),
                Err(Fault::Access(error)) => {
                    if error.kind == AccessKind::Silent {
                        self.links.forget(&self.route, &open);
                    }
                    return Err(error);
                }
                Err(Fault::NotStarted(_) | Fault::Silent(_)) if again => {
                    again = false;
                    self.links.forget(&self.route, &open);
                }
                Err(Fault::Silent(silence)) => {
                    self.links.forget(&self.route, &open);
                    return Err(silence.of(host));
                }
                Err(Fault::NotStarted(why)) => {
                    return Err(access(
                        host,
                        AccessKind::Lost,
                        format!("the connection was lost: {why}"),
                    ));
                }
            }
        }
    }
}

/// What is done on a connection.
enum Work<'a> {
    Command(&'a str, Stdin<'a>),
    Program(&'a Shell, &'a [&'a [u8]]),
}

impl Wire for SshWire {
    fn host(&self) -> &Arc<str> {
        &self.route.target().name
    }

    fn user(&self) -> String {
        self.route.target().user.clone()
    }

    fn is_root(&self) -> bool {
        self.route.target().user == "root"
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), AccessError>> {
        Box::pin(async move { self.links.get(&self.route).await.map(drop) })
    }

    fn exec<'a>(
        &'a self,
        command: &'a str,
        stdin: Stdin<'a>,
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.run(Work::Command(command, stdin), deadline, reply, heard))
    }

    fn program<'a>(
        &'a self,
        shell: &'a Shell,
        program: &'a [&'a [u8]],
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.run(Work::Program(shell, program), deadline, reply, heard))
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        Box::pin(tunnel::open(
            Arc::clone(&self.links),
            self.route.clone(),
            port,
        ))
    }
}
