//! Programs on a host and on this machine: answers, limits, deadlines, lost connections.

use super::*;

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
    let error = writer.run(&timed(&text, 3)).await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Deadline);
    assert!(error.message.contains("waiting"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
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
        () = async {
            eventually("it runs", || pid.exists()).await;
            // What it said so far has arrived when the answer to something later has.
            run(&fleet, "true").await.unwrap();
        } => {}
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

/// Programs of a host share a shell, and nothing of one is left for the next.
#[tokio::test]
async fn a_shell_stays_from_one_program_to_the_next() {
    let Some(sshd) = Sshd::start("MaxSessions 1") else {
        return;
    };
    if sshd.user != "root" {
        skip("uploads run as root");
        return;
    }
    let fleet = fleet(&sshd);
    let shell = out(&run(&fleet, "echo $$").await.unwrap());
    let text =
        "cd /tmp; umask 077; secret=1; trap 'echo trapped' EXIT; set -- a b; cat; echo $$; exit 7";
    let reply = run(&fleet, text).await.unwrap();
    assert_eq!(
        (out(&reply), reply.status),
        (format!("{shell}trapped\n"), Some(7))
    );
    let reply = run(&fleet, "pwd; umask; echo \"${secret-none} $#\" $$")
        .await
        .unwrap();
    assert!(!out(&reply).starts_with("/tmp\n"), "{}", out(&reply));
    assert!(
        out(&reply).ends_with(&format!("0022\nnone 0 {shell}")),
        "{}",
        out(&reply)
    );

    // What answers without a line's end, or nothing, is told from the end of its program.
    assert_eq!(out(&run(&fleet, "printf x").await.unwrap()), "x");
    assert_eq!(out(&run(&fleet, "false").await.unwrap()), "");

    // Its one session makes room for a file, and a program that is none ends its shell and says so.
    let upload = Upload {
        owner: "root:root".into(),
        ..upload::file(&sshd, b"some bytes\n", &sshd.path("uploaded"))
    };
    let writer = fleet.writer(H).await.unwrap();
    writer.upload(&upload).await.unwrap();
    let other = out(&run(&fleet, "echo $$").await.unwrap());
    assert_ne!(other, shell);
    let reply = run(&fleet, "if true; then").await.unwrap();
    assert_eq!(reply.status, Some(2));
    assert!(String::from_utf8_lossy(&reply.stderr).contains("yntax error"));

    // One that is killed while it waits is nobody's trouble; one that is killed at work is.
    let third = out(&run(&fleet, "echo $$").await.unwrap());
    assert_ne!(third, other);
    let pid = nix::unistd::Pid::from_raw(third.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(out(&run(&fleet, "echo again").await.unwrap()), "again\n");
    let reply = run(&fleet, "echo out; kill -9 $$; sleep 60; echo never")
        .await
        .unwrap();
    assert_ne!(reply.status, Some(0), "{reply:?}");
    assert_eq!(fleet.connections(), 1);
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
    // As over SSH, and nothing of whoever runs Foundry (cargo's variables, here).
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let reply = run(&fleet, "env | sed 's/=.*//' | sort | tr '\\n' ' '").await;
    let names = out(&reply.unwrap());
    let known = [
        "HOME", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "USER", "_", "SHLVL",
    ];
    for name in names.split_whitespace() {
        assert!(known.contains(&name), "{name} in {names}");
    }
    let writer = fleet.writer(H).await.unwrap();
    let pid = directory.path().join("pid");
    let text = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let error = writer.run(&timed(&text, 3)).await.unwrap_err();
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
