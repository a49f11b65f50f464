//! Access to hosts, against real sshds on this machine.

#[path = "support/sshd.rs"]
mod sshd;

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
    })
}

/// Settings that know nothing of whoever runs the tests.
fn settings(home: &Path) -> AccessSettings {
    AccessSettings {
        other_known_hosts: Vec::new(),
        ssh_config: None,
        default_keys: Vec::new(),
        agent: None,
        home: home.to_owned(),
        tries: 1,
        ..AccessSettings::new(home)
    }
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

#[tokio::test]
async fn a_program_runs_with_its_status_and_both_outputs() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let reply = run(&fleet, "echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(out(&reply), "out\n");
    assert_eq!(reply.stderr, b"err\n");
    assert_eq!(reply.status, Some(7));
    let killed = run(&fleet, "kill -9 $$").await.unwrap();
    assert!(
        killed.status.is_none_or(|status| status > 128),
        "{killed:?}"
    );
    assert_eq!((fleet.execs(H), fleet.connections()), (2, 1));
}

#[tokio::test]
async fn nothing_of_a_program_is_in_any_command_line_or_environment() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let reply = run(
        &fleet,
        "canary=kl33sh; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'kl33s[h]' || true; echo \"$canary\"",
    )
    .await
    .unwrap();
    assert_eq!(out(&reply), "0\nkl33sh\n");
    assert!(!sshd.log().contains("kl33sh"));
}

#[tokio::test]
async fn much_goes_both_ways() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    // A program larger than any window, all of which is read before any of it runs.
    let padding = format!(": {}\n", "x".repeat(999)).repeat(6000);
    let reply = run(
        &fleet,
        &format!("{padding}head -c 15000000 /dev/zero; echo end >&2"),
    )
    .await
    .unwrap();
    assert_eq!(reply.stdout.len(), 15_000_000);
    assert_eq!(reply.stderr, b"end\n");
    let error = run(&fleet, "head -c 17000000 /dev/zero").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Host);
    assert!(error.message.contains("16 MiB"), "{error}");
    assert_eq!(out(&run(&fleet, "echo alive").await.unwrap()), "alive\n");
    assert_eq!(fleet.connections(), 1);
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped_at_its_deadline() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let pid = sshd.path("pid");
    let text = format!(
        "sleep 600 & echo $! > {}; echo waiting >&2; wait",
        pid.display()
    );
    let began = Instant::now();
    let writer = fleet.writer(H).await.unwrap();
    let error = writer.run(&timed(&text, 1)).await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Deadline);
    assert!(error.message.contains("waiting"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!running(&pid), "it was not stopped");
    assert_eq!(out(&run(&fleet, "echo alive").await.unwrap()), "alive\n");
    assert_eq!(fleet.connections(), 1);
}

/// Returns whether the process whose id is in `file` is there.
fn running(file: &Path) -> bool {
    let pid = std::fs::read_to_string(file).unwrap();
    Path::new("/proc").join(pid.trim()).exists()
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_any_more_is_stopped() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let pid = sshd.path("pid");
    let text = format!(
        "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
        pid.display()
    );
    tokio::select! {
        reply = run(&fleet, &text) => panic!("{reply:?}"),
        () = eventually("it runs", || pid.exists()) => {}
    }
    eventually("it is stopped", || !running(&pid)).await;
}

#[tokio::test]
async fn what_is_left_in_the_background_holds_nobody_up() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let began = Instant::now();
    let reply = run(&fleet, "sleep 60 & echo $!").await.unwrap();
    assert_eq!(reply.status, Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
    run(&fleet, &format!("kill {}", out(&reply))).await.unwrap();
}

#[tokio::test]
async fn an_sshd_that_dies_mid_run_is_a_lost_connection_and_the_next_use_opens_another() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let started = sshd.path("started");
    let text = format!("touch {}; exec sleep 600", started.display());
    let long = program(&text);
    let (result, ()) = tokio::join!(
        async { fleet.writer(H).await.unwrap().run(&long).await },
        async {
            eventually("it runs", || started.exists()).await;
            sshd.kill_sessions();
        }
    );
    let error = result.unwrap_err();
    assert_eq!(error.kind, AccessKind::Lost);
    assert!(error.kind.is_transient());
    assert_eq!(out(&run(&fleet, "echo again").await.unwrap()), "again\n");
    // Also where nobody was looking when it went.
    sshd.kill_sessions();
    assert_eq!(out(&run(&fleet, "echo again").await.unwrap()), "again\n");
    assert_eq!(fleet.connections(), 3);
}

