//! The task library on a real shell, against files of this machine. Runs as root, as on hosts; what would change the machine
//! itself (packages, users, services) is left to the lab.

#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

mod foreign;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use foundry::catalog::{Catalog, Task, Value, Values};
use foundry::config::HostId;
use foundry::graph::{Label, Step, Target};
use foundry::plan::{mismatches, wanted};
use foundry::probe::{Application, Ask, Batch, Ended, Filled, Job, Nonce, Program, Reply, ask};
use foundry::secret::Secret;
use foundry::target::BuiltIn;

/// One step of a task, and the machine as its host.
struct One {
    task: Arc<Task>,
    values: Values,
    stack: String,
    /// A folder with `passwd` and `group` to have in place of this machine's.
    accounts: Option<PathBuf>,
}

impl Drop for One {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.stack));
    }
}

fn text(text: impl AsRef<str>) -> Value {
    Value::Text(text.as_ref().to_owned())
}

fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(text).collect())
}

/// Returns whether this is root, or says why the test can't run.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: tasks run as root");
    }
    root
}

fn one(task: &str, given: &[(&str, Value)]) -> One {
    let task = Catalog::embedded().unwrap().tasks[task].clone();
    let mut values: Values = task
        .inputs
        .iter()
        .map(|(name, spec)| (name.clone(), spec.default.clone().unwrap_or(Value::Null)))
        .collect();
    for (name, value) in given {
        assert!(
            values.insert((*name).to_owned(), value.clone()).is_some(),
            "no input {name}"
        );
    }
    let stack = format!("task-test-{}-{}", task.name, std::process::id());
    One {
        task,
        values,
        stack,
        accounts: None,
    }
}

impl One {
    fn ask(&self) -> Ask {
        let label = Label {
            component: "test".into(),
            step: self.task.name.as_str().into(),
            item: None,
            host: None,
        };
        let step = Step {
            label,
            task: Some(self.task.clone()),
            target: Target::Host(HostId(0)),
            inputs: Arc::default(),
            needs: Vec::new(),
            watch: Vec::new(),
            pool: None,
        };
        let filled = Filled {
            values: self.values.clone(),
            ..Filled::default()
        };
        ask(&step, &filled, &BuiltIn::default()).unwrap()
    }

    /// Returns what is not as wanted, by fact.
    fn wrong(&self) -> Vec<String> {
        let batch = Batch::new([Arc::new(self.ask())], None, Nonce::new([1; 16]));
        let facts = batch
            .read(&self.run(batch.program()))
            .facts
            .remove(0)
            .unwrap();
        let wanted = wanted(&self.task, &self.values).unwrap();
        mismatches(&wanted, &facts)
            .iter()
            .map(|mismatch| format!("{:?}", mismatch.reason))
            .collect()
    }

    /// Applies it and returns the script's output; it must then be as wanted.
    fn apply(&self) -> String {
        let applied = self.try_apply();
        assert_eq!(applied.0, Ended::Well, "{}", applied.1);
        assert_eq!(self.wrong(), [""; 0], "after applying");
        applied.1
    }

    fn try_apply(&self) -> (Ended, String) {
        let job = Job {
            effect: self.task.apply.as_ref().unwrap(),
            values: &self.values,
            ask: self.ask(),
            stack: &self.stack,
            stamp: None,
            by_stamp: false,
        };
        let application = Application::new(job, Nonce::new([2; 16]), None).unwrap();
        let applied = application.read(&self.run(application.program()));
        (applied.ended, applied.output)
    }

    fn run(&self, program: &Program) -> Reply {
        let mut command = match &self.accounts {
            None => Command::new("sh"),
            Some(accounts) => {
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "sh", "-eu", "-c", ACCOUNTS, "accounts"])
                    .arg(accounts)
                    .arg("sh");
                command
            }
        };
        run(command.args(["-c", "eval \"$(cat)\""]), program)
    }

    fn remove(&self) {
        let (ended, output) = self.try_remove();
        assert_eq!(ended, Ended::Well, "{output}");
    }

    fn try_remove(&self) -> (Ended, String) {
        let job = Job {
            effect: self.task.remove.as_ref().unwrap(),
            values: &self.values,
            ask: self.ask(),
            stack: &self.stack,
            stamp: None,
            by_stamp: false,
        };
        let application = Application::new(job, Nonce::new([3; 16]), None).unwrap();
        let applied = application.read(&self.run(application.program()));
        (applied.ended, applied.output)
    }
}

