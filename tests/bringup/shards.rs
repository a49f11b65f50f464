//! One fleet built by two processes at once, each doing its part; one of them is killed and started again; their records
//! are merged into one report.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use foundry::graph::Shard;
use serde_json::Value;

use crate::support::lab::{LabGuard, lab_with};

/// Something slow on each host, and something that must wait for it on all of them.
const RECIPE: &str = r#"
summary = "Work on every host, and a join once all have done it"
role    = "*"

[steps.config]
uses = "file"
with = { path = "/etc/fleet.conf", content = "one\n" }

[steps.work]
uses  = "command"
with  = { command = "sleep 3; cp /etc/fleet.conf /var/tmp/fleet-work", creates = "/var/tmp/fleet-work" }
needs = ["config"]

[steps.join]
uses  = "command"
with  = { command = "cp /var/tmp/fleet-work /var/tmp/fleet-join", creates = "/var/tmp/fleet-join" }
needs = ["work@*"]
"#;

/// Two shards at once, one of them killed in the middle of its work.
pub fn two_shards_at_once() {
    let Some(lab) = lab_with(&["--hosts", "4", "--driver", "namespaces"]) else {
        return;
    };
    let recipe = lab.home().join("recipes/fleet");
    fs::create_dir_all(&recipe).unwrap();
    fs::write(recipe.join("recipe.toml"), RECIPE).unwrap();
    let config = fs::read_to_string(lab.config()).unwrap();
    let (hosts, _) = config.split_once("# lab:end\n").unwrap();
    fs::write(
        lab.config(),
        format!("{hosts}# lab:end\ncomponents:\n  fleet: {{}}\n"),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();

    let matrix = foundry(&lab, folder.path(), &["ci", "matrix", "--shards", "2"])
        .output()
        .unwrap();
    eprintln!("ci matrix: {}", String::from_utf8_lossy(&matrix.stdout));
    let matrix: Value = serde_json::from_slice(&matrix.stdout).unwrap();
    assert!(
        (0..2).all(|at| matrix["include"][at]["hosts"].as_u64().unwrap() > 0),
        "one shard has every host of the lab: {matrix}"
    );
    let one = Shard::new(1, 2).unwrap();
    let mine = lab
        .hosts()
        .iter()
        .find(|host| one.owns(host.name.as_str()))
        .unwrap();

    // Both begin. The first dies at its work.
    let mut first = build(&lab, folder.path(), "1/2", "first.jsonl");
    let mut second = build(&lab, folder.path(), "2/2", "second.jsonl");
    let lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let label = format!("fleet:work@{}", mine.name);
    let at_work = lines.map_while(Result::ok).any(|line| {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        event["what"]["kind"] == "step-started" && event["what"]["label"] == label.as_str()
    });
    assert!(at_work, "the first shard never came to {label}");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(
        second.try_wait().unwrap().map(|status| status.code()),
        None,
        "the second shard ended without the first"
    );
    let again = build(&lab, folder.path(), "1/2", "again.jsonl");
    for (name, child) in [("again", again), ("second", second)] {
        let done = child.wait_with_output().unwrap();
        assert!(
            done.status.success(),
            "{name}: {}\n{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    for index in 0..4 {
        assert_eq!(lab.ssh(index, "cat /var/tmp/fleet-join"), "one\n");
    }

    // One report of three records.
    let merged = foundry(
        &lab,
        folder.path(),
        &[
            "report",
            "merge",
            "first.jsonl",
            "second.jsonl",
            "again.jsonl",
            "--report",
            "junit=report.xml",
            "--report",
            "timings=timings.html",
            "--report",
            "json=report.json",
        ],
    )
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&merged.stdout);
    eprintln!(
        "report merge:\n{said}{}",
        String::from_utf8_lossy(&merged.stderr)
    );
    assert!(merged.status.success(), "{said}");
    assert_eq!(said.matches("broke off").count(), 1, "{said}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap())
            .unwrap();
    let outcomes = report["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 12, "three steps on four hosts, each once");
    // What the killed process had done but not yet told is found satisfied by its second life.
    let state = |word: &str| outcomes.iter().filter(|step| step["state"] == word).count();
    assert_eq!(state("ran") + state("satisfied"), 12, "{outcomes:?}");
    assert!(state("satisfied") <= 3, "{outcomes:?}");
    let junit = fs::read_to_string(folder.path().join("report.xml")).unwrap();
    eprintln!("{junit}");
    assert!(
        junit.contains("<testsuites name=\"foundry\" tests=\"3\" failures=\"0\""),
        "{junit}"
    );

    // The lock is given back, and nothing is left to do.
    let lock = foundry(&lab, folder.path(), &["lock", "show"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&lock.stdout).starts_with("Nobody holds the lock"),
        "{lock:?}"
    );
    let plan = foundry(
        &lab,
        folder.path(),
        &["plan", "fleet", "--detailed-exitcode"],
    )
    .output()
    .unwrap();
    assert!(plan.status.success(), "{plan:?}");
}

fn foundry(lab: &LabGuard, folder: &Path, args: &[&str]) -> Command {
    let mut command = lab.foundry();
    command
        .args(args)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env_remove("GITHUB_STEP_SUMMARY")
        .stdin(Stdio::null());
    command
}

fn build(lab: &LabGuard, folder: &Path, shard: &str, record: &str) -> Child {
    let events = format!("events={record}");
    foundry(
        lab,
        folder,
        &[
            "build",
            "fleet",
            "--yes",
            "--output",
            "json",
            "--shard",
            shard,
            "--generation",
            "night",
            "--report",
            &events,
        ],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap()
}
