//! What a hostile host, log or config says reaches the terminal and the CI runner as text: every command that shows it, both
//! of its streams, byte by byte.

use std::path::Path;

use assert_cmd::Command;
use foundry::event::{
    Counts, Event, Final, HostUnreachable, Masked, Reason, RunStarted, Shown, StepFinished,
    Summary, Trouble, VERSION, What,
};
use foundry::secret::Masker;
use tempfile::TempDir;

/// A clipboard, a title, a cleared screen, a colour, C1, directions, and commands to runners, each at the beginning of a line.
const EVIL: &str = "x\u{1b}]52;c;eA==\u{7}\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31m\u{9b}2J\u{202e}\u{2066}\u{200b}\u{7f}\r\n::error file=x::fake\r::add-mask::y\n  ::stop-commands::z\n##vso[task.setvariable variable=a]b ##[error]c";

fn foundry(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foundry").unwrap();
    command
        .args(args)
        .env("FOUNDRY_HOME", home)
        .env("HOME", home)
        .env_remove("FOUNDRY_CONFIG")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("CLICOLOR_FORCE")
        .env("GITHUB_ACTIONS", "true");
    command
}

/// Runs a command, and holds all it says to the rules. Returns what it said.
fn clean(home: &Path, args: &[&str]) -> String {
    let plain = foundry(home, args).output().unwrap();
    let coloured = foundry(home, args)
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    let mut said = String::new();
    for (output, colour) in [(plain, false), (coloured, true)] {
        for (stream, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            let text = String::from_utf8(bytes).unwrap();
            let bare = if colour { without_sgr(&text) } else { text };
            let odd = |c: char| {
                c.is_control() && !matches!(c, '\n' | '\t')
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            };
            assert!(!bare.contains(odd), "{args:?} {stream}: {bare:?}");
            for line in bare.lines() {
                let ours = line.starts_with("::error title=");
                let command = line.trim_start().starts_with("::") && !ours;
                assert!(!command, "{args:?} {stream}: {line:?}");
                // An annotation is one line; Azure reads none of GitHub's.
                assert!(!line.contains("##[") || ours, "{args:?} {stream}: {line:?}");
                assert!(
                    !line.contains("##vso[") || ours,
                    "{args:?} {stream}: {line:?}"
                );
                let theirs = ["add-mask", "stop-commands", "##"];
                let begins = theirs.iter().any(|begin| line.starts_with(begin));
                assert!(!begins, "a line of theirs begins one: {args:?} {line:?}");
            }
            said.push_str(&bare);
        }
    }
    said
}

/// Takes out what our own colours are made of, and nothing else.
fn without_sgr(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let end = after.find('m').unwrap_or(0);
        let ours = ["0", "1", "2", "31", "32", "33", "35", "36", "34", "4", "3"];
        if ours.contains(&&after[..end]) {
            rest = &after[end + 1..];
        } else {
            out.push('\u{1b}');
            rest = after;
        }
    }
    out + rest
}

fn masked(text: &str) -> Masked {
    Masked::through(&Masker::default(), text)
}