#[tokio::test]
async fn a_host_that_is_not_there_is_unreachable() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut gone = host("a", &sshd);
    gone.port = Some(1);
    let fleet = Fleet::new(stack(vec![gone]), settings(&sshd.path("")));
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Unreachable);
    assert!(error.message.contains("127.0.0.1 port 1"), "{error}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let Some(sshd) = Sshd::start("") else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = host("a", &sshd);
    silent.port = Some(listener.local_addr().unwrap().port());
    let settings = AccessSettings {
        connect_timeout: Duration::from_millis(300),
        tries: 2,
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![silent]), settings);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Unreachable);
    assert!(error.message.contains("no answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn another_host_key_than_the_known_one_is_refused_and_nobody_is_asked() {
    let Some(sshd) = Sshd::start("") else { return };
    let other = generate_key("").unwrap().1;
    let person = Arc::new(Person {
        trusts: true,
        ..Person::default()
    });
    let asking = AccessSettings {
        host_keys: HostKeys::Ask,
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let mut pinned = host("a", &sshd);
    pinned.host_key = Some(other.clone());
    let fleet = Fleet::new(stack(vec![pinned]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert!(error.message.contains("`host_key` in the stack"), "{error}");

    let mut known = host("a", &sshd);
    known.host_key = None;
    std::fs::write(
        &asking.known_hosts,
        format!("# mine\n[127.0.0.1]:{} {other}\n", sshd.port),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![known]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let place = format!("{}:2", asking.known_hosts.display());
    assert!(error.message.contains(&place), "{error}");
    assert!(error.message.contains("expected SHA256:"), "{error}");
    assert_eq!(person.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_or_asked_about_once() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut unknown = host("a", &sshd);
    unknown.host_key = None;
    let stack = stack(vec![unknown]);
    let strict = settings(&sshd.path(""));
    let error = Fleet::new(stack.clone(), strict.clone())
        .reader(H)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let hint = error.hint.unwrap();
    let line: Vec<&str> = sshd.host_key.split(' ').take(2).collect();
    assert!(hint.contains(&line.join(" ")), "{hint}");

    let asked = |trusts| {
        let person = Arc::new(Person {
            trusts,
            ..Person::default()
        });
        let settings = AccessSettings {
            host_keys: HostKeys::Ask,
            prompts: Some(person.clone()),
            ..strict.clone()
        };
        (person, Fleet::new(stack.clone(), settings))
    };
    let (person, fleet) = asked(false);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert_eq!(person.asked().len(), 1);
    assert!(!strict.known_hosts.exists());

    let (person, fleet) = asked(true);
    fleet.reader(H).await.unwrap();
    assert_eq!(person.asked().len(), 1);
    assert!(person.asked()[0].starts_with("key a SHA256:"));
    // Written down: the next one is strict and gets in.
    Fleet::new(stack.clone(), strict).reader(H).await.unwrap();
}

#[tokio::test]
async fn a_host_is_reached_through_another() {
    let (Some(outer), Some(inner)) = (Sshd::start(""), Sshd::start("")) else {
        return;
    };
    let gate = host("gate", &outer);
    let mut behind = host("a", &inner);
    behind.jump = Some("gate".into());
    let hosts = stack(vec![behind.clone(), gate.clone()]);
    let fleet = Fleet::new(hosts, settings(&outer.path("")));
    let reply = run(&fleet, "echo \"$SSH_CONNECTION\"").await.unwrap();
    assert!(out(&reply).trim().ends_with(&inner.port.to_string()));
    // The jump host's connection serves itself as well.
    fleet.reader(HostId(1)).await.unwrap();
    assert_eq!(fleet.connections(), 2);
    assert!(outer.log().contains("Accepted publickey"));

    // Its key is checked as well.
    let mut false_gate = gate.clone();
    false_gate.host_key = Some(inner.host_key.clone());
    let fleet = Fleet::new(
        stack(vec![behind.clone(), false_gate]),
        settings(&outer.path("")),
    );
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!((error.kind, &*error.host), (AccessKind::HostKey, "a"));
    assert!(error.message.starts_with("its jump host gate: "), "{error}");

    let mut circle = gate;
    circle.jump = Some("a".into());
    let fleet = Fleet::new(stack(vec![behind, circle]), settings(&outer.path("")));
    let error = fleet.reader(H).await.err().unwrap();
    assert!(error.message.contains("a → gate → a"), "{error}");
}

#[tokio::test]
async fn the_systems_ssh_gets_in_by_the_same_way() {
    let (Some(outer), Some(inner)) = (Sshd::start(""), Sshd::start("")) else {
        return;
    };
    let mut behind = host("a", &inner);
    behind.jump = Some("gate".into());
    let hosts = stack(vec![behind, host("gate", &outer)]);
    let fleet = Fleet::new(hosts, settings(&outer.path("")));
    let mut command = ssh_command(&fleet, H).unwrap();
    command.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "echo",
        "$SSH_CONNECTION",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.trim().ends_with(&inner.port.to_string()), "{output:?}");

    let mut pinned_wrong = host("a", &inner);
    pinned_wrong.host_key = Some(outer.host_key.clone());
    let fleet = Fleet::new(stack(vec![pinned_wrong]), settings(&outer.path("")));
    let mut command = ssh_command(&fleet, H).unwrap();
    command.args(["-F", "none", "-o", "BatchMode=yes", "true"]);
    assert!(!command.output().unwrap().status.success());
}

#[tokio::test]
async fn the_ssh_configuration_is_honoured() {
    let Some(sshd) = Sshd::start("") else { return };
    let config = sshd.path("ssh_config");
    std::fs::write(
        &config,
        format!(
            "Host lab-?\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
            sshd.port,
            sshd.user,
            sshd.identity.display(),
            sshd.path("kh").display(),
        ),
    )
    .unwrap();
    std::fs::write(
        sshd.path("kh"),
        format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key),
    )
    .unwrap();
    let mut bare = host("lab-1", &sshd);
    bare.address = "lab-1".into();
    (bare.port, bare.user, bare.identity, bare.host_key) = (None, None, None, None);
    let settings = AccessSettings {
        ssh_config: Some(config),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![bare]), settings);
    assert_eq!(out(&run(&fleet, "echo in").await.unwrap()), "in\n");
}

#[tokio::test]
async fn many_ask_at_once_over_one_connection() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let runs = (0..60).map(|n| {
        let fleet = &fleet;
        async move {
            let reply = run(fleet, &format!("echo {n}")).await.unwrap();
            assert_eq!(out(&reply), format!("{n}\n"));
        }
    });
    futures::future::join_all(runs).await;
    assert_eq!((fleet.execs(H), fleet.connections()), (60, 1));
}

#[tokio::test]
async fn fewer_sessions_than_hoped_for_are_waited_for() {
    for most in [1, 2] {
        let Some(sshd) = Sshd::start(&format!("MaxSessions {most}")) else {
            return;
        };
        let fleet = fleet(&sshd);
        let runs = (0..12).map(|n| {
            let fleet = &fleet;
            async move { out(&run(fleet, &format!("sleep 0.05; echo {n}")).await.unwrap()) }
        });
        let all = futures::future::join_all(runs).await;
        let wanted: Vec<String> = (0..12).map(|n| format!("{n}\n")).collect();
        assert_eq!(all, wanted);
        assert_eq!(fleet.connections(), 1);
    }
    let Some(sshd) = Sshd::start("MaxSessions 0") else {
        return;
    };
    let error = run(&fleet(&sshd), "true").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Host);
    assert!(error.hint.unwrap().contains("MaxSessions"));
}

#[tokio::test]
async fn many_hosts_behind_one_bastion_do_not_burst_what_is_behind_it() {
    let (Some(bastion), Some(inner)) = (
        Sshd::start(""),
        // From the tenth that has not logged in, every further one is dropped.
        Sshd::start_everywhere("MaxStartups 10:100:10"),
    ) else {
        return;
    };
    let mut hosts = vec![host("bastion", &bastion)];
    hosts.extend((1..=40).map(|n| {
        let mut host = host(&format!("h{n}"), &inner);
        host.address = format!("127.0.0.{n}");
        host.jump = Some("bastion".into());
        host
    }));
    let settings = AccessSettings {
        starts_per_second: 1000,
        ..settings(&inner.path(""))
    };
    let fleet = Fleet::new(stack(hosts), settings);
    let all = (1..=40).map(|n| fleet.reader(HostId(n)));
    for reader in futures::future::join_all(all).await {
        reader.unwrap();
    }
    assert_eq!(fleet.connections(), 41);
    assert!(!inner.log().contains("drop connection"), "{}", inner.log());
}

/// A port that drops the first connections and leads to `sshd` after; returns it and how many came.
async fn gate(sshd: &Sshd, drops: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = sshd.port;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if counted.fetch_add(1, Ordering::SeqCst) < drops {
                continue;
            }
            tokio::spawn(async move {
                let mut on = tokio::net::TcpStream::connect(("127.0.0.1", behind))
                    .await
                    .unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut on).await;
            });
        }
    });
    (port, count)
}

