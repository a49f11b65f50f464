//! The SSH side of the pretended hosts: one listener for all of their addresses, on the loopback interface only. Knows
//! neither programs nor answers.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foundry::secret::Secret;
use russh::keys::PrivateKey;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, Preferred, kex};
use tokio::net::{TcpListener, TcpStream};

use crate::delay::{Delayed, Wire};
use crate::host::{Hosts, lot};

/// The first host's address; the others follow.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// How the hosts are to be reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    pub wire: Wire,
    /// Part of the hosts that are slow, and how much longer everything takes there.
    pub slow: f64,
    pub slower: Duration,
    /// Part of the hosts that can't be reached: half of them are silent, half hang up.
    pub unreachable: f64,
}

/// As OpenSSH before 9.9, which every Debian and Ubuntu but the newest has; with `FLEET_HYBRID` set, with the hybrid exchange too.
fn preferred() -> Preferred {
    if std::env::var_os("FLEET_HYBRID").is_some() {
        return Preferred::DEFAULT;
    }
    Preferred {
        kex: Cow::Borrowed(&[
            kex::CURVE25519,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]),
        ..Preferred::DEFAULT
    }
}

/// What was done for clients.
#[derive(Debug, Default)]
pub struct Served {
    pub connections: AtomicU64,
    pub programs: AtomicU64,
}

/// Returns whether host `at` is one that can't be reached.
pub fn is_unreachable(at: usize, network: &Network) -> bool {
    lot(at, "unreachable") < network.unreachable
}

/// Listens on a free port of the loopback interface, at all of its addresses.
pub fn listen() -> io::Result<TcpListener> {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
        sockopt,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::BindToDevice, &"lo".into())?;
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&fd),
        &SockaddrIn::new(0, 0, 0, 0, 0),
    )?;
    listen(&fd, Backlog::MAXCONN)?;
    TcpListener::from_std(fd.into())
}

/// Serves until it is dropped.
pub async fn serve(
    listener: TcpListener,
    hosts: Arc<Hosts>,
    network: Network,
    host_key: Secret<String>,
    served: Arc<Served>,
) -> io::Result<()> {
    let key = PrivateKey::from_openssh(host_key.expose()).map_err(io::Error::other)?;
    let config = Arc::new(Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        nodelay: true,
        window_size: 4 << 20,
        preferred: preferred(),
        ..Config::default()
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let Some(at) = host_of(&stream).filter(|at| *at < hosts.len()) else {
            continue;
        };
        served.connections.fetch_add(1, Ordering::Relaxed);
        let client = Client {
            at,
            hosts: Arc::clone(&hosts),
            served: Arc::clone(&served),
            input: Vec::new(),
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let mut wire = network.wire;
            if lot(at, "slow") < network.slow {
                wire.latency += network.slower;
            }
            if is_unreachable(at, &network) {
                if lot(at, "silent") < 0.5 {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                return;
            }
            let _ = stream.set_nodelay(true);
            // The handshake of TCP is done by the kernel at once; a wire would have taken its time.
            tokio::time::sleep(wire.latency).await;
            let stream = Delayed::new(stream, wire, at as u64 + 1);
            // A client that hangs up is its own business.
            if let Ok(session) = run_stream(config, stream, client).await {
                let _ = session.await;
            }
        });
    }
}

fn host_of(stream: &TcpStream) -> Option<usize> {
    let SocketAddr::V4(address) = stream.local_addr().ok()? else {
        return None;
    };
    let at = u32::from(*address.ip()).checked_sub(u32::from(FIRST))?;
    usize::try_from(at).ok()
}

struct Client {
    at: usize,
    hosts: Arc<Hosts>,
    served: Arc<Served>,
    /// Standard input by session.
    input: Vec<(ChannelId, Vec<u8>)>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.input.push((channel.id(), Vec::new()));
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some((_, input)) = self.input.iter_mut().find(|(id, _)| *id == channel) else {
            return Ok(());
        };
        input.extend_from_slice(data);
        // A shell's next program ends with this, in a line of its own.
        let Some(word) = ending(input) else {
            return Ok(());
        };
        let input = std::mem::take(input);
        self.served.programs.fetch_add(1, Ordering::Relaxed);
        let answer = self.hosts.answer(self.at, &String::from_utf8_lossy(&input));
        let end = format!("\n{word} {}\n", answer.status);
        session.extended_data(channel, 1, [answer.stderr, end.clone().into()].concat())?;
        session.data(channel, [answer.stdout, end.into()].concat())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.input.retain(|(id, _)| *id != channel);
        Ok(())
    }
}

/// Returns the word that marks the end of a program whose text has come whole.
fn ending(input: &[u8]) -> Option<String> {
    let line = input.strip_suffix(b"\n")?;
    let line = &line[line.iter().rposition(|byte| *byte == b'\n')? + 1..];
    let word = line.strip_prefix(b"foundry_end ")?;
    Some(String::from_utf8_lossy(word).into_owned())
}
