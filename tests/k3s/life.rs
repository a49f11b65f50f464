//! What happens to a cluster: it is brought up, asked for, made smaller and larger, and broken off half-way.

use std::process::Stdio;

use crate::bench::{Bench, Ran};

fn of<'a>(ran: &'a [Ran], step: &str) -> Vec<&'a Ran> {
    let begin = format!("k3s:{step}@");
    ran.iter()
        .filter(|ran| ran.label.starts_with(&begin))
        .collect()
}

fn three_servers_vote(bench: &Bench) {
    let status = bench.status();
    assert_eq!(status["healthy"], true, "{status:#}");
    let servers = status["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3);
    assert!(
        servers
            .iter()
            .all(|server| server["state"] == "voter" && server["peers"] == 2),
        "{status:#}"
    );
}

/// Stages everything at once, then starts servers one after the other, then agents together.
pub fn brought_up_in_order_and_as_parallel_as_can_be(bench: &Bench) {
    let built = bench.build().ok();
    let ran = built.timeline();
    eprintln!(
        "bring-up: {:.1} s, {} steps ran",
        built.took.as_secs_f64(),
        built.summary()["counts"]["ran"]
    );
    for step in [
        "artifact",
        "join",
        "agent-config",
        "server",
        "agent",
        "etcd",
        "ready",
    ] {
        for ran in of(&ran, step) {
            eprintln!("  {:>6.1} – {:>6.1} s  {}", ran.from, ran.to, ran.label);
        }
    }
    let servers = of(&ran, "server");
    assert_eq!(servers.len(), 3);
    assert_eq!(
        servers[0].label,
        format!("k3s:server@{}", bench.host(0)),
        "the first begins"
    );
    for pair in servers.windows(2) {
        assert!(pair[0].to <= pair[1].from, "{pair:?} overlap");
    }
    // What agents need was there before any server ran: nobody waited for a token.
    for staged in of(&ran, "agent-config").into_iter().chain(of(&ran, "join")) {
        assert!(staged.to <= servers[0].to, "{staged:?}");
    }
    let agents = of(&ran, "agent");
    assert_eq!(agents.len(), 2);
    assert!(
        agents[0].from < agents[1].to && agents[1].from < agents[0].to,
        "{agents:?}"
    );
    assert!(servers[2].to <= agents[0].from, "servers before agents");
    assert_eq!(bench.ready().len(), 5);
    let status = bench.status();
    assert_eq!(status["healthy"], true, "{status:#}");
    // The token that was made beforehand is the one that the server itself would give out.
    let token = bench.lab.ssh(
        0,
        "sudo sh -c 'echo \"K10$(sha256sum </var/lib/rancher/k3s/server/tls/server-ca.crt | cut -d\" \" -f1)::server:$(cat /etc/foundry/k3s/token)\" | cmp - /var/lib/rancher/k3s/server/node-token && echo same'",
    );
    assert_eq!(token.trim(), "same");
}

/// A second build asks each host once and runs nothing.
pub fn again_nothing_to_do(bench: &Bench) {
    let again = bench.build().ok();
    let counts = &again.summary()["counts"];
    eprintln!(
        "again: {:.1} s, {} ran, {} satisfied, programs sent: {}",
        again.took.as_secs_f64(),
        counts["ran"],
        counts["satisfied"],
        again.summary()["execs"]
    );
    assert_eq!(counts["ran"], 0);
}

/// `cluster kubeconfig` merged into one that has another cluster, and used from a host that is no node.
pub fn the_kubeconfig_lets_people_in(bench: &Bench) {
    let path = bench.path("kubeconfig");
    std::fs::write(&path, "apiVersion: v1\nkind: Config\nclusters: [{name: other, cluster: {server: 'https://other.example'}}]\n").unwrap();
    let mut merge = bench.command(&["cluster", "kubeconfig", "--merge", "--context", "mine"]);
    let done = merge.env("KUBECONFIG", &path).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("https://other.example"), "others are kept");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A host that is a node has kubectl.
    let put = format!(
        "cat >/tmp/kc <<'END'\n{text}\nEND\nsudo kubectl --kubeconfig /tmp/kc --context mine get nodes --no-headers"
    );
    let listed = bench.lab.ssh(4, &put);
    assert_eq!(listed.lines().count(), 5, "{listed}");
}

/// Releases are not left out.
pub fn a_step_of_two_minors_is_refused(bench: &Bench) {
    let next = format!("1.{}.0+k3s1", bench.minor() + 2);
    let refused = bench
        .run(&[
            "component",
            "install",
            "k3s",
            "--version",
            &next,
            "--yes",
            "--output",
            "json",
        ])
        .coded(1);
    let said = refused.out;
    assert!(said.contains("leaves out minor releases"), "{said}");
    assert_eq!(bench.ready().len(), 5, "nothing was touched");
}

