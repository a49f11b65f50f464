//! Hosts and agents that fall silent, at each step on the way: each wait has an end, which is told by name, and others are
//! not held up.

use std::path::PathBuf;

use foundry::run::Writers;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::*;

/// Where a host falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It takes the connection and says nothing.
    Greeting,
    /// After its version.
    Banner,
    /// In the middle of the key exchange: after this many bytes.
    KeyExchange(usize),
    /// It judges no credential.
    LogIn,
    /// It judges each credential, slowly.
    SlowLogIn,
    /// It opens no session and no tunnel, and is well otherwise.
    Channel,
    /// It does not say that the command runs.
    Command,
    /// It says that it runs, and some words.
    Answer,
    /// It says all but its end.
    End,
}

/// A host made of russh's server.
struct Double {
    at: At,
    channels: Vec<(Channel<Msg>, ChannelOpenHandle)>,
}

impl Handler for Double {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        match self.at {
            At::LogIn => std::future::pending().await,
            At::SlowLogIn => {
                tokio::time::sleep(ANSWER * 3 / 4).await;
                Ok(Auth::reject())
            }
            _ => Ok(Auth::Accept),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.at == At::Channel {
            self.channels.push((channel, reply));
        } else {
            reply.accept().await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.push((channel, reply));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.at == At::Command {
            return Ok(());
        }
        session.channel_success(channel)?;
        session.data(channel, &b"so far"[..])?;
        if self.at == At::End {
            session.exit_status_request(channel, 0)?;
        }
        Ok(())
    }
}

/// What hosts and agents may take to answer in these tests.
const ANSWER: Duration = Duration::from_millis(400);
const CONNECT: Duration = Duration::from_millis(700);
const PROGRAM: Duration = Duration::from_secs(2);

/// Starts a host that falls silent, on a port of its own.
async fn double(at: At, key: &PrivateKey) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(Config {
        keys: vec![key.clone()],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 100,
        ..Config::default()
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(converse(at, Arc::clone(&config), stream));
        }
    });
    port
}

async fn converse(at: At, config: Arc<Config>, mut stream: TcpStream) {
    let handler = Double {
        at,
        channels: Vec::new(),
    };
    match at {
        At::Greeting => std::future::pending().await,
        At::Banner => {
            stream.write_all(b"SSH-2.0-double\r\n").await.unwrap();
            std::future::pending::<()>().await;
        }
        At::KeyExchange(bytes) => {
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let _ = russh::server::run_stream(config, far, handler).await;
            });
            let (mut from, mut to) = tokio::io::split(near);
            let (mut read, mut write) = stream.split();
            let out = async {
                let mut some = (&mut from).take(bytes as u64);
                let _ = tokio::io::copy(&mut some, &mut write).await;
                std::future::pending::<()>().await;
            };
            let _ = tokio::join!(out, tokio::io::copy(&mut read, &mut to));
        }
        _ => {
            if let Ok(running) = russh::server::run_stream(config, stream, handler).await {
                let _ = running.await;
            }
        }
    }
}

fn key() -> (PrivateKey, String) {
    let (private, public) = generate_key("").unwrap();
    (decode_secret_key(private.expose(), None).unwrap(), public)
}

/// A fleet of one host that falls silent and one that is well.
struct Pair {
    fleet: Fleet,
    _well: Sshd,
    _files: tempfile::TempDir,
}

async fn pair(at: At, change: impl FnOnce(&mut AccessSettings, &Sshd)) -> Option<Pair> {
    let well = Sshd::start("")?;
    let files = tempfile::tempdir().unwrap();
    let (private, public) = key();
    let mut silent = host("silent", &well);
    silent.port = Some(double(at, &private).await);
    silent.host_key = Some(public);
    let mut settings = AccessSettings {
        answer_timeout: ANSWER,
        agent_timeout: ANSWER,
        connect_timeout: CONNECT,
        tries: 4,
        ..settings(files.path())
    };
    change(&mut settings, &well);
    Some(Pair {
        fleet: Fleet::new(stack(vec![silent, host("well", &well)]), settings),
        _well: well,
        _files: files,
    })
}