#[tokio::test]
async fn dropped_connections_are_tried_again_and_all_who_ask_wait_for_one_attempt() {
    let Some(sshd) = Sshd::start("") else { return };
    let (port, count) = gate(&sshd, 2).await;
    let mut shaky = host("a", &sshd);
    shaky.port = Some(port);
    let stack = stack(vec![shaky]);
    let patient = AccessSettings {
        tries: 4,
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack.clone(), patient);
    let all = (0..10).map(|_| fleet.reader(H));
    for reader in futures::future::join_all(all).await {
        reader.unwrap();
    }
    assert_eq!((count.load(Ordering::SeqCst), fleet.connections()), (3, 1));

    let (port, count) = gate(&sshd, usize::MAX).await;
    let mut dead = host("a", &sshd);
    dead.port = Some(port);
    let fleet = Fleet::new(self::stack(vec![dead]), settings(&sshd.path("")));
    let all = (0..10).map(|_| fleet.reader(H));
    for reader in futures::future::join_all(all).await {
        let error = reader.err().unwrap();
        assert_eq!(error.kind, AccessKind::Unreachable);
        assert!(error.message.contains("before saying who it is"), "{error}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_host_that_goes_silent_is_noticed() {
    let Some(sshd) = Sshd::start("") else { return };
    let settings = AccessSettings {
        keepalive: Duration::from_millis(200),
        keepalive_max: 2,
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![host("a", &sshd)]), settings);
    let started = sshd.path("started");
    let text = format!("touch {}; exec sleep 600", started.display());
    let (result, ()) = tokio::join!(run(&fleet, &text), async {
        eventually("it runs", || started.exists()).await;
        sshd.freeze_sessions();
    });
    let error = result.unwrap_err();
    assert_eq!(error.kind, AccessKind::Lost);
    assert!(error.message.contains("stopped answering"), "{error}");
}

fn file(sshd: &Sshd, bytes: &[u8], to: &Path) -> Upload {
    let from = sshd.path("from");
    std::fs::write(&from, bytes).unwrap();
    Upload {
        from,
        to: to.display().to_string(),
        owner: format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid()),
        mode: "0640".into(),
        sha256: hex::encode(sha2::Sha256::digest(bytes)),
    }
}