/// Has the accounts of a folder, then runs what follows.
const ACCOUNTS: &str =
    r#"mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group; shift; exec "$@""#;

/// Runs a program as an adapter does.
fn run(command: &mut Command, program: &Program) -> Reply {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = program.text.expose().clone();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Reply {
        stdout: output.stdout,
        stderr: output.stderr,
        status: output.status.code(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_written_whole_and_kept_when_only_its_mode_is_wrong() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/it's here");
    let content = "one\n$two `three` 'four'\n\n";
    let file = one(
        "file",
        &[
            ("path", text(path.to_str().unwrap())),
            ("content", Value::Secret(Secret::new(content.to_owned()))),
            ("mode", text("0640")),
        ],
    );
    assert!(file.wrong()[0].contains("absent"));
    file.apply();
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
    assert_eq!(mode(&path), 0o640);

    let inode = fs::metadata(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(file.wrong().len(), 1);
    file.apply();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.mtime_nsec()),
        (inode.ino(), inode.mtime_nsec())
    );
    assert_eq!(mode(&path), 0o640);

    fs::write(&path, "changed").unwrap();
    assert_eq!(file.wrong().len(), 1);
    file.apply();
    assert_eq!(fs::read_to_string(&path).unwrap(), content);

    // As somebody else's.
    let theirs = one(
        "file",
        &[
            ("path", text(path.to_str().unwrap())),
            ("content", text(content)),
            ("owner", text("nobody:nogroup")),
            ("mode", text("4711")),
        ],
    );
    theirs.apply();
    assert_eq!((theirs.wrong().len(), mode(&path)), (0, 0o4711));
    file.apply();
    fs::remove_file(&path).unwrap();
    theirs.apply();
    assert_eq!((theirs.wrong().len(), mode(&path)), (0, 0o4711));
    file.apply();
    assert_eq!((file.wrong().len(), mode(&path)), (0, 0o640));

    // In a directory that hands its group on.
    let shared = folder.path().join("deep");
    std::os::unix::fs::chown(&shared, None, Some(1)).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2755)).unwrap();
    fs::remove_file(&path).unwrap();
    file.apply();
    assert_eq!((file.wrong().len(), mode(&path)), (0, 0o640));

    // A link there is replaced, and what it led to left alone.
    let other = folder.path().join("other");
    fs::rename(&path, &other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    file.apply();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(
        fs::read_dir(folder.path().join("deep")).unwrap().count(),
        1,
        "nothing is left over"
    );
    file.remove();
    assert!(!path.exists() && other.exists());
}

#[test]
fn a_directory_and_a_link_are_made_and_mended() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b c");
    let directory = one(
        "directory",
        &[
            ("path", text(path.to_str().unwrap())),
            ("mode", text("0750")),
        ],
    );
    directory.apply();
    assert_eq!(mode(&path), 0o750);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(directory.wrong().len(), 1);
    directory.apply();
    let theirs = folder.path().join("c/d/theirs");
    let theirs = one(
        "directory",
        &[
            ("path", text(theirs.to_str().unwrap())),
            ("owner", text("nobody:nogroup")),
            ("mode", text("1770")),
        ],
    );
    theirs.apply();
    assert!(theirs.wrong().is_empty(), "{:?}", theirs.wrong());
    assert_eq!(mode(&folder.path().join("c/d")), 0o755);

    let link = path.join("link");
    let symlink = |to: &str| {
        one(
            "symlink",
            &[("path", text(link.to_str().unwrap())), ("to", text(to))],
        )
    };
    symlink("elsewhere").apply();
    let symlink = symlink("../target one");
    symlink.apply();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("../target one"));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    fs::remove_file(&link).unwrap();
    fs::write(&link, "somebody's").unwrap();
    let (ended, output) = symlink.try_apply();
    assert_eq!(ended, Ended::Status(1));
    assert!(output.contains("is no symbolic link"), "{output}");
    assert_eq!(fs::read_to_string(&link).unwrap(), "somebody's");

    directory.remove_refuses(&path);
}

