//! A secret of the config comes from each of its three sources in order, and is seen nowhere but where it belongs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;
use base64::Engine as _;

use crate::bench::{Bench, Ended};

/// A user's own recipe: a file that holds a secret, and a step that fails beside it.
const RECIPE: &str = r#"
summary = "A file with a secret in it"
role    = "demo"

[settings]
password = { type = "text", secret = true, doc = "What is kept." }
broken   = { type = "bool", default = false, doc = "Whether a step fails." }

[steps.file]
uses = "file"
on   = "hosts"
with = { path = "/etc/demo.conf", content = "password={{ settings.password | ini }}\n", mode = "0600" }

[steps.broken]
uses = "leak"
on   = "hosts"
when = "{{ settings.broken }}"
with = { text = "{{ settings.password }}" }
"#;

/// A task that says aloud what it was told in confidence, and fails.
const TASK: &str = r#"
summary = "Tells all that it knows, and fails"
[inputs]
text = { type = "text", secret = true, doc = "What it must not tell." }
[probe]
script = '''
echo state=wrong
'''
[expect]
state = "right"
[apply]
script = '''
echo "::say it is $text"
echo "here it is: $text"
echo "in base64: $(printf %s "$text" | base64 -w0)"
exit 7
'''
[remove]
script = ''':'''
"#;

/// The secret, its sources, and everywhere it must not be.
pub fn secrets_stay_secret(bench: &Bench) {
    let host = bench.host(0).to_owned();
    let recipes = bench.lab.home().join("recipes/demo");
    fs::create_dir_all(&recipes).unwrap();
    fs::write(recipes.join("recipe.toml"), RECIPE).unwrap();
    fs::create_dir_all(bench.lab.home().join("tasks")).unwrap();
    fs::write(bench.lab.home().join("tasks/leak.toml"), TASK).unwrap();
    let components = |broken: bool| {
        bench.components(&format!(
            "  openbao: {{ log_level: debug }}\n  demo: {{ hosts: [{host}], broken: {broken}, password: \"${{secret:foundry/demo:password}}\" }}\n"
        ));
    };
    components(false);

    // Nowhere: said, with all the places it was looked for.
    let refused = bench.build(&["demo"]).coded(1);
    eprintln!("{}", refused.err);
    for place in [
        "FOUNDRY_SECRET_foundry_demo_password",
        "foundryvars",
        "OpenBAO",
    ] {
        let told = refused.err.clone() + &refused.out;
        assert!(told.contains(place), "{told}");
    }

    let [stored, listed, given] = ["stored", "listed", "given"].map(canary);
    let watch = Watch::start(vec![stored.clone(), listed.clone()]);

    set(bench, &stored);
    let got = bench
        .run(&["--yes", "secret", "get", "foundry/demo:password"])
        .ok();
    assert_eq!(got.out.trim_end(), stored);
    bench.run(&["secret", "list", "foundry"]).ok().says("demo");

    bench.run(&["plan"]).ok().says("demo");
    let built = bench.build_stack();
    assert_eq!(built.steps("ran"), [format!("demo:file@{host}")]);
    assert_eq!(content(bench), format!("password={stored}\n"));
    assert_eq!(bench.build_stack().steps("ran"), [""; 0], "nothing is new");

    fs::write(
        bench.path("foundryvars"),
        format!("foundry/demo:password={listed}\n"),
    )
    .unwrap();
    private(&bench.path("foundryvars"));
    let plan = bench.run(&["plan"]).ok();
    eprintln!("{}", plan.out);
    bench.build_stack();
    assert_eq!(content(bench), format!("password={listed}\n"));

    // A step that fails with the secret on its lips; every command that shows something.
    components(true);
    let failed = bench.build(&["stack"]).coded(1);
    eprintln!("{}", failed.troubles());
    assert!(
        failed.troubles().contains("here it is"),
        "{}",
        failed.troubles()
    );
    for command in [
        &["-v", "--yes", "build", "demo"][..],
        &["-vv", "--yes", "build", "demo"],
        &["plan", "--all"],
        &["plan", "--output", "json"],
        &["-vv", "plan"],
        &["explain", "demo"],
        &["stack", "status"],
        &["stack", "status", "--output", "json"],
        &["graph", "demo"],
        &["graph", "demo", "--format", "json"],
        &["config", "show"],
        &["config", "show", "--output", "json"],
        &["run", "list"],
        &["run", "show"],
        &["run", "show", "--output", "json"],
        &["run", "failed"],
        &["secret", "list", "foundry"],
    ] {
        let ended = bench.run(command);
        assert!(!ended.err.contains("unexpected argument"), "{}", ended.err);
        assert!(
            !ended.err.contains("unrecognized subcommand"),
            "{}",
            ended.err
        );
    }
    let archive = bench.cache().join("help.tar.gz");
    bench
        .run(&["support-bundle", archive.to_str().unwrap()])
        .ok();
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(&archive)
        .arg("-C")
        .arg(bench.cache())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let told = bench.cache().join(format!("help/hosts/{host}.txt"));
    let told = fs::read_to_string(told).unwrap();
    assert!(
        told.contains("systemctl status --no-pager --lines=0 -- openbao.service"),
        "{told}"
    );
    let seen = watch.stop();
    assert_eq!(seen, BTreeSet::new(), "in a command line or an environment");
    components(false);

    // The environment goes before both, for this one command.
    let built = with_variable(bench, &given);
    assert_eq!(built.steps("ran"), [format!("demo:file@{host}")]);
    assert_eq!(content(bench), format!("password={given}\n"));

    nowhere(bench, &[stored, listed, given]);
    fs::remove_file(bench.path("foundryvars")).unwrap();
    bench.components("  openbao: { log_level: debug }\n");
    bench.lab.ssh(0, "sudo rm /etc/demo.conf");
}