#[tokio::test]
async fn a_file_arrives_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(sshd) = Sshd::start("") else { return };
    if sshd.user != "root" {
        skip("uploads run as root");
        return;
    }
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let directory = sshd.path("it's a place");
    std::fs::create_dir(&directory).unwrap();
    let to = directory.join("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let upload = file(&sshd, &bytes, &to);
    writer.upload(&upload).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    assert_eq!(
        std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777,
        0o640
    );

    // Another digest: refused, and the old file stays.
    let wrong = Upload {
        sha256: "00".repeat(32),
        ..file(&sshd, b"other", &to)
    };
    let error = writer.upload(&wrong).await.unwrap_err();
    assert!(
        error.message.contains("arrived with the digest d9298a10"),
        "{error}"
    );
    assert_eq!(std::fs::read(&to).unwrap(), bytes);

    for (target, word) in [
        (directory.join("nowhere/file"), "No such file"),
        (directory.clone(), "is a directory"),
        ("/dev/full/x".into(), "/dev/full"),
    ] {
        let error = writer
            .upload(&file(&sshd, b"x", &target))
            .await
            .unwrap_err();
        assert_eq!(error.kind, AccessKind::Host);
        assert!(error.message.contains(word), "{error}");
    }
    let missing = Upload {
        from: sshd.path("not there"),
        ..file(&sshd, b"x", &to)
    };
    let error = writer.upload(&missing).await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Local);
    let names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["file"], "something was left behind");
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let Some(sshd) = Sshd::start("") else { return };
    if sshd.user != "root" {
        return;
    }
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let directory = sshd.path("in");
    std::fs::create_dir(&directory).unwrap();
    // A pipe that gives some and then waits: the upload hangs in the middle.
    let pipe = sshd.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let feeding = pipe.clone();
    let feeder = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(feeding)
            .unwrap();
        let _ = file.write_all(&[7; 40_000]);
        file
    });
    let upload = Upload {
        from: pipe,
        ..file(&sshd, b"", &directory.join("file"))
    };
    let begun = || {
        std::fs::read_dir(&directory)
            .unwrap()
            .any(|entry| entry.unwrap().metadata().is_ok_and(|data| data.len() > 0))
    };
    tokio::select! {
        result = writer.upload(&upload) => panic!("{result:?}"),
        () = async {
            eventually("it begins", begun).await;
        } => {}
    }
    drop(feeder.join().unwrap());
    eventually("it is gone", || {
        std::fs::read_dir(&directory).unwrap().next().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_leads_to_the_hosts_loopback_until_it_is_dropped() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        loop {
            let (mut stream, _) = service.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let tunnel = writer.forward(port).await.unwrap();
    let address = tunnel.address();
    let talk = |bytes: Vec<u8>| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let (sent, got) = tokio::join!(
            async {
                write.write_all(&bytes).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut answer)
        );
        sent.and(got.map(|_| answer == bytes))
    };
    let all = (0..8).map(|n| talk(vec![n; 700_000]));
    for whole in futures::future::join_all(all).await {
        assert!(whole.unwrap());
    }
    // The connection goes; the tunnel finds another.
    sshd.kill_sessions();
    let mut again = false;
    for _ in 0..50 {
        again = talk(b"hello".to_vec()).await.is_ok_and(|whole| whole);
        if again {
            break;
        }
    }
    assert!(again, "{:?}", tunnel.trouble());
    drop(tunnel);
    eventually("the port closes", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    echo.abort();
}

#[tokio::test]
async fn a_tunnel_says_what_is_wrong_at_the_far_side() {
    let Some(sshd) = Sshd::start("") else { return };
    let hosts = fleet(&sshd);
    let writer = hosts.writer(H).await.unwrap();
    let closed = writer.forward(1).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(closed.address())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    eventually("the trouble is known", || closed.trouble().is_some()).await;
    let trouble = closed.trouble().unwrap();
    assert!(trouble.contains("nothing answers on port 1"), "{trouble}");

    let Some(forbidding) = Sshd::start("AllowTcpForwarding no") else {
        return;
    };
    let hosts = fleet(&forbidding);
    let writer = hosts.writer(H).await.unwrap();
    let error = writer.forward(1).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Host);
    assert!(error.hint.unwrap().contains("AllowTcpForwarding"));
}

#[tokio::test]
async fn no_key_is_taken_and_the_error_lists_them() {
    let Some(sshd) = Sshd::start("Banner /etc/hostname") else {
        return;
    };
    let (private, _) = generate_key("").unwrap();
    let stranger = sshd.path("stranger");
    std::fs::write(&stranger, private.expose()).unwrap();
    let rsa = sshd.path("id_rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&rsa)
        .status();
    assert!(made.unwrap().success());
    let mut refused = host("a", &sshd);
    refused.identity = Some(sshd.path("missing"));
    let settings = AccessSettings {
        default_keys: vec![stranger.clone(), rsa.clone()],
        agent: Some(sshd.path("no agent")),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![refused]), settings);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Auth);
    for word in [
        &format!("key file {} is not there", sshd.path("missing").display()),
        &stranger.display().to_string(),
        &format!("{} is an RSA key", rsa.display()),
        "the agent at",
        "it takes publickey",
        "it says:",
    ] {
        assert!(error.message.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn an_encrypted_key_asks_for_its_passphrase_once_for_all_hosts() {
    let Some(sshd) = Sshd::start("") else { return };
    let encrypted = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "letmein", "-f"])
        .arg(&sshd.identity)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(encrypted.unwrap().success());
    let mut localhost = host("b", &sshd);
    localhost.address = "localhost".into();
    let both = stack(vec![host("a", &sshd), localhost]);
    let person = Arc::new(Person {
        password: Some("letmein"),
        ..Person::default()
    });
    let asking = AccessSettings {
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(both.clone(), asking);
    let (a, b) = tokio::join!(fleet.reader(H), fleet.reader(HostId(1)));
    a.unwrap();
    b.unwrap();
    assert_eq!(person.asked().len(), 1);

    let wrong = AccessSettings {
        prompts: Some(Arc::new(Person {
            password: Some("wrong"),
            ..Person::default()
        })),
        ..settings(&sshd.path(""))
    };
    let error = Fleet::new(both.clone(), wrong)
        .reader(H)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, AccessKind::Auth);
    assert!(error.message.contains("can't be decrypted"), "{error}");
    let error = Fleet::new(both, settings(&sshd.path("")))
        .reader(H)
        .await
        .err()
        .unwrap();
    assert!(error.message.contains("nobody can be asked"), "{error}");
}

/// An SSH agent of the test's own.
struct Agent {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(sshd: &Sshd) -> Self {
        let socket = sshd.path("agent");
        let child = std::process::Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("the agent listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Self { child, socket }
    }

    fn add(&self, key: &Path) {
        let added = std::process::Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .status();
        assert!(added.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn keys_of_the_agent_are_taken_rsa_too() {
    let Some(sshd) = Sshd::start("") else { return };
    let agent = Agent::start(&sshd);
    let rsa = sshd.path("id_rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&rsa)
        .status();
    assert!(made.unwrap().success());
    agent.add(&rsa);
    let public = std::fs::read_to_string(sshd.path("id_rsa.pub")).unwrap();
    std::fs::write(sshd.path("authorized_keys"), public).unwrap();
    for identity in [None, Some(rsa.clone()), Some(sshd.path("id_rsa.pub"))] {
        let mut keyless = host("a", &sshd);
        keyless.identity = identity;
        let settings = AccessSettings {
            agent: Some(agent.socket.clone()),
            ..settings(&sshd.path(""))
        };
        let fleet = Fleet::new(stack(vec![keyless]), settings);
        fleet.reader(H).await.unwrap();
    }
}

#[tokio::test]
async fn certificates_of_users_and_hosts_are_taken() {
    let Some(sshd) = Sshd::start("") else { return };
    let keygen = |arguments: &[&str]| {
        let done = std::process::Command::new("ssh-keygen")
            .arg("-q")
            .args(arguments)
            .status();
        assert!(done.unwrap().success(), "{arguments:?}");
    };
    let at = |name: &str| sshd.path(name).display().to_string();
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("ca")]);
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("user")]);
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("host")]);
    keygen(&[
        "-s",
        &at("ca"),
        "-I",
        "u",
        "-n",
        &sshd.user,
        &at("user.pub"),
    ]);
    keygen(&[
        "-s",
        &at("ca"),
        "-I",
        "h",
        "-h",
        "-n",
        "127.0.0.1",
        &at("host.pub"),
    ]);
    let extra = format!(
        "TrustedUserCAKeys {}\nHostKey {}\nHostCertificate {}",
        at("ca.pub"),
        at("host"),
        at("host-cert.pub")
    );
    let Some(signed) = Sshd::start(&extra) else {
        return;
    };
    let mut certified = host("a", &signed);
    certified.identity = Some(sshd.path("user"));
    certified.host_key = None;
    let settings = settings(&sshd.path(""));
    let authority = std::fs::read_to_string(at("ca.pub")).unwrap();
    std::fs::write(
        &settings.known_hosts,
        format!("@cert-authority [127.0.0.1]:* {authority}"),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![certified]), settings);
    assert_eq!(out(&run(&fleet, "echo in").await.unwrap()), "in\n");
    assert!(signed.log().contains("Accepted publickey") && signed.log().contains("ED25519-CERT"));
}