/// The record of a run in which every text is hostile.
fn record() -> Vec<Event> {
    let run: foundry::event::RunId = "20261122-201455-ab12".parse().unwrap();
    let reason = || Reason::Fact {
        name: "state".to_owned(),
        found: Some(Shown::Text(EVIL.to_owned())),
        wanted: Shown::Text(EVIL.to_owned()),
    };
    let step = StepFinished {
        label: "demo:evil@a".to_owned(),
        host: Some("a".to_owned()),
        state: Final::Failed,
        reasons: vec![
            reason(),
            Reason::Fault {
                message: EVIL.to_owned(),
            },
        ],
        trouble: Some(Trouble {
            message: masked(EVIL),
            found: vec![reason()],
            output: Some(masked(EVIL)),
            hint: Some(masked(EVIL)),
            status: Some(3),
        }),
        blocked_by: None,
        ms: 40,
        attempts: 2,
        round_trips: 1,
        elsewhere: false,
    };
    let mut counts = Counts::default();
    counts.add(Final::Failed);
    let whats = vec![
        What::RunStarted(RunStarted {
            version: VERSION,
            run: run.clone(),
            stack: "lab".to_owned(),
            command: format!("foundry build {EVIL}"),
            started: "2026-11-22T20:14:55Z".to_owned(),
            hosts: 2,
            foundry: "0.1.0".to_owned(),
            shard: None,
            generation: None,
        }),
        What::HostUnreachable(HostUnreachable {
            host: "b".to_owned(),
            message: masked(EVIL),
            hint: Some(masked(EVIL)),
            group: None,
        }),
        What::Note { text: masked(EVIL) },
        What::Warning { text: masked(EVIL) },
        What::StepStarted {
            label: "demo:evil@a".to_owned(),
        },
        What::StepSays {
            label: "demo:evil@a".to_owned(),
            text: masked(EVIL),
        },
        What::StepRetrying {
            label: "demo:evil@a".to_owned(),
            attempt: 2,
            after_ms: 1,
            error: masked(EVIL),
        },
        What::StepFinished(step),
        What::RunFinished(Summary {
            run,
            counts,
            ms: 50,
            longest: Vec::new(),
            execs: std::collections::BTreeMap::new(),
            rollouts: Vec::new(),
            interrupted: false,
            refused: None,
            journals: std::collections::BTreeMap::new(),
        }),
    ];
    (0..)
        .zip(whats)
        .map(|(ms, what)| Event { ms, what })
        .collect()
}