impl One {
    /// A directory that others put something into stays.
    fn remove_refuses(&self, path: &Path) {
        let job = Job {
            effect: self.task.remove.as_ref().unwrap(),
            values: &self.values,
            ask: self.ask(),
            stack: &self.stack,
            stamp: None,
            by_stamp: false,
        };
        let application = Application::new(job, Nonce::new([4; 16]), None).unwrap();
        let applied = application.read(&self.run(application.program()));
        assert_eq!(applied.ended, Ended::Status(1));
        assert!(path.exists());
    }
}

#[test]
fn a_line_is_appended_or_takes_the_place_of_another() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conf");
    let line = |line: &str, replace: &str| {
        one(
            "line",
            &[
                ("path", text(path.to_str().unwrap())),
                ("line", text(line)),
                ("replace", text(replace)),
            ],
        )
    };
    line("first", "").apply();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    line(r"Port = \2 & 'x'", "^#? *Port").apply();
    line("Port = 3", "^#? *Port").apply();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\nPort = 3\n");
    assert_eq!(mode(&path), 0o600);
    let last = line("Port = 3", "");
    last.remove();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
}

#[test]
fn a_command_gets_its_input_and_is_undone_when_what_it_made_is_gone() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let command = one(
        "command",
        &[
            ("command", text(format!("cat >'{}'", made.display()))),
            ("creates", text(made.to_str().unwrap())),
            (
                "stdin",
                Value::Secret(Secret::new("the input\n".to_owned())),
            ),
        ],
    );
    assert_eq!(command.wrong().len(), 1);
    command.apply();
    assert_eq!(fs::read_to_string(&made).unwrap(), "the input\n");
    let failing = one(
        "command",
        &[("command", text("echo some words >&2; exit 7"))],
    );
    let (ended, output) = failing.try_apply();
    assert_eq!(ended, Ended::Status(7));
    assert_eq!(output.trim(), "some words");
}

#[test]
fn waiting_for_a_port_and_for_http_ends_when_they_answer() {
    if !is_root() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
            let _ = stream
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let wait = one("wait-port", &[("port", text(format!("127.0.0.1:{port}")))]);
    wait.apply();
    let url = format!("http://127.0.0.1:{port}/");
    let http = |status: &[&str]| {
        one(
            "wait-http",
            &[
                ("url", text(&url)),
                ("status", texts(status)),
                ("seconds", Value::Int(1)),
            ],
        )
    };
    http(&["200", "503"]).apply();
    let (ended, output) = http(&["200"]).try_apply();
    assert_eq!(ended, Ended::Status(1));
    assert!(output.contains("still answers: 503"), "{output}");
}

/// The scripts of all tasks, each with its inputs as variables, in the eyes of shellcheck.
#[test]
fn every_script_is_clean() {
    if Command::new("shellcheck")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: shellcheck is not installed");
        return;
    }
    let mut scripts = HashMap::new();
    for task in Catalog::embedded().unwrap().tasks.values() {
        let effects = [&task.apply, &task.remove];
        let all = effects
            .into_iter()
            .flatten()
            .filter_map(|effect| effect.script.as_ref());
        for (at, script) in all.chain(&task.probe.script).enumerate() {
            let inputs: String = task
                .inputs
                .keys()
                .map(|name| format!("{name}=${{{name}-}}\n"))
                .collect();
            scripts.insert(
                format!("{}-{at}.sh", task.name),
                format!("#!/bin/sh\n{inputs}{script}"),
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in &scripts {
        fs::write(folder.path().join(name), script).unwrap();
    }
    let output = Command::new("shellcheck")
        .args(["-s", "dash", "-e", "SC2034"])
        .args(scripts.keys())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(scripts.len() > 30, "only {} scripts", scripts.len());
}
