//! Bring-up, a second build, and what can be asked of a stack that is up.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::bench::Bench;

/// Three bare hosts, one command, a cluster; and again, which does nothing.
pub fn bring_up_from_bare_hosts(bench: &Bench) {
    let built = bench.build_stack();
    let summary = built.summary();
    eprintln!(
        "bring-up: {:.1} s, {} steps ran, programs sent: {:?}",
        built.took.as_secs_f64(),
        summary["counts"]["ran"],
        built.execs()
    );

    let peers = bench.bao_ok(0, "operator raft list-peers");
    eprintln!("{peers}");
    assert_eq!(voters(&peers), (3, 1), "{peers}");

    let mode = std::fs::metadata(bench.keys())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys = std::fs::read_to_string(bench.keys()).unwrap();
    assert_eq!(keys.matches("  share ").count(), 5, "five shares");

    // The root token is gone, and with it what held it.
    for index in 0..3 {
        let left = bench.lab.ssh(
            index,
            "sudo find / -xdev -name 'openbao-init.json*' 2>/dev/null; true",
        );
        assert_eq!(left, "", "left on host {index}");
    }
    let accessors = bench.bao_ok(0, "list -format=json auth/token/accessors");
    let accessors: Vec<String> = serde_json::from_str(&accessors).unwrap();
    assert!(!accessors.is_empty());
    for accessor in accessors {
        let token = bench.bao_ok(
            0,
            &format!("token lookup -format=json -accessor {accessor}"),
        );
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        let policies = token["data"]["policies"].to_string();
        assert!(
            !policies.contains("root"),
            "a root token is left: {policies}"
        );
    }

    let again = bench.build_stack();
    eprintln!(
        "again: {:.2} s, {} steps ran, {} satisfied, programs sent: {:?}",
        again.took.as_secs_f64(),
        again.summary()["counts"]["ran"],
        again.summary()["counts"]["satisfied"],
        again.execs()
    );
    assert_eq!(again.steps("ran"), [""; 0]);
    bench.run(&["stack", "status"]).ok().says("healthy");
}

/// Returns how many peers may vote, and how many of them lead.
pub fn voters(peers: &str) -> (usize, usize) {
    let voters = peers
        .lines()
        .filter(|line| line.trim_end().ends_with("true"));
    let leaders = peers.lines().filter(|line| line.contains("leader"));
    (voters.count(), leaders.count())
}

/// All steps of a host are looked at by one program there.
pub fn one_round_trip_a_host(bench: &Bench) {
    let again = bench.build_stack();
    for probed in again.events("host-probed") {
        eprintln!(
            "{}: {} program(s), {} processes, {} ms",
            probed["host"], probed["execs"], probed["processes"], probed["ms"]
        );
        assert_eq!(probed["execs"], 1);
    }
    let plan = bench.run(&["plan"]).ok();
    eprintln!("{}", plan.out);
    plan.says("3 hosts asked");
    // Nothing beside them: not even OpenBAO's API, which is asked through the same connections, costs a program.
    plan.says("with 3 execs");
}

/// A step, a component without a host, why, and the picture of it all.
pub fn selections_do_what_they_say(bench: &Bench) {
    let (one, two) = (bench.host(0), bench.host(1));
    bench.lab.ssh(0, "sudo chmod 600 /etc/openbao/openbao.hcl");
    bench.lab.ssh(1, "sudo chmod 600 /etc/openbao/openbao.hcl");

    let config = format!("openbao:config@{one}");
    let explained = bench.run(&["explain", &config]).ok();
    explained.says("drifted");
    explained.says("fact `mode` is 0600, wanted 0640");
    let built = bench.build(&[&config]).ok();
    assert_eq!(built.steps("ran"), [config.as_str()]);
    assert!(
        built
            .steps("satisfied")
            .iter()
            .all(|label| !label.contains(two))
    );

    let rest = bench.build(&[&format!("openbao - @{two}")]).ok();
    assert_eq!(rest.steps("ran"), [""; 0], "{two} is left alone");
    let mode = bench.lab.ssh(1, "stat -c %a /etc/openbao/openbao.hcl");
    assert_eq!(mode.trim(), "600");
    let built = bench.build(&[&format!("@{two}")]).ok();
    assert_eq!(built.steps("ran"), [format!("openbao:config@{two}")]);

    let dot = bench.run(&["graph", "stack", "--format", "dot"]).ok();
    dot.says("digraph");
    draw(&dot.out);
    let json = bench.run(&["graph", "stack", "--format", "json"]).ok();
    serde_json::from_str::<serde_json::Value>(&json.out).unwrap();
    bench
        .run(&["graph", "openbao", "--format", "mermaid"])
        .ok()
        .says("flowchart");
    let unknown = bench.run(&["build", "openbao:confgi"]).coded(3);
    assert!(
        unknown.err.contains("did you mean `config`?"),
        "{}",
        unknown.err
    );
}

/// Has Graphviz draw it, where that is installed.
fn draw(dot: &str) {
    let drawing = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut drawing) = drawing else {
        eprintln!("no Graphviz here: the picture is not drawn");
        return;
    };
    let mut stdin = drawing.stdin.take().unwrap();
    stdin.write_all(dot.as_bytes()).unwrap();
    drop(stdin);
    let drawn = drawing.wait_with_output().unwrap();
    assert!(drawn.status.success());
    assert!(String::from_utf8_lossy(&drawn.stdout).contains("</svg>"));
}
