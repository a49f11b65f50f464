//! Who changed what: the journal of a machine that two operators build, and what `foundry audit verify` says when somebody
//! has been at it. Needs root: the machine is this one.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;

const RECIPE: &str = r#"
summary = "Demo"
role = "*"
[settings]
text = { type = "text", default = "one", doc = "What the note says" }
path = { type = "path", default = "/nowhere", doc = "Where it is" }
[steps.note]
uses = "file"
on   = "hosts"
with = { path = "{{ settings.path }}", content = "{{ settings.text }}\n" }
"#;

/// A stack on this machine, and its operators' homes.
struct Rig {
    home: TempDir,
    stack: String,
}

impl Rig {
    fn new(name: &str) -> Self {
        let rig = Self {
            home: tempfile::tempdir().unwrap(),
            stack: format!("audit-test-{name}-{}", std::process::id()),
        };
        let recipe = rig.home.path().join("recipes/demo");
        fs::create_dir_all(&recipe).unwrap();
        fs::write(recipe.join("recipe.toml"), RECIPE).unwrap();
        rig.say("one");
        rig
    }

    fn note(&self) -> PathBuf {
        self.home.path().join("note")
    }

    fn say(&self, text: &str) {
        let config = format!(
            "cluster: {{ name: {} }}\nhosts: [{{ hostname: here, local: true }}]\ncomponents:\n  demo: {{ text: {text}, path: {} }}\n",
            self.stack,
            self.note().display()
        );
        fs::write(self.home.path().join("stack.yaml"), config).unwrap();
    }

    fn foundry(&self, user: &str, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("foundry").unwrap();
        command
            .args(args)
            .env("FOUNDRY_HOME", self.home.path())
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env_remove("FOUNDRY_CONFIG")
            .env("USER", user)
            .env("NO_COLOR", "1");
        command
    }

    fn done(&self, user: &str, args: &[&str]) -> String {
        let run = self.foundry(user, args).assert().success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    }

    /// Runs it, which must end with 1, and returns what it says on standard output.
    fn failed(&self, args: &[&str]) -> String {
        let run = self.foundry("ada", args).assert().code(1);
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from("/var/lib/foundry").join(&self.stack)
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder().join("journal/000001.jsonl")).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text = lines.join("\n") + "\n";
        fs::write(self.folder().join("journal/000001.jsonl"), text).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder());
    }
}

/// A machine on which ada and bob have each built once.
fn built_by_two(name: &str) -> Rig {
    let rig = Rig::new(name);
    rig.done("ada", &["--yes", "build", "demo"]);
    rig.say("two");
    rig.done("bob", &["--yes", "build", "demo"]);
    assert_eq!(fs::read_to_string(rig.note()).unwrap(), "two\n");
    rig
}

#[test]
fn two_operators_are_told_apart_in_one_journal() {
    let rig = built_by_two("two");
    let listed = rig.done("ada", &["audit", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{listed}");
    for (entry, user, before) in [
        (&entries[0], "ada@", "missing"),
        (&entries[1], "bob@", "changed"),
    ] {
        assert!(entry["by"].as_str().unwrap().starts_with(user), "{entry}");
        assert_eq!(entry["step"], "demo:note@here");
        assert_eq!(entry["before"], before);
        assert_eq!(entry["result"], "done");
        assert_eq!(entry["host"], "here");
        assert!(entry["key"].as_str().unwrap().len() >= 32, "{entry}");
    }
    assert_ne!(entries[0]["run"], entries[1]["run"]);
    let journal = rig.lines().join("\n");
    assert!(!journal.contains("two"), "no values: {journal}");

    let text = rig.done("ada", &["audit", "here", "--since", "1h"]);
    assert!(
        text.contains("demo:note") && text.contains("bob@"),
        "{text}"
    );
    let run = entries[1]["run"].as_str().unwrap();
    let text = rig.done("ada", &["audit", "demo:note", "--run", &run[16..]]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("ada@"), "{text}");

    let verified = rig.done("ada", &["audit", "verify"]);
    assert_eq!(verified, "here  ok 6 lines, 2 seals, as 2 runs saw it\n");
    // A plan with nothing to do changes nothing, and enters nothing.
    let before = rig.lines();
    rig.done("ada", &["--yes", "build", "demo"]);
    assert_eq!(rig.lines(), before);
}

#[test]
fn falsified_journals_are_named_by_host_and_line() {
    let rig = built_by_two("false");
    let lines = rig.lines();
    // Blank, began, ended, seal; the same again.
    assert_eq!(lines.len(), 8, "{lines:#?}");

    let mut altered = lines.clone();
    altered[5] = altered[5].replace("bob@", "ada@");
    rig.write(&altered);
    let said = rig.failed(&["audit", "verify"]);
    assert!(
        said.starts_with(
            "here  000001.jsonl line 6: altered: its checksum is another's (changed after 20"
        ),
        "{said}"
    );

    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    rig.write(&swapped);
    let said = rig.failed(&["audit", "verify", "here"]);
    assert!(
        said.contains("here  000001.jsonl line 2: a line before it is missing"),
        "{said}"
    );

    rig.write(&lines[..4]);
    let said = rig.failed(&["audit", "verify"]);
    assert!(
        said.contains("000001.jsonl line 4: cut after this line: run 20"),
        "{said}"
    );
    // Whoever has no record of the runs can't know.
    let elsewhere = rig
        .foundry("eve", &["audit", "verify"])
        .env("XDG_CACHE_HOME", rig.home.path().join("other"))
        .assert()
        .success();
    let said = String::from_utf8(elsewhere.get_output().stdout.clone()).unwrap();
    assert!(said.contains("No run on record here has seen"), "{said}");

    fs::remove_dir_all(rig.folder().join("journal")).unwrap();
    let said = rig.failed(&["audit", "verify", "--output", "json"]);
    assert!(said.contains("there is no journal at all"), "{said}");

    rig.write_back(&lines);
    rig.done("ada", &["audit", "verify"]);
    let wrong = rig
        .foundry("ada", &["audit", "verify", "nobody"])
        .assert()
        .code(3);
    let said = String::from_utf8(wrong.get_output().stderr.clone()).unwrap();
    assert!(said.contains("has no host `nobody`"), "{said}");
}

impl Rig {
    fn write_back(&self, lines: &[String]) {
        fs::create_dir_all(self.folder().join("journal")).unwrap();
        self.write(lines);
    }
}

#[test]
fn nothing_is_changed_on_a_host_that_can_not_note_it() {
    let rig = built_by_two("refuse");
    fs::remove_dir_all(rig.folder().join("journal")).unwrap();
    fs::write(rig.folder().join("journal"), "in the way").unwrap();
    rig.say("three");
    let run = rig
        .foundry("ada", &["--yes", "build", "demo"])
        .assert()
        .code(1);
    let output = run.get_output();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("its journal can't be written, so nothing was begun"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(rig.note()).unwrap(), "two\n");
    let said = rig.foundry("ada", &["audit"]).assert().code(1);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("here: its journal can't be read"), "{said}");
}
