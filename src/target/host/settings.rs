//! How hosts are reached: limits, files, and the port through which people are asked. Asks nobody itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::secret::Secret;

/// What to do about a host key that nothing is known of. A key that differs from the known one is always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeys {
    /// Refuse (CI, `--yes`).
    #[default]
    Strict,
    /// Ask through [`Prompts::trust_host_key`], and record the answer.
    Ask,
}

/// Which password is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The user's, to log in: no key was taken.
    Login,
    /// The user's, for sudo.
    Sudo,
    /// That of an encrypted private key file.
    Passphrase(PathBuf),
}

/// A question for a password.
#[derive(Debug, Clone)]
pub struct PasswordWanted {
    /// The host's name.
    pub host: Arc<str>,
    /// The user there.
    pub user: String,
    /// What it is for.
    pub what: Password,
}

/// A question whether to trust a host key that nothing is known of.
#[derive(Debug, Clone)]
pub struct OfferedKey {
    /// The host's name.
    pub host: Arc<str>,
    /// Its address and port, as known_hosts names it.
    pub address: String,
    /// `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`, as `ssh-keygen -lf` prints it.
    pub fingerprint: String,
    /// The key itself, as the stack's `host_key` would have it.
    pub line: String,
    /// Something that the person should know before deciding.
    pub note: Option<String>,
    /// Where a yes is recorded.
    pub recorded_in: PathBuf,
}

/// Asks a person. The command line implements it. Never called twice at once by one fleet.
pub trait Prompts: Send + Sync {
    /// Asks for a password; `None` when there is nobody to ask or they decline.
    fn password<'a>(&'a self, wanted: &'a PasswordWanted) -> BoxFuture<'a, Option<Secret<String>>>;

    /// Asks whether this really is the host's key.
    fn trust_host_key<'a>(&'a self, offered: &'a OfferedKey) -> BoxFuture<'a, bool>;
}

/// How hosts are reached.
#[derive(Clone)]
pub struct AccessSettings {
    /// Host keys that were asked about are recorded here, and looked up here first.
    pub known_hosts: PathBuf,
    /// Further files with host keys, only read: the user's. The SSH configuration may name others in their place.
    pub user_known_hosts: Vec<PathBuf>,
    /// The same of the system.
    pub global_known_hosts: Vec<PathBuf>,
    /// OpenSSH's client configuration, if it is to be honoured: the user's.
    pub ssh_config: Option<PathBuf>,
    /// The system's, whose word counts after the user's.
    pub system_ssh_config: Option<PathBuf>,
    /// Key files tried when nothing else was taken.
    pub default_keys: Vec<PathBuf>,
    /// Socket of the SSH agent.
    pub agent: Option<PathBuf>,
    /// The user's home directory (`~` and `%d` in the configuration).
    pub home: PathBuf,
    /// The local user's name: the SSH user when nothing names one.
    pub user: String,
    /// What to do about unknown host keys.
    pub host_keys: HostKeys,
    /// Who to ask; `None`: nobody, unknown keys are refused and passwords are not to be had.
    pub prompts: Option<Arc<dyn Prompts>>,
    /// A host that must take the first key that is named for it: nothing else is tried there.
    pub proving: Option<Arc<str>>,
    /// Connections per second to one first hop.
    pub starts_per_second: u32,
    /// Connections not yet logged in at once, per first hop: sshd's `MaxStartups` (10:30:100) drops from the tenth.
    pub starts_at_once: usize,
    /// Connections not yet logged in at once, over all.
    pub all_starts_at_once: usize,
    /// Time for which a host that is slow to log in, or silent, keeps its turn from others: it counts for little then at any
    /// gate on the way, while fifty that are down would hold up a fleet.
    pub patience: Duration,
    /// Open connections at once; the longest idle one makes room.
    pub max_connections: usize,
    /// Time for TCP and the key exchange of one hop.
    pub connect_timeout: Duration,
    /// Time for the host to answer one thing: a credential, the opening of a session or of a tunnel's channel, the start of a
    /// command, a sign of life. sshd's PAM waits some seconds after a wrong password. All answers to the credentials of one
    /// log-in together have twice as long.
    pub answer_timeout: Duration,
    /// Time for the SSH agent to say which keys it holds. A signature has `answer_timeout`: it may take a person's touch.
    pub agent_timeout: Duration,
    /// Attempts to reach a host that does not answer.
    pub tries: usize,
    /// Silence after which the host is asked whether it is still there.
    pub keepalive: Duration,
    /// Questions without an answer after which the connection is lost.
    pub keepalive_max: usize,
}

impl AccessSettings {
    /// Returns what suits a person at this machine: files of `foundry_home` and of `~/.ssh`, the agent of the
    /// environment, strict host keys, nobody to ask.
    #[must_use]
    pub fn new(foundry_home: &Path) -> Self {
        let home = std::env::home_dir().unwrap_or_default();
        let ssh = home.join(".ssh");
        let user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
            .unwrap_or_else(|| "root".to_owned());
        Self {
            known_hosts: foundry_home.join("known_hosts"),
            user_known_hosts: vec![ssh.join("known_hosts"), ssh.join("known_hosts2")],
            global_known_hosts: ["ssh_known_hosts", "ssh_known_hosts2"]
                .map(|name| Path::new("/etc/ssh").join(name))
                .to_vec(),
            ssh_config: Some(ssh.join("config")),
            system_ssh_config: Some(PathBuf::from("/etc/ssh/ssh_config")),
            default_keys: vec![ssh.join("id_ed25519"), ssh.join("id_ecdsa")],
            agent: std::env::var_os("SSH_AUTH_SOCK")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            home,
            user,
            host_keys: HostKeys::Strict,
            prompts: None,
            proving: None,
            starts_per_second: 30,
            starts_at_once: 8,
            all_starts_at_once: 128,
            patience: Duration::from_secs(3),
            max_connections: 1024,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            agent_timeout: Duration::from_secs(5),
            tries: 4,
            keepalive: Duration::from_secs(15),
            keepalive_max: 3,
        }
    }
}

/// Puts questions to a person one after the other: hosts are connected to in parallel, people are not.
pub(super) struct OneAtATime {
    prompts: Arc<dyn Prompts>,
    turn: Mutex<()>,
}

impl OneAtATime {
    pub fn over(prompts: Arc<dyn Prompts>) -> Arc<dyn Prompts> {
        Arc::new(Self {
            prompts,
            turn: Mutex::new(()),
        })
    }
}

impl Prompts for OneAtATime {
    fn password<'a>(&'a self, wanted: &'a PasswordWanted) -> BoxFuture<'a, Option<Secret<String>>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            self.prompts.password(wanted).await
        })
    }

    fn trust_host_key<'a>(&'a self, offered: &'a OfferedKey) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            self.prompts.trust_host_key(offered).await
        })
    }
}