#[tokio::test]
async fn the_idle_connection_makes_room() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut other = host("b", &sshd);
    other.address = "localhost".into();
    let settings = AccessSettings {
        max_connections: 1,
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![host("a", &sshd), other]), settings);
    for n in 0..4 {
        let writer = fleet.writer(HostId(n % 2)).await.unwrap();
        let reply = writer.run(&program("echo x")).await.unwrap();
        assert_eq!(out(&reply), "x\n");
    }
    assert_eq!(fleet.connections(), 4);
}

#[tokio::test]
async fn this_machine_needs_no_ssh() {
    let directory = tempfile::tempdir().unwrap();
    let local = Host {
        name: "here".into(),
        address: "here".into(),
        port: None,
        user: None,
        identity: None,
        jump: None,
        local: true,
        roles: Vec::new(),
        labels: BTreeMap::new(),
        host_key: None,
        span: Span::default(),
    };
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
        return;
    }
    let fleet = Fleet::new(stack(vec![local]), settings(directory.path()));
    let reply = run(&fleet, "echo out; echo err >&2; exit 3").await.unwrap();
    assert_eq!((out(&reply).as_str(), reply.status), ("out\n", Some(3)));
    let writer = fleet.writer(H).await.unwrap();
    let pid = directory.path().join("pid");
    let text = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let error = writer.run(&timed(&text, 1)).await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Deadline);
    assert!(!running(&pid), "it was not stopped");
    let from = directory.path().join("from");
    let to = directory.path().join("to");
    std::fs::write(&from, "text").unwrap();
    let upload = Upload {
        from,
        to: to.display().to_string(),
        owner: "root:root".into(),
        mode: "0600".into(),
        sha256: hex::encode(sha2::Sha256::digest("text")),
    };
    writer.upload(&upload).await.unwrap();
    assert_eq!(std::fs::read_to_string(to).unwrap(), "text");
    let error = run(&fleet, "head -c 17000000 /dev/zero").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Host);
    assert_eq!(writer.forward(8200).await.unwrap().address().port(), 8200);
    assert_eq!(fleet.connections(), 0);
}

