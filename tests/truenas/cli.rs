//! `foundry storage` as a person meets it where there is a TrueNAS and no cluster yet: configured, listed, tested, and planned.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::truenas::{KEY, TrueNas, USER};

/// A folder of somebody's own.
struct Desk {
    home: tempfile::TempDir,
}

const STACK: &str = "\
# Our lab
cluster:
  name: lab
hosts:
  - { hostname: node-1, address: 127.0.0.1, role: control-plane }
components:
  k3s: {}
storage: # where volumes come from
  smoke: false # not in the lab
";

impl Desk {
    fn new(stack: &str) -> Self {
        let desk = Self {
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::write(desk.home.path().join("stack.yaml"), stack).unwrap();
        desk
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    /// Runs a command; returns what it printed, and what it said beside.
    fn foundry(&self, args: &[&str], input: &str, status: i32) -> (String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_foundry"))
            .args(args)
            .env("FOUNDRY_HOME", self.home.path())
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env("NO_COLOR", "1")
            .env_remove("FOUNDRY_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        eprintln!("$ foundry {}\n{out}{err}", args.join(" "));
        assert_eq!(output.status.code(), Some(status), "{out}{err}");
        assert!(
            !out.contains(KEY) && !err.contains(KEY),
            "the key is told: {out}{err}"
        );
        (out, err)
    }
}

#[test]
fn a_truenas_is_configured_and_the_rest_of_the_config_stays() {
    let nas = TrueNas::start();
    let desk = Desk::new(STACK);
    let url = nas.url();
    let configure = ["storage", "configure", "--api-url", url.as_str()];

    let (_, told) = desk.foundry(&configure, "", 3);
    assert!(
        told.contains("there is no API key: foundry/truenas:api_key leads to none"),
        "{told}"
    );

    let (_, told) = desk.foundry(&configure, KEY, 1);
    let shown = format!("`--fingerprint {}`", nas.fingerprint());
    assert!(told.contains(&shown), "{told}");

    let print = nas.fingerprint().to_owned();
    let trusting = [&configure[..], &["--fingerprint", print.as_str()]].concat();
    let (_, told) = desk.foundry(&trusting, "1-another", 1);
    assert!(
        told.contains("TrueNAS refuses the API key: it is not valid"),
        "{told}"
    );
    let (_, told) = desk.foundry(&[&trusting[..], &["--pool", "lake"]].concat(), KEY, 1);
    assert!(
        told.contains("TrueNAS has no pool `lake`: it has tank"),
        "{told}"
    );
    let (_, told) = desk.foundry(&trusting, KEY, 1);
    assert!(
        told.contains("`--keep vars` keeps it in ~/.foundryvars"),
        "{told}"
    );
    assert_eq!(desk.read("stack.yaml"), STACK, "nothing was written so far");
    assert_eq!(desk.read(".foundryvars"), "");

    let all = [
        &trusting[..],
        &[
            "--keep",
            "vars",
            "--protocol",
            "iscsi",
            "--username",
            USER,
            "--default",
        ],
    ]
    .concat();
    let (out, warned) = desk.foundry(&all, &format!("{KEY}\n"), 0);
    for line in [
        "TrueNAS 25.10.1 at 127.0.0.1",
        "pool tank: ONLINE, 2.9 TiB free",
        "key kept in ~/.foundryvars as foundry/truenas:api_key",
        "written into",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(warned.contains("`verify: false`"), "{warned}");
    let wanted = format!(
        "{STACK}  truenas:\n    api_url: \"{url}\"\n    username: foundry\n    \
         api_key: \"${{secret:foundry/truenas:api_key}}\"\n    fingerprint: \"{print}\"\n    verify: false\n    \
         pool: tank\n    protocol: iscsi\n  default: truenas\n"
    );
    assert_eq!(desk.read("stack.yaml"), wanted);
    assert_eq!(
        desk.read(".foundryvars"),
        format!("foundry/truenas:api_key={KEY}\n")
    );
    let mode = std::fs::metadata(desk.home.path().join(".foundryvars"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // Again: the key is there, so none is asked for, and nothing changes.
    let (out, _) = desk.foundry(&all, "", 0);
    assert!(out.contains("says so already"), "{out}");
    assert_eq!(desk.read("stack.yaml"), wanted);

    // An authority goes before the fingerprint, and then the driver checks the certificate too.
    let ca = desk.home.path().join("ca.pem");
    std::fs::write(&ca, nas.ca()).unwrap();
    let by_authority = [&configure[..], &["--ca", ca.to_str().unwrap()]].concat();
    desk.foundry(&by_authority, "", 0);
    let text = desk.read("stack.yaml");
    for line in [
        "    fingerprint: \"\"\n",
        "    verify: true\n",
        "    ca: \"-----BEGIN CERTIFICATE-----\\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn other_backends_are_written_without_questions() {
    let desk = Desk::new(STACK);
    let nfs = [
        "storage",
        "configure",
        "--backend",
        "nfs",
        "--server",
        "nas.example.com",
        "--path",
        "/srv/volumes",
    ];
    desk.foundry(&nfs, "", 0);
    let longhorn = [
        "storage",
        "configure",
        "--backend",
        "longhorn",
        "--replicas",
        "3",
        "--default",
    ];
    desk.foundry(&longhorn, "", 0);
    let wanted = format!(
        "{STACK}  nfs:\n    server: nas.example.com\n    path: \"/srv/volumes\"\n  \
         longhorn:\n    enabled: true\n    replicas: 3\n  default: longhorn\n"
    );
    assert_eq!(desk.read("stack.yaml"), wanted);
    let (_, told) = desk.foundry(
        &[
            "storage",
            "configure",
            "--backend",
            "nfs",
            "--path",
            "no/path",
        ],
        "",
        3,
    );
    assert!(told.contains("no/path"), "{told}");
    assert_eq!(desk.read("stack.yaml"), wanted);
    let (_, told) = desk.foundry(&["storage", "test", "--backend-only"], "", 3);
    assert!(told.contains("no storage backend with an API"), "{told}");
}

#[test]
fn a_backend_is_listed_and_tested_before_there_is_a_cluster() {
    let nas = TrueNas::start();
    let ca = serde_json::to_string(nas.ca()).unwrap();
    let stack = format!(
        "{STACK}  truenas: {{ api_url: '{}', api_key: '${{secret:truenas:api_key}}', ca: {ca}, quota: 100Gi, \
         shares: [{{ name: tank/media, networks: [10.0.0.0/24] }}] }}\n",
        nas.url()
    );
    let desk = Desk::new(&stack);
    std::fs::write(
        desk.home.path().join(".foundryvars"),
        format!("foundry/truenas:api_key={KEY}\n"),
    )
    .unwrap();

    let (out, _) = desk.foundry(
        &["storage", "list", "--backend-only", "--output", "json"],
        "",
        0,
    );
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["backends"][0]["version"], "25.10.1");
    assert_eq!(listed["backends"][0]["pools"][0]["name"], "tank");
    let (out, _) = desk.foundry(&["storage", "list", "--backend-only"], "", 0);
    assert!(out.contains("tank  ONLINE  2.9 TiB  3.9 TiB"), "{out}");

    let (out, _) = desk.foundry(&["storage", "test", "--backend-only"], "", 1);
    for line in [
        "✓ login: TrueNAS 25.10.1 takes the key",
        "✓ roles: FULL_ADMIN",
        "✓ pool tank: ONLINE, 2.9 TiB free",
        "✓ storage:pool: as wanted",
        "✗ storage:dataset: fact `tank/foundry` is absent",
        "✗ storage:service: ",
        "✗ storage:share[tank/media]: fact `/mnt/tank/media` is absent",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }

    let (out, _) = desk.foundry(
        &[
            "build",
            "storage:dataset + storage:service + storage:share",
            "--dry-run",
        ],
        "",
        0,
    );
    assert!(out.contains("3 missing, 1 drifted, 1 satisfied"), "{out}");
    {
        let mut state = nas.state();
        let field = |value: &str| json!({ "value": value, "source": "LOCAL" });
        for path in ["tank/foundry", "tank/media"] {
            let quota = if path == "tank/foundry" {
                json!(100_u64 << 30)
            } else {
                Value::Null
            };
            state.datasets.push(json!({
                "id": path, "type": "FILESYSTEM", "mountpoint": format!("/mnt/{path}"), "quota": { "parsed": quota },
                "compression": field("LZ4"), "comments": field("Volumes of stack lab, by Foundry"),
            }));
        }
        state.shares.push(json!({
            "id": 1, "path": "/mnt/tank/media", "comment": "Stack lab, by Foundry", "networks": ["10.0.0.0/24"],
            "maproot_user": "root", "maproot_group": "wheel", "enabled": true,
        }));
        for service in &mut state.services {
            service["state"] = json!("RUNNING");
            service["enable"] = json!(true);
        }
    }
    let (out, _) = desk.foundry(&["storage", "test", "--backend-only"], "", 0);
    assert!(!out.contains('✗'), "{out}");

    nas.state().roles = vec!["POOL_READ", "DATASET_WRITE", "SHARING_NFS_WRITE"];
    let (out, _) = desk.foundry(&["storage", "test", "--backend-only"], "", 0);
    assert!(
        out.contains("✓ roles: all that the stack's steps need"),
        "{out}"
    );
    nas.state().roles = vec!["POOL_READ", "DATASET_READ"];
    let (out, _) = desk.foundry(&["storage", "test", "--backend-only"], "", 1);
    let lacking = "✗ roles: the key's user lacks DATASET_WRITE, SERVICE_WRITE or SHARING_NFS_WRITE or SHARING_ISCSI_WRITE, SHARING_NFS_WRITE\n";
    assert!(out.contains(lacking), "{out}");

    nas.state().pools[0]["status"] = json!("DEGRADED");
    nas.state().pools[0]["healthy"] = json!(false);
    nas.state().pools[0]["status_detail"] = json!("One or more devices has been taken offline");
    let (out, _) = desk.foundry(
        &["storage", "test", "--backend-only", "--output", "json"],
        "",
        1,
    );
    let tested: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(tested["ok"], false);
    assert!(
        out.contains("DEGRADED: One or more devices has been taken offline"),
        "{out}"
    );

    // One that is not there, and a cluster that is not either.
    drop(nas);
    let (out, _) = desk.foundry(&["storage", "list", "--backend-only"], "", 2);
    assert!(out.contains("TrueNAS does not answer"), "{out}");
}

/// Takes what the lock left on this machine away.
struct State(String);

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.0));
    }
}

#[test]
fn a_build_prepares_a_truenas_and_then_has_nothing_to_do() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: the stack's only host is this machine, where Foundry works as root");
        return;
    }
    let name = format!("truenas-test-{}", std::process::id());
    let _state = State(name.clone());
    let nas = TrueNas::start();
    let ca = serde_json::to_string(nas.ca()).unwrap();
    let desk = Desk::new(&format!(
        "cluster: {{ name: {name} }}\nhosts: [{{ hostname: here, local: true, role: control-plane }}]\n\
         components: {{ k3s: {{}} }}\nstorage:\n  truenas: {{ api_url: '{}', username: {USER}, \
         api_key: '${{secret:truenas:api_key}}', ca: {ca}, protocol: iscsi, quota: 100Gi, \
         shares: [{{ name: tank/media, quota: 1Ti }}] }}\n",
        nas.url()
    ));
    std::fs::write(
        desk.home.path().join(".foundryvars"),
        format!("foundry/truenas:api_key={KEY}\n"),
    )
    .unwrap();
    let steps =
        "storage:dataset + storage:service + storage:portal + storage:share + storage:nfs-service";
    let (out, _) = desk.foundry(&["build", steps], "", 0);
    {
        let state = nas.state();
        let paths: Vec<&Value> = state.datasets.iter().map(|one| &one["id"]).collect();
        assert_eq!(paths.len(), 2, "{paths:?}\n{out}");
        assert_eq!(state.shares[0]["maproot_user"], "root");
        assert_eq!(state.portals[0]["listen"][0]["ip"], "0.0.0.0");
        let running = state
            .services
            .iter()
            .filter(|one| one["state"] == "RUNNING");
        assert_eq!(running.count(), 2, "iSCSI, and NFS for the share");
    }
    let (out, _) = desk.foundry(&["plan", steps, "--detailed-exitcode"], "", 0);
    assert!(out.contains("7 satisfied"), "{out}");
    nas.state().datasets[0]["compression"]["value"] = json!("OFF");
    nas.state().services[0]["state"] = json!("STOPPED");
    let (out, _) = desk.foundry(&["plan", steps, "--detailed-exitcode"], "", 2);
    assert!(
        out.contains("fact `state` is STOPPED, wanted RUNNING"),
        "{out}"
    );
    desk.foundry(&["build", steps], "", 0);
    assert_eq!(
        nas.count("pool.dataset.create"),
        2,
        "mended, not made again"
    );

    // Nor is the key in what a run leaves behind.
    let files = walk(&desk.home.path().join("cache/foundry/runs"));
    assert!(!files.is_empty());
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(KEY), "{}", file.display());
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn help_says_where_the_key_goes() {
    let desk = Desk::new(STACK);
    let (out, _) = desk.foundry(&["storage", "--help"], "", 0);
    let verbs: Vec<&str> = out.lines().take(10).collect();
    insta::assert_snapshot!(verbs.join("\n"), @r"
    Configures, lists and tests where volumes come from

    Usage: foundry storage [OPTIONS] <COMMAND>

    Commands:
      configure  Sets up a backend: asks, checks that it answers, and writes it into the config
      list       Lists backends with their pools, storage classes, volumes, and claims without one; exit
                 code 2 if one does not answer
      test       Tries it: the backend's API, then a volume of each class, written, read back and taken
                 away
    ");
    let (out, _) = desk.foundry(&["storage", "configure", "--help"], "", 0);
    assert!(
        out.contains("The API key never goes into the config"),
        "{out}"
    );
}