/// Returns a value that nothing else can have.
fn canary(name: &str) -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).unwrap();
    format!("canary-{name}-{}", hex::encode(bytes))
}

/// Stores the secret the way that leaves no trace: on standard input.
fn set(bench: &Bench, value: &str) {
    let mut command = bench.command(&["secret", "set", "foundry/demo:password"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(value.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    bench.ended(&command, &output, Duration::ZERO).ok();
}

fn with_variable(bench: &Bench, value: &str) -> Ended {
    let mut command: Command = bench.command(&["build", "stack", "--yes", "--output", "json"]);
    command.env("FOUNDRY_SECRET_foundry_demo_password", value);
    bench.finish(command).ok()
}

fn content(bench: &Bench) -> String {
    bench.lab.ssh(0, "sudo cat /etc/demo.conf")
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Fails the test if one of the values, plain, in base64 or in hex, is anywhere but where it belongs.
fn nowhere(bench: &Bench, values: &[String]) {
    let forms = forms(values);
    let check = |place: &str, bytes: &[u8]| {
        let found = forms.find(bytes);
        assert_eq!(found, None, "a secret is in {place}");
    };
    for (command, printed) in bench.printed() {
        if command.contains("secret get") {
            continue;
        }
        check(&command, printed.as_bytes());
    }
    for folder in [bench.cache(), bench.lab.home().to_owned()] {
        files(&folder, &mut |path| {
            check(&path.display().to_string(), &fs::read(path).unwrap());
        });
    }
    for index in 0..bench.lab.hosts().len() {
        for (place, command) in [
            (
                "the journal",
                "sudo journalctl --quiet --no-pager --output=export",
            ),
            (
                "Foundry's folder",
                "sudo find /var/lib/foundry -type f -exec cat {} +",
            ),
            (
                "OpenBAO's audit log",
                "sudo cat /var/log/openbao/audit.jsonl",
            ),
            (
                "temporary files",
                "sudo find /tmp /var/tmp /run/foundry -type f -exec cat {} + 2>/dev/null; true",
            ),
        ] {
            let text = bench.lab.try_ssh(index, command).stdout;
            check(&format!("{place} of host {index}"), &text);
        }
    }
}

fn forms(values: &[String]) -> AhoCorasick {
    let forms = values.iter().flat_map(|value| {
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
        // Its last letters depend on what follows.
        let base64 = base64[..base64.len() - 2].to_owned();
        [value.to_owned(), base64, hex::encode(value)]
    });
    AhoCorasick::new(forms).unwrap()
}

fn files(folder: &Path, each: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, each);
        } else if path.is_file() {
            each(&path);
        }
    }
}

/// Looks at the command line and environment of every process of this machine, those of its lab hosts among them, until it is told to stop.
struct Watch {
    stop: Arc<AtomicBool>,
    looking: std::thread::JoinHandle<(BTreeSet<String>, u32)>,
}

impl Watch {
    fn start(values: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let forms = forms(&values);
            let mut seen = BTreeSet::new();
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                look(&forms, &mut seen);
                rounds += 1;
                // One look in between others' work, not instead of it.
                std::thread::park_timeout(Duration::from_millis(10));
            }
            (seen, rounds)
        });
        Self { stop, looking }
    }

    fn stop(self) -> BTreeSet<String> {
        let began = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let (seen, rounds) = self.looking.join().unwrap();
        eprintln!(
            "all processes were looked at {rounds} times ({:?} to end)",
            began.elapsed()
        );
        assert!(rounds > 20, "hardly anything was looked at");
        seen
    }
}

fn look(forms: &AhoCorasick, seen: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let path = entry.path().join(file);
            let Ok(bytes) = fs::read(&path) else { continue };
            if forms.is_match(&bytes) {
                seen.insert(String::from_utf8_lossy(&bytes).replace('\0', " "));
            }
        }
    }
}
