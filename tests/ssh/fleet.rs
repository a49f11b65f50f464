//! Many connections: jump hosts, limits, retries.

use super::*;

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
    assert_eq!(error.kind, AccessKind::Silent);
    assert!(error.message.contains("no answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn silent_peers_keep_nobody_from_connecting_and_are_tried_twice() {
    let Some(sshd) = Sshd::start("") else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tries = tokio::spawn(async move {
        let mut tries = Vec::new();
        while let Ok((peer, _)) = listener.accept().await {
            tries.push(peer);
            if tries.len() == 2 {
                break;
            }
        }
        // A third would be refused, and say so.
        drop(listener);
        tries
    });
    let mut silent = host("a", &sshd);
    silent.port = Some(port);
    let settings = AccessSettings {
        all_starts_at_once: 1,
        patience: Duration::from_millis(50),
        connect_timeout: Duration::from_secs(2),
        tries: 4,
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![silent, host("b", &sshd)]), settings);
    let given_up = fleet.reader(H);
    tokio::pin!(given_up);
    tokio::select! {
        biased;
        _ = &mut given_up => panic!("it kept its turn to the end"),
        reached = fleet.reader(HostId(1)) => drop(reached.unwrap()),
    }
    let given_up = given_up.await.err().unwrap();
    assert_eq!(given_up.kind, AccessKind::Silent, "{given_up}");
    assert_eq!(tries.await.unwrap().len(), 2);
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
async fn the_connection_that_idles_longest_makes_room() {
    let Some(sshd) = Sshd::start("") else { return };
    let (mut second, mut third) = (host("b", &sshd), host("c", &sshd));
    second.address = "localhost".into();
    third.address = "127.1".into();
    let settings = AccessSettings {
        max_connections: 2,
        host_keys: HostKeys::Ask,
        prompts: Some(Arc::new(Person {
            trusts: true,
            ..Person::default()
        })),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![host("a", &sshd), second, third]), settings);
    let mut opened = Vec::new();
    // The second is not used again before the third comes, nor the third before the second.
    for n in [0, 1, 0, 2, 0, 1, 0] {
        let writer = fleet.writer(HostId(n)).await.unwrap();
        let reply = writer.run(&program("echo x")).await.unwrap();
        assert_eq!(out(&reply), "x\n");
        opened.push(fleet.connections());
    }
    assert_eq!(
        opened[1..],
        [
            opened[1],
            opened[1],
            opened[1] + 1,
            opened[1] + 1,
            opened[1] + 2,
            opened[1] + 2
        ]
    );
}