/// A user of this machine, for the length of a test.
struct User {
    name: String,
    sudoers: std::path::PathBuf,
}

impl User {
    /// Makes one with a password, and a home directory; `None` where that can't be.
    fn make(password: &str) -> Option<Self> {
        let can = nix::unistd::geteuid().is_root()
            && ["/usr/sbin/useradd", "/usr/sbin/chpasswd", "/usr/bin/sudo"]
                .iter()
                .all(|tool| Path::new(tool).exists());
        if !can {
            skip("needs root, useradd, chpasswd and sudo");
            return None;
        }
        let name = format!("foundry-t{}", std::process::id());
        let made = std::process::Command::new("useradd")
            .args(["-m", "-s", "/bin/sh", &name])
            .status();
        assert!(made.unwrap().success());
        let user = Self {
            sudoers: Path::new("/etc/sudoers.d").join(&name),
            name,
        };
        user.password(password);
        Some(user)
    }

    fn password(&self, password: &str) {
        use std::io::Write as _;
        let mut child = std::process::Command::new("chpasswd")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}:{password}", self.name).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    fn sudo(&self, rule: Option<&str>) {
        match rule {
            Some(rule) => std::fs::write(&self.sudoers, format!("{} {rule}\n", self.name)).unwrap(),
            None => std::fs::remove_file(&self.sudoers).unwrap(),
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.sudoers);
        let _ = std::process::Command::new("userdel")
            .args(["-r", "-f", &self.name])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test]