/// With one server down, neither of the other two may leave.
pub fn a_quorum_is_not_given_away(bench: &Bench) {
    bench.lab.ssh(2, "sudo systemctl stop k3s");
    let before = bench.config();
    let refused = bench
        .run(&["cluster", "node", "remove", bench.host(1), "--yes"])
        .coded(1);
    eprintln!("{}", refused.err.trim());
    assert!(
        refused.err.contains("its quorum would be lost"),
        "{}",
        refused.err
    );
    assert_eq!(bench.config(), before);
    // What was stopped by hand is started by the next run.
    bench.build().ok();
    assert_eq!(bench.status()["healthy"], true);
}

/// An agent is emptied, taken out, cleaned and forgotten.
pub fn an_agent_leaves(bench: &Bench) {
    let name = bench.host(4).to_owned();
    let removed = bench
        .run(&["cluster", "node", "remove", &name, "--yes"])
        .ok();
    eprintln!("node remove {name}: {:.1} s", removed.took.as_secs_f64());
    assert!(!bench.ready().contains(&name));
    assert!(
        !bench
            .config()
            .contains(&format!("{{ hostname: {name}, role: worker }}"))
    );
    let left = bench.lab.ssh(
        4,
        "sudo sh -c 'find /var/lib/rancher /etc/rancher -mindepth 1 2>/dev/null | head; pgrep -l containerd-shim; systemctl is-active k3s-agent; ip -o link show cni0 2>/dev/null; true'",
    );
    assert_eq!(left.trim(), "inactive", "left behind");
}

/// A server leaves etcd as well, and the others stay a cluster.
pub fn a_server_leaves(bench: &Bench) {
    let name = bench.host(2).to_owned();
    let removed = bench
        .run(&["cluster", "node", "remove", &name, "--yes"])
        .ok();
    eprintln!("node remove {name}: {:.1} s", removed.took.as_secs_f64());
    let status = bench.status();
    assert_eq!(status["healthy"], true, "{status:#}");
    let servers = status["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    assert!(
        servers.iter().all(|server| server["peers"] == 1),
        "{status:#}"
    );
}

/// `node add` of a server, everything killed in the midst of it; then a build makes it whole: three voters.
pub fn a_server_killed_while_it_joins_is_completed(bench: &Bench) {
    let name = bench.host(5).to_owned();
    let add = [
        "cluster",
        "node",
        "add",
        &name,
        "--role",
        "control-plane",
        "--yes",
        "--output",
        "json",
    ];
    let mut adding = bench
        .command(&add)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its name for etcd is written when it asks to be let in.
    bench.wait("the join to begin", || {
        let begun = bench
            .lab
            .try_ssh(5, "sudo test -e /var/lib/rancher/k3s/server/db/etcd/name");
        begun.status.success()
    });
    adding.kill().unwrap();
    adding.wait().unwrap();
    bench.lab.ssh(
        5,
        "sudo systemctl kill --signal=KILL k3s; sudo systemctl stop k3s",
    );
    let mended = bench.build().ok();
    eprintln!(
        "killed while joining, then built: {:.1} s",
        mended.took.as_secs_f64()
    );
    three_servers_vote(bench);
    assert!(bench.ready().contains(&name));
}

/// A snapshot is there afterwards; returns its name.
pub fn a_snapshot_is_taken(bench: &Bench) -> String {
    bench.lab.ssh(
        0,
        "sudo k3s kubectl create configmap kept --from-literal=a=b",
    );
    bench
        .run(&["cluster", "etcd", "snapshot", "--name", "before"])
        .ok();
    let listed = bench
        .run(&["cluster", "etcd", "list", "--output", "json"])
        .ok();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    let name = listed
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .find(|name| name.starts_with("before"));
    name.unwrap_or_else(|| panic!("{listed:?}")).to_owned()
}

/// What came after the snapshot is gone, what was before is there, and all servers are one cluster again.
pub fn a_snapshot_brings_the_cluster_back(bench: &Bench, snapshot: &str) {
    bench.lab.ssh(
        0,
        "sudo k3s kubectl create configmap later --from-literal=a=b",
    );
    let restored = bench
        .run(&[
            "cluster", "etcd", "restore", snapshot, "--yes", "--output", "json",
        ])
        .ok();
    eprintln!("etcd restore: {:.1} s", restored.took.as_secs_f64());
    let maps = bench
        .lab
        .ssh(0, "sudo k3s kubectl get configmaps --output name");
    assert!(maps.contains("configmap/kept"), "{maps}");
    assert!(!maps.contains("configmap/later"), "{maps}");
    three_servers_vote(bench);
    // The restored cluster takes its nodes for ready as they were at the snapshot, then for lost until it hears of them again.
    let since = bench.lab.ssh(0, "date -u +%Y-%m-%dT%H:%M:%S");
    bench.wait("every node to be heard of", || {
        let heard = bench.lab.ssh(
            0,
            "sudo k3s kubectl get leases --namespace kube-node-lease --output jsonpath='{range .items[*]}{.spec.renewTime}{\"\\n\"}{end}'",
        );
        let fresh = heard.lines().filter(|renewed| *renewed > since.trim());
        fresh.count() == 5 && bench.ready().len() == 5
    });
    let again: Vec<String> = bench
        .build()
        .ok()
        .timeline()
        .into_iter()
        .map(|ran| ran.label)
        .collect();
    assert!(again.is_empty(), "{again:?}");
}
