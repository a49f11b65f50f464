//! Two runs that want to write at once, on real hosts: whatever the lock says, the older one is refused by name, and what
//! is there in the end is the newer one's.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::lab::{LabGuard, lab_with};

/// Three files one after the other on every host, each of them slow; what each script does is logged there.
const RECIPE: &str = r#"
summary = "Work that takes its time, on every host"
role    = "*"

[settings]
text = { type = "text", default = "one", doc = "What the files say" }

[steps.first]
uses = "command"
with = { command = "echo begin {{ settings.text }} 1 >>/var/tmp/writers.log; sleep 3; echo {{ settings.text }} >/var/tmp/w1; echo end {{ settings.text }} 1 >>/var/tmp/writers.log" }

[steps.second]
uses  = "command"
with  = { command = "echo begin {{ settings.text }} 2 >>/var/tmp/writers.log; sleep 3; echo {{ settings.text }} >/var/tmp/w2; echo end {{ settings.text }} 2 >>/var/tmp/writers.log" }
needs = ["first"]

[steps.third]
uses  = "command"
with  = { command = "echo begin {{ settings.text }} 3 >>/var/tmp/writers.log; sleep 3; echo {{ settings.text }} >/var/tmp/w3; echo end {{ settings.text }} 3 >>/var/tmp/writers.log" }
needs = ["second"]
"#;

struct Writers {
    lab: LabGuard,
    folder: tempfile::TempDir,
}

/// A run under way.
struct Run {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
}

