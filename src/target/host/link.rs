//! One SSH connection to one machine: how it is made, whether it still is, and why it went. russh is known here and in
//! `auth`, `exec` and `tunnel`. Knows no stack.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, cipher, kex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{Hint as _, access};
use super::known_hosts::Judgement;
use super::route::Hop;
use super::settings::AccessSettings;
use super::slots::Slots;
use super::trust::{Expect, Refused};
use crate::probe::{AccessError, AccessKind};

/// Sessions at once on one connection, two fewer than OpenSSH's default `MaxSessions`: a person may be on it too.
const SESSIONS: usize = 8;

/// Cheap first: curve25519 costs a tenth of the post-quantum exchange and is what a hundred connections a second need;
/// the hybrid stays for hosts that insist on it.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::MLKEM768X25519_SHA256,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

/// An open connection, logged in.
pub(super) struct Link {
    pub handle: client::Handle<Watcher>,
    pub slots: Arc<Slots>,
    seen: Arc<Seen>,
    /// The connection that this one runs through.
    _under: Option<Arc<Link>>,
}

/// What russh told us on the way.
#[derive(Default)]
pub(super) struct Seen {
    refused: Mutex<Option<Refused>>,
    ended: Mutex<Option<String>>,
    banner: Mutex<String>,
}

impl Seen {
    /// Returns why the connection ended, in the words of the host or of the network.
    pub fn ended(&self) -> Option<String> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns what the host said before log-in.
    pub fn banner(&self) -> String {
        self.banner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .trim()
            .to_owned()
    }
}

/// Judges the host's key and remembers why the connection ended.
pub(super) struct Watcher {
    expect: Expect,
    seen: Arc<Seen>,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let judgement = self.expect.judge(offered);
        let trusted = judgement == Judgement::Trusted;
        if !trusted {
            *self
                .seen
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Refused {
                key: offered.public_key(),
                judgement,
            });
        }
        Ok(trusted)
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let mut said = self
            .seen
            .banner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A host is free to talk without end.
        if said.len() + banner.len() < 4096 {
            said.push_str(banner);
        }
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        let why = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the host closed it: {}", info.message)
            }
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => {
                "the host stopped answering".to_owned()
            }
            DisconnectReason::Error(russh::Error::Disconnect | russh::Error::HUP) => {
                "the host closed it without a word".to_owned()
            }
            DisconnectReason::Error(error) => error.to_string(),
        };
        *self
            .seen
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// A connection whose host is trusted, and that isn't logged in yet.
pub(super) struct Greeted {
    pub handle: client::Handle<Watcher>,
    pub seen: Arc<Seen>,
    pub under: Option<Arc<Link>>,
}

impl Greeted {
    /// Makes it a connection to work on.
    pub fn logged_in(self) -> Link {
        Link {
            handle: self.handle,
            slots: Slots::new(SESSIONS),
            seen: self.seen,
            _under: self.under,
        }
    }
}

/// Why there is no connection.
pub(super) enum NotGreeted {
    /// The host's key is not trusted (yet).
    Key(Box<Refused>),
    /// Anything else.
    Failed(AccessError),
}

impl Link {
    /// Returns whether it is of no use any more.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Returns why it ended.
    pub fn ended(&self) -> String {
        self.seen
            .ended()
            .unwrap_or_else(|| "the connection ended".to_owned())
    }
}

/// Connects to `hop`, through `under` if it is given, and judges its key.
pub(super) async fn greet(
    hop: &Hop,
    expect: Expect,
    under: Option<Arc<Link>>,
    settings: &AccessSettings,
) -> Result<Greeted, NotGreeted> {
    let seen = Arc::new(Seen::default());
    let config = Arc::new(client::Config {
        nodelay: true,
        window_size: 4 << 20,
        keepalive_interval: Some(settings.keepalive),
        keepalive_max: settings.keepalive_max,
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            cipher: Cow::Borrowed(CIPHERS),
            key: Cow::Owned(expect.algorithms()),
            host_key_certificates: Cow::Owned(expect.certificates()),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    });
    let watcher = Watcher {
        expect,
        seen: Arc::clone(&seen),
    };
    let connecting = async {
        match &under {
            Some(jump) => {
                let channel = jump
                    .handle
                    .channel_open_direct_tcpip(
                        hop.address.clone(),
                        u32::from(hop.port),
                        "127.0.0.1",
                        0,
                    )
                    .await
                    .map_err(|error| unreachable(hop, through(&error)))?;
                shake_hands(hop, config, channel.into_stream(), watcher).await
            }
            None => {
                let stream = TcpStream::connect((hop.address.as_str(), hop.port))
                    .await
                    .map_err(|error| unreachable(hop, error.to_string()))?;
                // Only a matter of speed.
                let _ = stream.set_nodelay(true);
                shake_hands(hop, config, stream, watcher).await
            }
        }
    };
    let result = timeout(settings.connect_timeout, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(unreachable(
                hop,
                format!(
                    "no answer within {} s",
                    settings.connect_timeout.as_secs_f32()
                ),
            ))
        });
    match result {
        Ok(handle) => Ok(Greeted {
            handle,
            seen,
            under,
        }),
        Err(error) => Err(
            match seen
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
            {
                Some(refused) => NotGreeted::Key(Box::new(refused)),
                None => NotGreeted::Failed(error),
            },
        ),
    }
}

async fn shake_hands<S>(
    hop: &Hop,
    config: Arc<client::Config>,
    stream: S,
    watcher: Watcher,
) -> Result<client::Handle<Watcher>, AccessError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client::connect_stream(config, stream, watcher)
        .await
        .map_err(|error| match error {
            russh::Error::NoCommonAlgo { kind, theirs, .. } => access(
                &hop.name,
                AccessKind::Local,
                format!(
                    "it and Foundry know no common {kind:?} algorithm; it offers {}",
                    theirs.join(", ")
                ),
            )
            .hint("for host keys: `ssh-keygen -A` on the host makes an Ed25519 key"),
            russh::Error::HUP | russh::Error::Disconnect => unreachable(
                hop,
                "it closed the connection before saying who it is (sshd does that when too many connect at once)",
            ),
            error => unreachable(hop, error.to_string()),
        })
}

fn unreachable(hop: &Hop, why: impl AsRef<str>) -> AccessError {
    access(
        &hop.name,
        AccessKind::Unreachable,
        format!(
            "{} port {} can't be reached: {}",
            hop.address,
            hop.port,
            why.as_ref()
        ),
    )
    .hint(format!(
        "is it up, and is sshd listening? Try `ssh -p {} {}@{}`",
        hop.port, hop.user, hop.address
    ))
}

/// What a jump host says when it does not pass a connection on.
fn through(error: &russh::Error) -> String {
    use russh::ChannelOpenFailure::{AdministrativelyProhibited, ConnectFailed};
    match error {
        russh::Error::ChannelOpenFailure(AdministrativelyProhibited) => {
            "the jump host forbids forwarding (AllowTcpForwarding)".to_owned()
        }
        russh::Error::ChannelOpenFailure(ConnectFailed) => {
            "the jump host could not connect to it".to_owned()
        }
        error => format!("through the jump host: {error}"),
    }
}
