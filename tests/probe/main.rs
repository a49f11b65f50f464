//! Probe programs on a real shell, as root, against the real system.

mod apply;
mod batch;
mod files;
mod fixtures;
mod journal;
mod observe;
mod scripts;
#[path = "../support/mod.rs"]
mod support;
mod system;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foundry::catalog::{Collector, Effect, Template, Value, Values};
use foundry::probe::{
    Answer, Application, Applications, Applied, Ask, Batch, Ended, Fact, Facts, Fault, Job, Nonce,
    ProbeScript, Program, Question, Reply, Stamp,
};

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn question(collector: Collector, subject: Value) -> Question {
    Question {
        collector,
        prefix: String::new(),
        subject,
        secret: false,
    }
}

fn ask(questions: Vec<Question>) -> Ask {
    Ask {
        label: "test:step".into(),
        questions,
        unnamed: Vec::new(),
        script: None,
        stamp: "test/step".into(),
    }
}

fn script(text: &str, values: &Values, timeout: Duration) -> Ask {
    Ask {
        script: Some(ProbeScript::new(text, values, Some(timeout)).unwrap()),
        ..ask(Vec::new())
    }
}

/// Runs a program as an adapter does.
fn run(program: &Program) -> Reply {
    let mut child = Command::new("sh")
        .args(["-c", "eval \"$(cat)\""])
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

fn nonce() -> Nonce {
    Nonce::new([0x5a; 16])
}

fn look(asks: Vec<Ask>) -> Answer {
    let batch = Batch::new(asks.into_iter().map(Arc::new), None, nonce());
    let reply = run(batch.program());
    let answer = batch.read(&reply);
    assert!(
        answer.host.is_ok(),
        "{:?}\n{}",
        answer.host,
        String::from_utf8_lossy(&reply.stderr)
    );
    answer
}

/// Asks one question and returns its facts.
fn one(collector: Collector, subject: Value) -> Result<Arc<Facts>, Fault> {
    look(vec![ask(vec![question(collector, subject)])])
        .facts
        .remove(0)
}

fn fact<'a>(facts: &'a Facts, name: &str) -> &'a str {
    facts.get(name).map_or("(not said)", Fact::value)
}

fn map(entries: [(&str, Value); 2]) -> Value {
    Value::Map(BTreeMap::from(
        entries.map(|(key, value)| (key.to_owned(), value)),
    ))
}

/// Names that break shells, options and line-based tools.
const ODD: [&str; 9] = [
    "plain",
    "with space",
    "it's \"quoted\"",
    "line\nbreak",
    "-rf",
    "--help",
    "käse ☃",
    "$(touch x) `id` \\n %s",
    "a -> b",
];
