//! A lab with a K3s in its config, whose release is the program that was given, and the `foundry` command run on it.
//! Knows nothing of what is tested.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::lab::{LabGuard, lab_with};

/// Where the recipe looks for releases.
const UPSTREAM: &str = "https://github.com/k3s-io/k3s/releases/download";

/// Template of containerd's config for hosts that may not lower `oom_score_adj`, as labs may not everywhere. For releases
/// before 1.32, whose containerd is of the first generation.
const CONTAINERD: &str = r#"
      [plugins.opt]
        path = "{{ .NodeConfig.Containerd.Opt }}"
      [plugins.cri]
        stream_server_address = "127.0.0.1"
        stream_server_port = "10010"
        restrict_oom_score_adj = true
      [plugins.cri.cni]
        bin_dir = "{{ .NodeConfig.AgentConfig.CNIBinDir }}"
        conf_dir = "{{ .NodeConfig.AgentConfig.CNIConfDir }}"
      [plugins.cri.containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
"#;

/// A lab with a stack.
pub struct Bench {
    /// Its hosts.
    pub lab: LabGuard,
    /// Version of the program, without `v`.
    pub version: String,
    folder: tempfile::TempDir,
}

/// How a command ended.
pub struct Ended {
    line: String,
    code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Bench {
    /// Makes a lab with a config of three servers and two agents; says why where that can't be.
    pub fn new(hosts: usize) -> Option<Self> {
        let Some(program) = std::env::var_os("FOUNDRY_TEST_K3S").map(PathBuf::from) else {
            eprintln!("SKIPPED: FOUNDRY_TEST_K3S names no K3s program");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let version = mirror(&program, folder.path());
        let lab = lab_with(&["--hosts", &hosts.to_string(), "--driver", "namespaces"])?;
        let bench = Self {
            lab,
            version,
            folder,
        };
        bench.configure();
        Some(bench)
    }

    /// Writes the config: the lab's hosts, the first three servers, the next two agents.
    fn configure(&self) {
        let path = self.lab.config();
        let text = fs::read_to_string(&path).unwrap();
        let (hosts, _) = text.split_once("# lab:end\n").unwrap();
        let hosts = hosts.replace("    roles: [openbao]\n", "");
        let (head, hosts) = hosts.split_once("hosts:\n").unwrap();
        let nodes: String = (0..5)
            .map(|at| {
                let role = if at < 3 { "control-plane" } else { "worker" };
                format!("    - {{ hostname: {}, role: {role} }}\n", self.host(at))
            })
            .collect();
        let containerd = if self.minor() < 32 {
            format!("    containerd: |{CONTAINERD}")
        } else {
            String::new()
        };
        let text = format!(
            "{head}  nodes:\n{nodes}hosts:\n{hosts}# lab:end\ncomponents:\n  k3s:\n    version: v{}\n    ha: true\n    \
             disable: [traefik, servicelb, local-storage, metrics-server, coredns]\n{containerd}mirrors:\n  - prefix: {UPSTREAM}\n    \
             url: file://{}\n    digests: mirror\n",
            self.version,
            self.folder.path().display()
        );
        fs::write(path, text).unwrap();
    }

    /// Returns the minor release of the program.
    pub fn minor(&self) -> u32 {
        self.version.split('.').nth(1).unwrap().parse().unwrap()
    }

    /// Returns the name of host number `index`.
    pub fn host(&self, index: usize) -> &str {
        self.lab.hosts()[index].name.as_str()
    }

    /// Returns a place for a file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the config's text.
    pub fn config(&self) -> String {
        fs::read_to_string(self.lab.config()).unwrap()
    }

    /// Returns the `foundry` command, as a user of this stack has it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.lab.foundry();
        command
            .args(args)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("FOUNDRY_VARS", self.path("foundryvars"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `foundry` with these arguments.
    pub fn run(&self, args: &[&str]) -> Ended {
        let began = Instant::now();
        let output = self.command(args).output().unwrap();
        Ended {
            line: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
        }
    }

    /// Builds the whole stack; events on standard output.
    pub fn build(&self) -> Ended {
        self.run(&["build", "--yes", "--output", "json", "stack"])
    }

    /// Returns the nodes as `cluster node list` tells of them.
    pub fn nodes(&self) -> Vec<Value> {
        let listed = self
            .run(&["cluster", "node", "list", "--output", "json"])
            .ok();
        serde_json::from_str(&listed.out).unwrap()
    }

    /// Returns the names of nodes that are Ready.
    pub fn ready(&self) -> Vec<String> {
        let nodes = self.nodes();
        let ready = nodes.iter().filter(|node| node["ready"] == true);
        ready
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Returns what `cluster status` tells.
    pub fn status(&self) -> Value {
        let status = self.run(&["cluster", "status", "--output", "json"]);
        serde_json::from_str(&status.out).unwrap_or_else(|_| panic!("{}", status.err))
    }

    /// Waits until `done`; a condition that does not come about in two minutes fails the test.
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !done() {
            assert!(Instant::now() < end, "waiting in vain for {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Lays the program out as its release page does, and returns its version without `v`.
fn mirror(program: &Path, folder: &Path) -> String {
    let told = Command::new(program).arg("--version").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.split_whitespace().nth(2).unwrap().to_owned();
    let release = folder.join(&version);
    fs::create_dir_all(&release).unwrap();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let asset = if arch == "amd64" {
        "k3s".to_owned()
    } else {
        format!("k3s-{arch}")
    };
    fs::copy(program, release.join(&asset)).unwrap();
    fs::set_permissions(release.join(&asset), fs::Permissions::from_mode(0o644)).unwrap();
    let digest = Sha256::digest(fs::read(program).unwrap());
    let line = format!("{}  {asset}\n", hex::encode(digest));
    fs::write(release.join(format!("sha256sum-{arch}.txt")), line).unwrap();
    version.trim_start_matches('v').to_owned()
}

/// A step that ran, with the seconds since the run began.
#[derive(Debug)]
pub struct Ran {
    pub label: String,
    pub from: f64,
    pub to: f64,
}

impl Ended {
    /// Fails the test unless the command succeeded.
    pub fn ok(self) -> Self {
        self.coded(0)
    }

    /// Fails the test unless the command ended with this exit code.
    pub fn coded(self, code: i32) -> Self {
        let troubles: String = self
            .events("step-finished")
            .iter()
            .map(|event| &event["what"])
            .filter(|step| step["state"] != "ran" && step["state"] != "satisfied")
            .map(|step| format!("{} {} {}\n", step["label"], step["state"], step["trouble"]))
            .collect();
        assert_eq!(
            self.code, code,
            "foundry {}\n{troubles}\n{}",
            self.line, self.err
        );
        self
    }

    /// Returns its events of one kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.out
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["what"]["kind"] == kind)
            .collect()
    }

    /// Returns the steps that failed, and why.
    pub fn failures(&self) -> Vec<String> {
        self.events("step-finished")
            .iter()
            .map(|event| &event["what"])
            .filter(|step| step["state"] == "failed")
            .map(|step| format!("{} {}", step["label"], step["trouble"]))
            .collect()
    }

    /// Returns what the last event says.
    pub fn summary(&self) -> Value {
        let last = self.events("run-finished").pop();
        last.unwrap_or_else(|| panic!("foundry {}: no end\n{}", self.line, self.err))["what"]
            .clone()
    }

    /// Returns the steps that ran, by their end.
    pub fn timeline(&self) -> Vec<Ran> {
        let at = |event: &Value| event["ms"].as_f64().unwrap_or_default() / 1000.0;
        let started = self.events("step-started");
        self.events("step-finished")
            .iter()
            .filter(|event| event["what"]["state"] == "ran")
            .filter_map(|event| {
                let label = event["what"]["label"].as_str()?;
                let start = started
                    .iter()
                    .find(|start| start["what"]["label"] == label)?;
                Some(Ran {
                    label: label.to_owned(),
                    from: at(start),
                    to: at(event),
                })
            })
            .collect()
    }
}
