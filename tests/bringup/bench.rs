//! A lab whose config has OpenBAO in it, and the `foundry` command run on it with everything that it prints kept. Knows
//! nothing of what is tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::lab::{LabGuard, lab_with};
use crate::support::openbao;

/// Where the recipe looks for OpenBAO's releases.
const UPSTREAM: &str = "https://github.com/openbao/openbao/releases/download";

/// A lab with a stack.
pub struct Bench {
    /// Its hosts.
    pub lab: LabGuard,
    folder: tempfile::TempDir,
    /// Everything that was printed.
    printed: Mutex<Vec<(String, String)>>,
}

/// How a command ended.
pub struct Ended {
    /// What was typed.
    pub line: String,
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Bench {
    /// Makes a lab with a config of OpenBAO on all of its hosts; says why where that can't be.
    pub fn new(hosts: usize) -> Option<Self> {
        let mirror = openbao::mirror()?;
        let hosts = hosts.to_string();
        let lab = lab_with(&["--hosts", &hosts, "--driver", "namespaces"])?;
        let bench = Self {
            lab,
            folder: tempfile::tempdir().unwrap(),
            printed: Mutex::new(Vec::new()),
        };
        bench.configure("  openbao: {}\n", &mirror);
        Some(bench)
    }

    /// Writes the config: the lab's hosts, these components, this mirror.
    pub fn configure(&self, components: &str, mirror: &Path) {
        let path = self.lab.config();
        let text = fs::read_to_string(&path).unwrap();
        let (hosts, _) = text.split_once("# lab:end\n").unwrap();
        let mirror = mirror.display();
        let text = format!(
            "{hosts}# lab:end\ncomponents:\n{components}mirrors:\n  - prefix: {UPSTREAM}\n    url: file://{mirror}\n    digests: mirror\n"
        );
        fs::write(path, text).unwrap();
    }

    /// Writes the config anew with these components.
    pub fn components(&self, components: &str) {
        self.configure(components, &openbao::mirror().unwrap());
    }

    /// Returns a place for a file of the test, outside of the Foundry home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the file that keys are handed over to.
    pub fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    /// Returns the folder of the logs of runs.
    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Returns the name of host number `index`.
    pub fn host(&self, index: usize) -> &str {
        self.lab.hosts()[index].name.as_str()
    }

    /// Returns the `foundry` command, as a user of this stack has it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.lab.foundry();
        command
            .args(args)
            .env("XDG_CACHE_HOME", self.cache())
            .env("FOUNDRY_VARS", self.path("foundryvars"))
            .env("FOUNDRY_KEYS_TO", self.keys())
            .env_remove("FOUNDRY_BAO_TOKEN")
            .stdin(Stdio::null());
        command
    }

    /// Runs `foundry` with these arguments.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.finish(self.command(args))
    }

    /// Runs a prepared command.
    pub fn finish(&self, mut command: Command) -> Ended {
        let began = Instant::now();
        let output = command.output().unwrap();
        self.ended(&command, &output, began.elapsed())
    }

    /// Keeps what a command printed.
    pub fn ended(&self, command: &Command, output: &Output, took: Duration) -> Ended {
        let line = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let ended = Ended {
            line,
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        };
        let mut printed = self.printed.lock().unwrap();
        printed.push((format!("{} (stdout)", ended.line), ended.out.clone()));
        printed.push((format!("{} (stderr)", ended.line), ended.err.clone()));
        ended
    }

    /// Builds what is selected; events on standard output.
    pub fn build(&self, targets: &[&str]) -> Ended {
        let mut args = vec!["build", "--yes", "--output", "json"];
        args.extend(targets);
        self.run(&args)
    }

    /// Builds the whole stack, which must succeed.
    pub fn build_stack(&self) -> Ended {
        self.build(&["stack"]).ok()
    }

    /// Returns everything that was printed, by command.
    pub fn printed(&self) -> Vec<(String, String)> {
        self.printed.lock().unwrap().clone()
    }

    /// Returns Foundry's own token.
    pub fn token(&self) -> String {
        let name = format!("{}-bao-token", self.lab.lab().name);
        fs::read_to_string(self.lab.home().join("credentials").join(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Runs `bao` on host number `index`, with Foundry's token.
    pub fn bao(&self, index: usize, args: &str) -> Output {
        let token = self.token();
        self.lab.try_ssh(
            index,
            &format!(
                "BAO_ADDR=https://127.0.0.1:8200 BAO_CACERT=/opt/openbao/tls/ca.pem BAO_TOKEN={token} bao {args}"
            ),
        )
    }

    /// As [`Self::bao`], which must succeed: returns what it printed.
    pub fn bao_ok(&self, index: usize, args: &str) -> String {
        let done = self.bao(index, args);
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "bao {args}: {err}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Returns when a unit was last started on host number `index`: microseconds since the boot.
    pub fn started(&self, index: usize, unit: &str) -> u64 {
        self.lab
            .ssh(
                index,
                &format!(
                    "systemctl show --property=ExecMainStartTimestampMonotonic --value {unit}"
                ),
            )
            .trim()
            .parse()
            .unwrap()
    }
}

impl Ended {
    /// Fails the test unless the command succeeded.
    pub fn ok(self) -> Self {
        self.coded(0)
    }

    /// Fails the test unless the command ended with this exit code.
    pub fn coded(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "foundry {}\n{}\n{}",
            self.line,
            self.troubles(),
            self.err
        );
        self
    }

    /// Fails the test unless standard output has this text.
    pub fn says(&self, text: &str) {
        assert!(
            self.out.contains(text),
            "foundry {} does not say `{text}`:\n{}\n{}",
            self.line,
            self.out,
            self.err
        );
    }

    /// Returns its events of one kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.out
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|event| event["what"].clone())
            .filter(|what| what["kind"] == kind)
            .collect()
    }

    /// Returns the labels of steps that ended in this state.
    pub fn steps(&self, state: &str) -> Vec<String> {
        self.events("step-finished")
            .iter()
            .filter(|step| step["state"] == state)
            .map(|step| step["label"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Returns what the last event says: steps by state, programs sent by host.
    pub fn summary(&self) -> Value {
        self.events("run-finished")
            .pop()
            .unwrap_or_else(|| panic!("foundry {}: no end\n{}", self.line, self.err))
    }

    /// Returns programs sent, by host.
    pub fn execs(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.summary()["execs"].clone()).unwrap()
    }

    /// Returns steps that went wrong, one a line; all of standard output where there are no events.
    pub fn troubles(&self) -> String {
        let steps = self.events("step-finished");
        if steps.is_empty() {
            return self.out.clone();
        }
        steps
            .iter()
            .filter(|step| step["state"] != "ran" && step["state"] != "satisfied")
            .map(|step| format!("{} {} {}\n", step["label"], step["state"], step["trouble"]))
            .collect()
    }
}
