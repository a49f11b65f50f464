//! Connects to one machine, as far as knowing that it is the right one: TCP or the jump host's channel, key exchange, host
//! key. Logs nobody in.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::{Preferred, cipher, client, kex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::deadline::within;
use super::error::{Hint as _, access};
use super::link::{Link, Seen, Watcher};
use super::route::Hop;
use super::settings::AccessSettings;
use super::ssh_words::chosen;
use super::trust::{Expect, Refused};
use crate::probe::{AccessError, AccessKind};

/// The hybrid first: what is recorded today must not be readable to whoever has a quantum computer one day. It is asked for where
/// both sides have it (OpenSSH from 9.9 on); `KexAlgorithms ^curve25519-sha256` in the SSH configuration puts the cheaper one
/// first again. docs/performance.md has what it costs.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
];

/// Not exchanges, but what stands in their list.
const EXTENSIONS: &[kex::Name] = &[
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

/// After this long with nothing said by either side a connection is closed, whoever still holds it: longer than sshd itself
/// waits for a log-in (120 s).
const UNHEARD: Duration = Duration::from_secs(180);

/// A connection whose host is trusted, and that isn't logged in yet.
pub(super) struct Greeted {
    pub handle: client::Handle<Watcher>,
    pub seen: Arc<Seen>,
    pub under: Option<Arc<Link>>,
}

impl Greeted {
    /// Makes it a connection to work on.
    pub fn logged_in(self, patience: Duration) -> Link {
        Link::new(self.handle, self.seen, self.under, patience)
    }
}

/// Why there is no connection.
pub(super) enum NotGreeted {
    /// The host's key is not trusted (yet).
    Key(Box<Refused>),
    /// Anything else.
    Failed(AccessError),
}

/// Connects to `hop`, through `under` if it is given, and judges its key.
pub(super) async fn greet(
    hop: &Hop,
    expect: Expect,
    under: Option<Arc<Link>>,
    settings: &AccessSettings,
) -> Result<Greeted, NotGreeted> {
    let seen = Arc::new(Seen::default());
    let preferred = preferred(hop, &expect).map_err(NotGreeted::Failed)?;
    let config = Arc::new(client::Config {
        nodelay: true,
        window_size: 4 << 20,
        keepalive_interval: Some(settings.keepalive),
        keepalive_max: settings.keepalive_max,
        // Of use where keep-alives are not sent: before the log-in, and while the host takes no more of what is written to
        // it. Whoever logs in may first have to be asked for a passphrase.
        inactivity_timeout: Some(UNHEARD),
        preferred,
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
    let result = within(settings.connect_timeout, "no answer", connecting)
        .await
        .unwrap_or_else(|silence| {
            Err(AccessError {
                kind: AccessKind::Silent,
                ..unreachable(hop, silence.words())
            })
        });
    match result {
        Ok(handle) => Ok(Greeted {
            handle,
            seen,
            under,
        }),
        Err(error) => Err(match seen.refused() {
            Some(refused) => NotGreeted::Key(Box::new(refused)),
            None => NotGreeted::Failed(error),
        }),
    }
}

/// Returns the algorithms to offer: ours, as far as the SSH configuration leaves them, in its order.
fn preferred(hop: &Hop, expect: &Expect) -> Result<Preferred, AccessError> {
    fn left<T: Clone + AsRef<str>>(list: &Option<String>, ours: &'static [T]) -> Cow<'static, [T]>
    where
        [T]: ToOwned<Owned = Vec<T>>,
    {
        match list {
            None => Cow::Borrowed(ours),
            list => Cow::Owned(chosen(list.as_deref(), ours, |one| one.as_ref().to_owned())),
        }
    }
    let rules = &hop.rules;
    let mut kex = left(&rules.exchanges, KEY_EXCHANGES);
    let cipher = left(&rules.ciphers, CIPHERS);
    let mac = match &rules.macs {
        None => Preferred::DEFAULT.mac,
        list => Cow::Owned(chosen(list.as_deref(), &Preferred::DEFAULT.mac, |one| {
            one.as_ref().to_owned()
        })),
    };
    let key = expect.algorithms();
    for (option, none) in [
        ("KexAlgorithms", kex.is_empty()),
        ("Ciphers", cipher.is_empty()),
        ("MACs", mac.is_empty()),
        ("HostKeyAlgorithms", key.is_empty()),
    ] {
        if none {
            return Err(access(
                &hop.name,
                AccessKind::Local,
                format!("`{option}` of the SSH configuration leaves none that Foundry knows"),
            )
            .hint("`ssh -Q` and docs/access.md list names: allow one of both"));
        }
    }
    kex.to_mut().extend_from_slice(EXTENSIONS);
    Ok(Preferred {
        kex,
        cipher,
        mac,
        key: Cow::Owned(key),
        host_key_certificates: Cow::Owned(expect.certificates()),
        ..Preferred::DEFAULT
    })
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
        "is it up, and is sshd listening? Try `foundry host ssh {}`",
        hop.name
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
