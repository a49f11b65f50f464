//! A port on this machine that leads to one on a host's loopback: each connection to it becomes a channel. Opens the
//! SSH connection anew when it was lost. Only for processes of the user who runs Foundry. Knows nothing of what goes through.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::Channel;
use russh::ChannelOpenFailure::AdministrativelyProhibited;
use russh::client::Msg;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::deadline::within;
use super::error::{Hint as _, access};
use super::links::{Links, Open};
use super::route::Route;
use crate::probe::{AccessError, AccessKind};
use crate::run::Tunnel;

/// Where channels go: the host's own loopback.
const LOOPBACK: &str = "127.0.0.1";

/// The most that a host may send through one connection, in bytes.
const MOST: u64 = 2 << 30;

/// How long a host may go on after whoever asked has ended its half.
const AFTER: Duration = Duration::from_secs(60);

struct SshTunnel {
    address: SocketAddr,
    trouble: Arc<Mutex<Option<String>>>,
    accepting: AbortHandle,
}

impl Tunnel for SshTunnel {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for SshTunnel {
    fn drop(&mut self) {
        // The connections in it are children of that task and end with it.
        self.accepting.abort();
    }
}

/// Opens a tunnel to `port` on the target of `route`.
pub(super) async fn open(
    links: Arc<Links>,
    route: Route,
    port: u16,
) -> Result<Box<dyn Tunnel>, AccessError> {
    let host = Arc::clone(&route.target().name);
    // A host that forbids forwarding is to say so now. That nothing listens yet is no reason to fail.
    match channel(&links, &route, port).await {
        Ok(_) | Err(Closed::Nobody(_)) => {}
        Err(Closed::Forbidden) => {
            return Err(
                access(&host, AccessKind::Host, "it forbids forwarding of ports")
                    .hint("set `AllowTcpForwarding yes` (or `local`) in its sshd_config"),
            );
        }
        Err(Closed::Access(error)) => return Err(error),
    }
    let local = |error: std::io::Error| {
        access(
            &host,
            AccessKind::Local,
            format!("no port could be opened on this machine: {error}"),
        )
    };
    let listener = TcpListener::bind((LOOPBACK, 0)).await.map_err(local)?;
    let address = listener.local_addr().map_err(local)?;
    let trouble = Arc::default();
    let accepting =
        tokio::spawn(accept(listener, links, route, port, Arc::clone(&trouble))).abort_handle();
    Ok(Box::new(SshTunnel {
        address,
        trouble,
        accepting,
    }))
}

async fn accept(
    listener: TcpListener,
    links: Arc<Links>,
    route: Route,
    port: u16,
    trouble: Arc<Mutex<Option<String>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // A port of the loopback is open to everybody on this machine; what it leads to is not.
                Ok((stream, peer)) if !super::peer::is_ours(peer, &stream) => drop(stream),
                Ok((stream, _)) => {
                    let (links, route) = (Arc::clone(&links), route.clone());
                    let trouble = Arc::clone(&trouble);
                    connections.spawn(async move {
                        let said = pass(&links, &route, port, stream).await.err();
                        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = said;
                    });
                }
                Err(error) => {
                    // Too many open files, as a rule: wait until some connection ends.
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection; the error says what the far side had against it.
async fn pass(
    links: &Arc<Links>,
    route: &Route,
    port: u16,
    mut stream: TcpStream,
) -> Result<(), String> {
    // The connection is held as long as something goes through it.
    let (_open, channel) = channel(links, route, port)
        .await
        .map_err(|closed| match closed {
            Closed::Forbidden => "the host forbids forwarding of ports".to_owned(),
            Closed::Nobody(said) => format!("nothing answers on port {port} of the host: {said}"),
            Closed::Access(error) => error.message,
        })?;
    let (mut from_here, mut to_here) = stream.split();
    let (from_there, mut to_there) = tokio::io::split(channel.into_stream());
    // Either side may end it as it likes. Who asks through it has deadlines of its own, and hangs up.
    let out = async {
        let _ = tokio::io::copy(&mut from_here, &mut to_there).await;
        let _ = to_there.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_there.take(MOST), &mut to_here).await;
        let _ = to_here.shutdown().await;
    };
    tokio::pin!(out, back);
    tokio::select! {
        () = &mut back => {}
        () = &mut out => {
            // Nothing more is asked: the host may end its answer, and is not waited for without end.
            let _ = within(AFTER, "no end of a tunnel", back).await;
        }
    }
    Ok(())
}

enum Closed {
    Forbidden,
    Nobody(String),
    Access(AccessError),
}

async fn channel(
    links: &Arc<Links>,
    route: &Route,
    port: u16,
) -> Result<(Arc<Open>, Channel<Msg>), Closed> {
    let mut again = true;
    loop {
        let open = links.get(route).await.map_err(Closed::Access)?;
        let asked =
            open.link
                .handle
                .channel_open_direct_tcpip(LOOPBACK, u32::from(port), LOOPBACK, 0);
        match within(open.link.patience, "it did not open a tunnel", asked).await {
            Ok(Ok(channel)) => return Ok((open, channel)),
            Ok(Err(russh::Error::ChannelOpenFailure(AdministrativelyProhibited))) => {
                return Err(Closed::Forbidden);
            }
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                return Err(Closed::Nobody(format!("{why:?}")));
            }
            Err(_) | Ok(Err(_)) if again => {
                again = false;
                links.forget(route, &open);
            }
            Err(silence) => {
                links.forget(route, &open);
                return Err(Closed::Access(silence.of(&route.target().name)));
            }
            Ok(Err(_)) => {
                return Err(Closed::Access(access(
                    &route.target().name,
                    AccessKind::Lost,
                    format!("the connection was lost: {}", open.link.ended()),
                )));
            }
        }
    }
}
