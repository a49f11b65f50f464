//! Access to hosts, against real sshds on this machine.

mod exec;
mod fleet;
mod host_keys;
mod login;
mod silent;
#[path = "../support/sshd.rs"]
mod sshd;
mod sudo;
mod together;
mod tunnel;
mod upload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foundry::config::{Host, HostId, Source, Span, Stack};
use foundry::probe::{AccessError, AccessKind, Program, Readers as _, Reply};
use foundry::run::{Upload, Writer, Writers as _};
use foundry::secret::Secret;
use foundry::target::host::{
    AccessSettings, Fleet, HostKeys, OfferedKey, Password, PasswordWanted, Prompts, generate_key,
    install_key, ssh_command,
};
use futures::future::BoxFuture;
use sha2::Digest as _;
use sshd::{Sshd, eventually, skip, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const H: HostId = HostId(0);

fn host(name: &str, sshd: &Sshd) -> Host {
    Host {
        name: name.into(),
        address: "127.0.0.1".into(),
        port: Some(sshd.port),
        user: Some(sshd.user.clone()),
        identity: Some(sshd.identity.clone()),
        jump: None,
        local: false,
        roles: Vec::new(),
        labels: BTreeMap::new(),
        host_key: Some(sshd.host_key.clone()),
        span: Span::default(),
    }
}

fn stack(hosts: Vec<Host>) -> Arc<Stack> {
    Arc::new(Stack {
        source: Arc::new(Source {
            name: "test".into(),
            text: String::new(),
        }),
        name: "test".into(),
        domain: None,
        vip: None,
        hosts,
        components: indexmap::IndexMap::new(),
        sections: indexmap::IndexMap::new(),
        mirrors: Vec::new(),
        pins: Arc::default(),
        trusted_keys: Vec::new(),
    })
}

/// Settings that know nothing of whoever runs the tests.
fn settings(home: &Path) -> AccessSettings {
    AccessSettings {
        user_known_hosts: Vec::new(),
        global_known_hosts: Vec::new(),
        ssh_config: None,
        system_ssh_config: None,
        default_keys: Vec::new(),
        agent: None,
        home: home.to_owned(),
        tries: 1,
        ..AccessSettings::new(home)
    }
}

/// Writes a private key as nobody else may read it.
fn private_file(path: &Path, key: &Secret<String>) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(key.expose().as_bytes()).unwrap();
}

fn fleet(sshd: &Sshd) -> Fleet {
    Fleet::new(stack(vec![host("a", sshd)]), settings(&sshd.path("")))
}

fn program(text: &str) -> Program {
    timed(text, 30)
}

fn timed(text: &str, seconds: u64) -> Program {
    Program {
        text: Secret::new(text.to_owned()),
        deadline: Duration::from_secs(seconds),
    }
}

async fn run(fleet: &Fleet, text: &str) -> Result<Reply, AccessError> {
    fleet.writer(H).await?.run(&program(text)).await
}

fn out(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.stdout).into_owned()
}

/// Answers from a list, and remembers what was asked.
#[derive(Default)]
struct Person {
    password: Option<&'static str>,
    trusts: bool,
    asked: Mutex<Vec<String>>,
}

impl Person {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Prompts for Person {
    fn password<'a>(&'a self, wanted: &'a PasswordWanted) -> BoxFuture<'a, Option<Secret<String>>> {
        let what = match &wanted.what {
            Password::Login => "login",
            Password::Sudo => "sudo",
            Password::Passphrase(_) => "passphrase",
        };
        self.asked
            .lock()
            .unwrap()
            .push(format!("{what} {}", wanted.host));
        Box::pin(async { self.password.map(|p| Secret::new(p.to_owned())) })
    }

    fn trust_host_key<'a>(&'a self, offered: &'a OfferedKey) -> BoxFuture<'a, bool> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("key {} {}", offered.host, offered.fingerprint));
        Box::pin(async { self.trusts })
    }
}