async fn sudo_with_and_without_a_password() {
    let Some(sshd) = Sshd::start("") else { return };
    let Some(user) = User::make("kn0ck kn0ck") else {
        return;
    };
    let mut unprivileged = host("a", &sshd);
    unprivileged.user = Some(user.name.clone());
    let stack = stack(vec![unprivileged]);
    let with = |password| {
        let person = Arc::new(Person {
            password,
            ..Person::default()
        });
        let settings = AccessSettings {
            prompts: Some(person.clone()),
            ..settings(&sshd.path(""))
        };
        (person, Fleet::new(stack.clone(), settings))
    };
    let upload = |fleet: Arc<dyn Writer>| {
        let upload = Upload {
            owner: "root:root".into(),
            ..file(&sshd, b"some bytes\n", &sshd.path("uploaded"))
        };
        async move { fleet.upload(&upload).await }
    };

    // Not in sudoers at all.
    let (_, fleet) = with(Some("kn0ck kn0ck"));
    let error = run(&fleet, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo, "{error}");

    // Without a password: one exec each.
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let (person, fleet) = with(None);
    assert_eq!(out(&run(&fleet, "id -u").await.unwrap()), "0\n");
    assert_eq!(run(&fleet, "exit 1").await.unwrap().status, Some(1));
    assert_eq!((fleet.execs(H), person.asked().len()), (2, 0));
    upload(fleet.writer(H).await.unwrap()).await.unwrap();

    // With one: asked for once, by however many at once.
    user.sudo(Some("ALL=(ALL) ALL"));
    let (person, fleet) = with(Some("kn0ck kn0ck"));
    let all = (0..5).map(|_| {
        run(
            &fleet,
            "id -u; cat /proc/*/cmdline 2>/dev/null | grep -c 'kn0ck kn0c[k]'",
        )
    });
    for reply in futures::future::join_all(all).await {
        let reply = reply.unwrap();
        assert_eq!(
            out(&reply),
            "0\n0\n",
            "{}",
            String::from_utf8_lossy(&reply.stderr)
        );
    }
    assert_eq!(person.asked(), ["sudo a"]);
    std::fs::remove_file(sshd.path("uploaded")).unwrap();
    upload(fleet.writer(H).await.unwrap()).await.unwrap();
    assert_eq!(
        std::fs::read(sshd.path("uploaded")).unwrap(),
        b"some bytes\n"
    );
    // The first thing on a host may be an upload.
    let (person, fleet) = with(Some("kn0ck kn0ck"));
    upload(fleet.writer(H).await.unwrap()).await.unwrap();
    assert_eq!(person.asked(), ["sudo a"]);

    // sudo stops asking meanwhile: the password must not be run as a command.
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let reply = run(&fleet, "id -u").await.unwrap();
    assert_eq!(
        (out(&reply).as_str(), reply.stderr.as_slice()),
        ("0\n", &b""[..])
    );
    user.sudo(Some("ALL=(ALL) ALL"));

    // The wrong one: sudo's words, soon, and not asked for again.
    let (person, fleet) = with(Some("wr0ng"));
    let began = Instant::now();
    let error = run(&fleet, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo);
    assert!(error.message.contains("incorrect password"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let execs = fleet.execs(H);
    assert_eq!(
        run(&fleet, "id -u").await.unwrap_err().kind,
        AccessKind::Sudo
    );
    assert_eq!((person.asked().len(), fleet.execs(H)), (1, execs));

    // Nobody to ask.
    let nobody = Fleet::new(stack.clone(), settings(&sshd.path("")));
    let error = run(&nobody, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo);
    assert!(error.hint.unwrap().contains("NOPASSWD"));
    user.sudo(None);
}

#[tokio::test]
async fn a_password_lets_a_key_be_installed_once() {
    let Some(user) = User::make("first time") else {
        return;
    };
    let Some(sshd) =
        Sshd::start("PasswordAuthentication yes\nAuthorizedKeysFile .ssh/authorized_keys")
    else {
        return;
    };
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let mut fresh = host("a", &sshd);
    fresh.user = Some(user.name.clone());
    fresh.identity = None;
    let person = Arc::new(Person {
        password: Some("first time"),
        ..Person::default()
    });
    let asking = AccessSettings {
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![fresh.clone()]), asking);
    let writer = fleet.writer(H).await.unwrap();
    assert_eq!(person.asked(), ["login a"]);
    let (private, public) = generate_key("a of test").unwrap();
    let name: Arc<str> = "a".into();
    for _ in 0..2 {
        install_key(&*writer, &name, &user.name, &public)
            .await
            .unwrap();
    }
    let keys = format!("/home/{}/.ssh/authorized_keys", user.name);
    assert_eq!(
        std::fs::read_to_string(keys).unwrap(),
        format!("{public}\n")
    );
    let error = install_key(&*writer, &name, "no-such-user", &public)
        .await
        .unwrap_err();
    assert!(
        error.message.contains("there is no user no-such-user"),
        "{error}"
    );

    let file = sshd.path("own");
    std::fs::write(&file, private.expose()).unwrap();
    fresh.identity = Some(file);
    let fleet = Fleet::new(stack(vec![fresh]), settings(&sshd.path("")));
    assert_eq!(out(&run(&fleet, "id -u").await.unwrap()), "0\n");

    // Hosts that ask for it in another way.
    let Some(sshd) = Sshd::start("UsePAM yes\nKbdInteractiveAuthentication yes") else {
        return;
    };
    let mut asks = host("a", &sshd);
    asks.user = Some(user.name.clone());
    asks.identity = None;
    for (password, taken) in [("first time", true), ("wrong", false)] {
        let asking = AccessSettings {
            prompts: Some(Arc::new(Person {
                password: Some(password),
                ..Person::default()
            })),
            ..settings(&sshd.path(""))
        };
        let result = Fleet::new(stack(vec![asks.clone()]), asking)
            .reader(H)
            .await;
        match result.err() {
            None => assert!(taken),
            Some(error) => {
                assert!(!taken, "{error}");
                assert_eq!(error.kind, AccessKind::Auth);
                assert!(error.message.contains("tried the password"), "{error}");
            }
        }
    }
}