async fn both(fleet: &Fleet) -> (Result<Reply, AccessError>, Duration) {
    let program = Program {
        text: Secret::new("echo well".to_owned()),
        deadline: PROGRAM,
    };
    let ask = async |id| {
        Writers::writer(fleet, HostId(id))
            .await?
            .run(&program)
            .await
    };
    let began = Instant::now();
    let silent = async {
        let answer = ask(0).await;
        (answer, began.elapsed())
    };
    let well = async {
        let reply = ask(1).await.unwrap();
        assert_eq!(out(&reply), "well\n");
        began.elapsed()
    };
    let ((answer, ended), fine) = tokio::join!(silent, well);
    assert!(
        fine < ended,
        "the one that is well waited: {fine:?} {ended:?}"
    );
    (answer, ended)
}

#[tokio::test]
async fn a_host_that_falls_silent_ends_in_time_and_says_where() {
    for (at, kind, words, most) in [
        (
            At::Greeting,
            AccessKind::Silent,
            "no answer within 0.7 s",
            2 * CONNECT,
        ),
        (
            At::Banner,
            AccessKind::Silent,
            "no answer within 0.7 s",
            2 * CONNECT,
        ),
        (
            At::KeyExchange(100),
            AccessKind::Silent,
            "no answer within 0.7 s",
            2 * CONNECT,
        ),
        (
            At::KeyExchange(700),
            AccessKind::Silent,
            "no answer within 0.7 s",
            2 * CONNECT,
        ),
        (
            At::LogIn,
            AccessKind::Silent,
            "no answer to a log-in within 0.4 s",
            2 * ANSWER,
        ),
        (
            At::Channel,
            AccessKind::Silent,
            "it did not open a session within 0.4 s",
            2 * ANSWER,
        ),
        (
            At::Command,
            AccessKind::Silent,
            "it did not start a command within 0.4 s",
            ANSWER,
        ),
        (
            At::Answer,
            AccessKind::Deadline,
            "the program did not end within 2 s",
            PROGRAM,
        ),
    ] {
        let Some(pair) = pair(at, |_, _| ()).await else {
            return;
        };
        let (answer, ended) = both(&pair.fleet).await;
        let error = answer.unwrap_err();
        assert_eq!(
            (error.kind, &*error.host),
            (kind, "silent"),
            "{at:?}: {error}"
        );
        assert!(error.message.contains(words), "{at:?}: {error}");
        // Pauses between two attempts, and the work itself.
        let most = most + Duration::from_millis(1500);
        assert!(ended < most, "{at:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_never_closed_ends_with_its_status() {
    let Some(pair) = pair(At::End, |_, _| ()).await else {
        return;
    };
    // As an upload does: a shell that stays has no status before its mark.
    let upload = Upload {
        from: pair._files.path().join("known_hosts"),
        to: "/nowhere".into(),
        owner: "root:root".into(),
        mode: "0600".into(),
        sha256: String::new(),
    };
    std::fs::write(&upload.from, "").unwrap();
    let began = Instant::now();
    pair.fleet
        .writer(H)
        .await
        .unwrap()
        .upload(&upload)
        .await
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_host_that_drips_its_refusals_has_its_time_over_all() {
    let keys = |settings: &mut AccessSettings, well: &Sshd| {
        settings.default_keys = (0..9)
            .map(|n| {
                let file = well.path(&format!("key{n}"));
                private_file(&file, &generate_key("").unwrap().0);
                file
            })
            .collect();
    };
    let Some(pair) = pair(At::SlowLogIn, keys).await else {
        return;
    };
    let (answer, ended) = both(&pair.fleet).await;
    let error = answer.unwrap_err();
    assert_eq!(error.kind, AccessKind::Silent, "{error}");
    assert!(
        error.message.contains("longer than 0.8 s together"),
        "{error}"
    );
    assert!(
        ended < 4 * ANSWER + Duration::from_millis(1500),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_tunnel_that_is_never_opened_ends_in_time() {
    let Some(pair) = pair(At::End, |_, _| ()).await else {
        return;
    };
    let writer = pair.fleet.writer(H).await.unwrap();
    let began = Instant::now();
    let error = writer.forward(8200).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Silent);
    assert!(
        error
            .message
            .contains("it did not open a tunnel within 0.4 s"),
        "{error}"
    );
    assert!(began.elapsed() < 2 * ANSWER + Duration::from_secs(1));
}

/// Where an agent falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentAt {
    Connecting,
    Identities,
    Signing,
}

/// Starts an agent that knows `key` and falls silent; returns its socket.
fn agent(at: AgentAt, folder: &Path, key: &PublicKey) -> PathBuf {
    let socket = folder.join(format!("agent-{at:?}"));
    let listener = UnixListener::bind(&socket).unwrap();
    let key = key.to_bytes().unwrap();
    tokio::spawn(async move {
        if at == AgentAt::Connecting {
            return std::future::pending().await;
        }
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let key = key.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u32().await {
                    let mut asked = vec![0; length as usize];
                    stream.read_exact(&mut asked).await.unwrap();
                    match asked[0] {
                        // SSH_AGENTC_REQUEST_IDENTITIES
                        11 if at == AgentAt::Signing => {
                            let mut said = vec![12, 0, 0, 0, 1];
                            for part in [&key[..], b"of the agent"] {
                                said.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
                                said.extend(part);
                            }
                            stream
                                .write_u32(u32::try_from(said.len()).unwrap())
                                .await
                                .unwrap();
                            stream.write_all(&said).await.unwrap();
                        }
                        11 | 13 => std::future::pending().await,
                        // SSH_AGENT_FAILURE
                        _ => {
                            stream.write_all(&[0, 0, 0, 1, 5]).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    socket
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_left_out_and_keys_are_used() {
    for at in [AgentAt::Connecting, AgentAt::Identities, AgentAt::Signing] {
        let Some(sshd) = Sshd::start("") else { return };
        // The agent holds a key that the host takes, so that it is asked to sign.
        let (_, public) = key();
        let public = PublicKey::from_openssh(&public).unwrap();
        let mut authorized = std::fs::read_to_string(sshd.path("authorized_keys")).unwrap();
        authorized.push_str(&public.to_openssh().unwrap());
        std::fs::write(sshd.path("authorized_keys"), authorized).unwrap();
        let settings = AccessSettings {
            answer_timeout: ANSWER,
            agent_timeout: ANSWER,
            agent: Some(agent(at, &sshd.path(""), &public)),
            default_keys: vec![sshd.identity.clone()],
            ..settings(&sshd.path(""))
        };
        let mut bare = host("a", &sshd);
        bare.identity = None;
        let began = Instant::now();
        let fleet = Fleet::new(stack(vec![bare.clone()]), settings.clone());
        assert_eq!(out(&run(&fleet, "echo in").await.unwrap()), "in\n");
        assert!(began.elapsed() < ANSWER + Duration::from_secs(2), "{at:?}");

        // Without another key the error names the agent.
        let nothing = AccessSettings {
            default_keys: Vec::new(),
            ..settings
        };
        let fleet = Fleet::new(stack(vec![bare]), nothing);
        let error = run(&fleet, "echo in").await.unwrap_err();
        assert_eq!(error.kind, AccessKind::Auth);
        let words = match at {
            AgentAt::Signing => "the agent's key of the agent (no signature within 0.4 s)",
            _ => "no answer within 0.4 s",
        };
        assert!(error.message.contains(words), "{at:?}: {error}");
    }
}