#[test]
fn records_of_runs_are_text() {
    let home = tempfile::tempdir().unwrap();
    let runs = home.path().join(".cache/foundry/runs");
    std::fs::create_dir_all(&runs).unwrap();
    let lines: String = record()
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n")
        .collect();
    let file = runs.join("20261122-201455-ab12.jsonl");
    std::fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    let junit = home.path().join("junit.xml");
    let report = format!("junit={}", junit.display());
    for args in [
        &["run", "list"][..],
        &["run", "show"],
        &["run", "show", "--output", "json"],
        &["run", "failed"],
        &["run", "failed", "--output", "json"],
        &["run", "critical-path"],
        &["run", "replay", "--speed", "1000"],
        &["run", "replay", "--speed", "1000", "--output", "json"],
        &["report", "merge", file, "--report", &report],
        &["report", "merge", file, "--output", "json"],
    ] {
        let said = clean(home.path(), args);
        assert!(!said.is_empty(), "{args:?}");
    }
    let failed = clean(home.path(), &["run", "failed"]);
    assert!(
        failed.contains("│ x^[]52;c;eA==^G^[]0;title^G^[[2J^[[31m\\u{9b}2J\\u{202e}"),
        "{failed}"
    );
    let json = foundry(home.path(), &["run", "failed", "--output", "json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        json["steps"][0]["trouble"]["output"], EVIL,
        "data stays data"
    );
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(
        !junit.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
        "{junit}"
    );
}

#[test]
fn configs_names_and_arguments_are_text() {
    let home = tempfile::tempdir().unwrap();
    let yaml = serde_json::to_string(EVIL).unwrap();
    for config in [
        format!("cluster: {{ name: {yaml} }}\n"),
        format!("cluster: {{ name: prod, {yaml}: 1 }}\n"),
        format!("cluster: {{ name: prod }}\nhosts: [{{ hostname: {yaml} }}]\n"),
        format!("cluster: {{ name: prod }}\ncomponents: {{ {yaml}: {{}} }}\n"),
        format!("cluster: {{ name: prod }}\n# {EVIL}\n"),
        format!("cluster: {{ name: prod }}\nhosts: [{{ hostname: a, labels: {{ x: {yaml} }} }}]\n"),
    ] {
        std::fs::write(home.path().join("prod.yaml"), config).unwrap();
        for args in [
            &["config", "validate"][..],
            &["config", "validate", "--output", "json"],
            &["config", "list"],
            &["host", "list"],
            &["host", "list", "--output", "json"],
            &["plan", EVIL],
        ] {
            clean(home.path(), args);
        }
    }
    std::fs::write(home.path().join("prod.yaml"), "cluster: { name: prod }\n").unwrap();
    for args in [
        &["run", "show", EVIL][..],
        &["bundle", "verify", EVIL],
        &["report", "merge", EVIL],
        &[EVIL],
        &["build", "--jobs", EVIL],
        &["--config", EVIL, "plan"],
        &["recipe", "show", EVIL],
    ] {
        let said = clean(home.path(), args);
        assert!(said.contains("^["), "{args:?}: {said}");
    }
}

/// A recipe of a host whose every answer is hostile: facts, faults, what steps say, and what a failing one leaves.
const RECIPE: &str = r#"
summary = "Hostile"
role    = "demo"
[steps.fact]
uses = "evil"
on   = "hosts"
with = { how = "fact" }
[steps.fault]
uses = "evil"
on   = "hosts"
with = { how = "fault" }
[steps.garbage]
uses = "evil"
on   = "hosts"
with = { how = "garbage" }
"#;

fn task(evil: &str) -> String {
    format!(
        r#"
summary = "Says what it likes"
[inputs]
how = {{ type = "string", doc = "Where it says it" }}
[probe]
script = '''
evil=$(printf '{evil}')
case $how in
fact) printf 'state=%s\n' "$evil" | head -n 1 ;;
fault) printf '%s\n' "$evil" >&2; exit 1 ;;
garbage) printf '%s\n' "$evil" ;;
esac
'''
[expect]
state = "well"
[apply]
script = '''
evil=$(printf '{evil}')
printf '::say %s\n' "$evil"
printf '%s\n' "$evil"
printf '%s\n' "$evil" >&2
exit 3
'''
[remove]
script = ''':'''
"#
    )
}

/// This machine as a host, if it may be one: Foundry works as root.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn hostile() -> Option<TempDir> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may be a host without sudo");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let stack = format!("border-{}", std::process::id());
    std::fs::write(
        home.path().join("prod.yaml"),
        format!(
            "cluster: {{ name: {stack} }}\nhosts: [{{ hostname: here, local: true, roles: [demo] }}]\ncomponents: {{ demo: {{}} }}\n"
        ),
    )
    .unwrap();
    let recipe = home.path().join("recipes/demo");
    std::fs::create_dir_all(&recipe).unwrap();
    std::fs::create_dir(home.path().join("tasks")).unwrap();
    std::fs::write(recipe.join("recipe.toml"), RECIPE).unwrap();
    let octal: String = EVIL.bytes().map(|byte| format!("\\{byte:03o}")).collect();
    std::fs::write(home.path().join("tasks/evil.toml"), task(&octal)).unwrap();
    Some(home)
}

#[test]
fn a_host_that_answers_with_escapes_is_quoted() {
    let Some(home) = hostile() else { return };
    let state = format!("/var/lib/foundry/border-{}", std::process::id());
    let home = home.path();
    let plan = clean(home, &["--yes", "plan", "demo"]);
    assert!(plan.contains("^[]52;c;eA==^G"), "{plan}");
    for args in [
        &["--yes", "plan", "demo", "--output", "json"][..],
        &[
            "--yes",
            "explain",
            "demo:fact@here",
            "demo:fault@here",
            "demo:garbage@here",
        ],
        &["--yes", "component", "status", "demo"],
        &["--yes", "build", "demo:fact"],
        &["--yes", "build", "demo:fact", "--output", "json"],
        &["--yes", "host", "list", "--probe"],
        &["run", "failed"],
        &["run", "show"],
    ] {
        let said = clean(home, args);
        assert!(!said.is_empty(), "{args:?}");
    }
    let built = clean(home, &["--yes", "build", "demo:fact"]);
    assert!(built.contains("its script ended with status 3"), "{built}");
    assert!(built.contains("output │"), "{built}");
    let _ = std::fs::remove_dir_all(state);
}