impl Writers {
    fn new() -> Option<Self> {
        let lab = lab_with(&["--hosts", "3", "--driver", "namespaces"])?;
        let recipe = lab.home().join("recipes/writers");
        fs::create_dir_all(&recipe).unwrap();
        fs::write(recipe.join("recipe.toml"), RECIPE).unwrap();
        Some(Self {
            lab,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// Writes a config of its own for each run.
    fn config(&self, text: &str) -> PathBuf {
        let config = fs::read_to_string(self.lab.config()).unwrap();
        let (hosts, _) = config.split_once("# lab:end\n").unwrap();
        let path = self.folder.path().join(format!("{text}.yaml"));
        let of = format!("{hosts}# lab:end\ncomponents:\n  writers: {{ text: {text} }}\n");
        fs::write(&path, of).unwrap();
        path
    }

    fn command(&self, text: &str) -> Command {
        let mut command = self.lab.foundry();
        command
            .args(["build", "writers", "--yes", "--output", "json"])
            .current_dir(self.folder.path())
            .env("FOUNDRY_CONFIG", self.config(text))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env_remove("GITHUB_STEP_SUMMARY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, text: &str) -> Run {
        let mut child = self.command(text).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Run {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Makes the holder's last sign of life so old that the next run takes the lock over.
    fn age_the_lock(&self) {
        let name = &self.lab.lab().name;
        self.lab.ssh(
            0,
            &format!(
                "sudo sh -c 'cd /var/lib/foundry/{name} && read -r boot up <alive && echo \"$boot $((up - 100))\" >alive'"
            ),
        );
    }

    fn log(&self, host: usize) -> String {
        self.lab.ssh(host, "cat /var/tmp/writers.log")
    }

    /// Makes sure that every host has what the run `text` wants, and that no script of another began after or ran beside its.
    fn ends_with(&self, text: &str, hosts: &[usize]) {
        for host in hosts {
            let found = self
                .lab
                .ssh(*host, "cat /var/tmp/w1 /var/tmp/w2 /var/tmp/w3");
            assert_eq!(found, format!("{text}\n{text}\n{text}\n"), "host {host}");
            let log = self.log(*host);
            eprintln!("host {host}: {}", log.replace('\n', ", "));
            let after = log
                .find(&format!("begin {text}"))
                .map_or("", |at| &log[at..]);
            assert!(
                after
                    .lines()
                    .all(|line| line.contains(&format!(" {text} "))),
                "host {host}:\n{log}"
            );
        }
    }
}

impl Run {
    /// Waits for an event of this kind whose text has these words.
    fn until(&mut self, kind: &str, words: &str) -> Value {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let what = event["what"].clone();
            self.seen.push(what.clone());
            if what["kind"] == kind && what.to_string().contains(words) {
                return what;
            }
        }
        panic!("no {kind} with `{words}`: {:#?}", self.seen);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits for its end; returns its exit code and all it told.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            self.seen.push(event["what"].clone());
        }
        (self.child.wait().unwrap().code(), self.seen)
    }
}

fn say(name: &str, code: Option<i32>, seen: &[Value]) {
    eprintln!("{name} ends with {code:?}:");
    for what in seen {
        let told = ["warning", "note", "lock-taken", "lock-waiting"];
        let trouble = &what["trouble"]["message"];
        if told.iter().any(|kind| what["kind"] == *kind) {
            eprintln!("  {what}");
        } else if !trouble.is_null() {
            eprintln!("  {} {}: {trouble}", what["label"], what["state"]);
        }
    }
}

/// A run is stopped, another takes the lock over, the first one goes on: its next program is refused.
pub fn a_run_that_was_stopped_is_refused_by_name() {
    let Some(writers) = Writers::new() else {
        return;
    };
    let mut older = writers.start("older");
    older.until("step-started", "writers:second@");
    older.signal(Signal::SIGSTOP);
    writers.age_the_lock();
    let began = Instant::now();
    let mut newer = writers.start("newer");
    newer.until("lock-taken", "whose lease has ended");
    let (code, seen) = newer.end();
    say("the newer run", code, &seen);
    assert_eq!(code, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "it waited for what it need not"
    );
    older.signal(Signal::SIGCONT);
    let (code, seen) = older.end();
    say("the older run", code, &seen);
    assert_ne!(code, Some(0));
    let told: String = seen.iter().map(ToString::to_string).collect();
    assert!(told.contains("now and refuses this run"), "{told}");
    writers.ends_with("newer", &[0, 1, 2]);
}

/// A run is killed in the middle of its scripts, and another begins at once: it waits for what is left of the first.
pub fn what_a_killed_run_left_at_work_ends_before_the_next_begins() {
    let Some(writers) = Writers::new() else {
        return;
    };
    let mut older = writers.start("older");
    older.until("step-started", "writers:first@");
    let begun = || {
        let log = writers.lab.try_ssh(1, "cat /var/tmp/writers.log");
        String::from_utf8_lossy(&log.stdout).contains("begin")
    };
    let since = Instant::now();
    while !begun() {
        assert!(since.elapsed() < Duration::from_secs(20), "no script began");
    }
    older.signal(Signal::SIGKILL);
    let mut newer = writers.start("newer");
    newer.until("lock-taken", "which is no more");
    let (code, seen) = newer.end();
    say("the newer run", code, &seen);
    older.end();
    assert_eq!(code, Some(0));
    writers.ends_with("newer", &[0, 1, 2]);
    for host in 0..3 {
        let log = writers.log(host);
        let lines: Vec<&str> = log.lines().collect();
        for pair in lines.chunks(2) {
            assert_eq!(
                pair[0].strip_prefix("begin"),
                pair.get(1).and_then(|end| end.strip_prefix("end")),
                "two scripts at once on host {host}:\n{log}"
            );
        }
    }
}

/// The terminal is closed: running steps end, the lock is given back.
pub fn a_closed_terminal_ends_a_run_as_one_interrupt_does() {
    let Some(writers) = Writers::new() else {
        return;
    };
    let mut run = writers.start("one");
    run.until("step-started", "writers:first@");
    run.signal(Signal::SIGHUP);
    let (code, seen) = run.end();
    say("the run", code, &seen);
    let finished = |state: &str| {
        let steps = seen
            .iter()
            .filter(|what| what["kind"] == "step-finished" && what["state"] == state);
        steps.count()
    };
    assert_eq!(
        (finished("ran"), finished("ran") + finished("skipped")),
        (3, 9)
    );
    let lock = writers
        .lab
        .foundry()
        .args(["lock", "show"])
        .output()
        .unwrap();
    let lock = String::from_utf8_lossy(&lock.stdout).into_owned();
    assert!(lock.starts_with("Nobody holds the lock"), "{lock}");
}

/// The host that the lock is on can't be reached by anybody: its lease is waited out, aloud, by name.
pub fn a_lock_host_that_is_down_is_waited_out_and_stood_in_for() {
    let Some(writers) = Writers::new() else {
        return;
    };
    let first = writers.lab.hosts()[0].name.as_str().to_owned();
    let second = writers.lab.hosts()[1].name.as_str().to_owned();
    writers.lab.try_ssh(0, "sudo systemctl poweroff");
    let mut run = writers.start("newer");
    run.until("lock-waiting", &format!("{first} cannot be reached"));
    let began = Instant::now();
    run.until("warning", &format!("and {second} stands in"));
    assert!(
        began.elapsed() >= Duration::from_secs(59),
        "{:?}",
        began.elapsed()
    );
    let (code, seen) = run.end();
    say("the run", code, &seen);
    writers.ends_with("newer", &[1, 2]);
    let shown = writers
        .lab
        .foundry()
        .args(["lock", "show"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(
        said.contains("a run may hold the lock on a host that cannot be reached"),
        "{said}"
    );
}
