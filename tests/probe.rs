//! Probe programs on a real shell, as root where that matters, against the real file system.

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
    Answer, Application, Applied, Ask, Batch, Ended, Fact, Facts, Fault, Job, Nonce, ProbeScript,
    Program, Question, Reply, Stamp,
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

fn observe(asks: Vec<Ask>) -> Answer {
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
fn one(collector: Collector, subject: Value) -> Result<Facts, Fault> {
    observe(vec![ask(vec![question(collector, subject)])])
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

#[test]
fn files_of_any_name_are_seen_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut asks = Vec::new();
    for name in ODD {
        fs::write(at(name), format!("of {name}\n\n")).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o4641)).unwrap();
        let subject = || text(at(name));
        asks.push(ask(vec![
            question(Collector::Stat, subject()),
            question(Collector::Digest, subject()),
            question(Collector::Content, subject()),
            Question {
                prefix: "line".into(),
                ..question(
                    Collector::Line,
                    map([
                        ("path", subject()),
                        ("line", text(format!("of {}", name.lines().next().unwrap()))),
                    ]),
                )
            },
        ]));
    }
    let answer = observe(asks);
    for (name, facts) in ODD.iter().zip(answer.facts) {
        let facts = facts.unwrap();
        let content = format!("of {name}\n\n");
        assert_eq!(fact(&facts, "kind"), "file", "{name}");
        assert_eq!(fact(&facts, "mode"), "4641", "{name}");
        assert_eq!(fact(&facts, "owner"), "root:root", "{name}");
        assert_eq!(fact(&facts, "size"), content.len().to_string(), "{name}");
        assert_eq!(fact(&facts, "content"), content, "{name}");
        assert_eq!(fact(&facts, "line.present"), "yes", "{name}");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(content.as_bytes());
        assert_eq!(fact(&facts, "sha256"), hex::encode(digest), "{name}");
    }
}

#[test]
fn what_is_not_there_is_absent_and_what_is_no_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(folder.path().join(name).to_str().unwrap());
    symlink("gone", folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("large"), vec![b'x'; 300_000]).unwrap();
    fs::write(folder.path().join("nul"), "a\0b").unwrap();
    fs::write(folder.path().join("nul-end"), "a\0").unwrap();
    fs::write(folder.path().join("latin1"), b"\xe4").unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let names = [
        "gone",
        "empty/below",
        "broken",
        "pipe",
        "empty",
        "large",
        "nul",
        "nul-end",
        "latin1",
        ".",
    ];
    let asks = names
        .iter()
        .flat_map(|name| {
            [Collector::Stat, Collector::Digest, Collector::Content]
                .map(|collector| ask(vec![question(collector, at(name))]))
        })
        .collect();
    let answer = observe(asks);
    let said: Vec<String> = answer
        .facts
        .chunks(3)
        .map(|facts| {
            let word = |index: usize, name: &str| match &facts[index] {
                Ok(facts) => fact(facts, name).chars().take(8).collect(),
                Err(fault) => {
                    format!(
                        "({})",
                        fault.message.replace(folder.path().to_str().unwrap(), "")
                    )
                }
            };
            format!(
                "{} {} {}",
                word(0, "kind"),
                word(1, "sha256"),
                word(2, "content")
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "absent absent absent",
            "absent absent absent",
            "symlink absent absent",
            "other other (/pipe is no regular file)",
            "file e3b0c442 ",
            "file 29927e27 (/large holds 300000 bytes, more than 262144)",
            "file 59b271ae (/nul holds NUL bytes)",
            "file ffe9aaea (/nul-end holds NUL bytes)",
            "file 5e1effe9 (/latin1 is not text)",
            "director director (/. is no regular file)",
        ]
        .map(|wanted| wanted.to_owned())
    );
    let link = one(Collector::Stat, at("broken")).unwrap();
    assert_eq!(fact(&link, "link"), "gone");
}

#[test]
fn five_thousand_paths_fit() {
    let folder = tempfile::tempdir().unwrap();
    let mut asks = Vec::new();
    for index in 0..5000 {
        let path = folder
            .path()
            .join(format!("a file with a rather long name, number {index}"));
        if index % 2 == 0 {
            fs::write(&path, format!("{index}")).unwrap();
        }
        let path = path.to_str().unwrap();
        asks.push(ask(vec![
            question(Collector::Stat, text(path)),
            question(Collector::Digest, text(path)),
        ]));
    }
    let answer = observe(asks);
    for (index, facts) in answer.facts.iter().enumerate() {
        let facts = facts.as_ref().unwrap();
        let wanted = if index % 2 == 0 { "file" } else { "absent" };
        assert_eq!(fact(facts, "kind"), wanted, "{index}");
        assert_eq!(fact(facts, "sha256") == "absent", index % 2 == 1);
    }
    assert!(answer.host.unwrap().processes < 25);
}

#[test]
fn the_systems_own_tables() {
    let package = one(Collector::Package, text("dpkg")).unwrap();
    let version = Command::new("dpkg-query")
        .args(["-W", "-f=${Version}", "dpkg"])
        .output()
        .unwrap();
    assert_eq!(
        fact(&package, "version"),
        String::from_utf8(version.stdout).unwrap()
    );
    let list = Value::List(
        ["coreutils", "no-such-thing", "nor-this"]
            .map(text)
            .to_vec(),
    );
    assert_eq!(
        fact(&one(Collector::Package, list).unwrap(), "missing"),
        "no-such-thing nor-this"
    );
    assert_eq!(
        fact(
            &one(Collector::Package, text("no-such-thing")).unwrap(),
            "version"
        ),
        "absent"
    );

    let root = one(Collector::User, text("root")).unwrap();
    assert_eq!(
        (
            fact(&root, "uid"),
            fact(&root, "home"),
            fact(&root, "group")
        ),
        ("0", "/root", "root")
    );
    assert_eq!(
        fact(&one(Collector::User, text("nobody-here")).unwrap(), "uid"),
        "absent"
    );
    assert_eq!(
        fact(&one(Collector::Group, text("root")).unwrap(), "gid"),
        "0"
    );
    assert_eq!(
        fact(&one(Collector::Group, text("nobody-here")).unwrap(), "gid"),
        "absent"
    );

    let kernel =
        |key: &str| fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap();
    for key in ["vm.swappiness", "net.ipv4.tcp_rmem", "kernel.osrelease"] {
        let wanted = kernel(key).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            fact(&one(Collector::Sysctl, text(key)).unwrap(), "value"),
            wanted,
            "{key}"
        );
    }
    assert_eq!(
        fact(
            &one(Collector::Sysctl, text("net.no.such")).unwrap(),
            "value"
        ),
        "absent"
    );
    assert_eq!(
        fact(
            &one(Collector::Module, text("no-such-module")).unwrap(),
            "loaded"
        ),
        "no"
    );
    let some = fs::read_dir("/sys/module")
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    assert_eq!(
        fact(
            &one(Collector::Module, text(some.to_str().unwrap())).unwrap(),
            "loaded"
        ),
        "yes"
    );
}

#[test]
fn ports_that_somebody_listens_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let six = std::net::TcpListener::bind("[::1]:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listening = |subject: String| {
        fact(&one(Collector::Port, text(subject)).unwrap(), "listening").to_owned()
    };
    assert_eq!(listening(port.to_string()), "yes");
    assert_eq!(listening(format!("127.0.0.1:{port}")), "yes");
    assert_eq!(listening(format!("127.0.0.2:{port}")), "no");
    assert_eq!(listening(format!("[::1]:{port}")), "no");
    assert_eq!(listening(format!("[::1]:{six}")), "no", "closed again");
    drop(listener);
    assert_eq!(listening(port.to_string()), "no");
    assert!(one(Collector::Port, text("http")).is_err());
}

#[test]
fn scripts_answer_for_themselves_alone() {
    let values = Values::from_iter([
        ("path".to_owned(), text("it's\nhere")),
        (
            "items".to_owned(),
            Value::List(vec![text("a"), text("b c")]),
        ),
        (
            "pass".to_owned(),
            Value::Secret("hunter2hunter2".to_owned().into()),
        ),
    ]);
    let long = Duration::from_secs(30);
    let none = Values::new();
    let started = Instant::now();
    let answer = observe(vec![
        script(
            "echo \"n=$(printf %s \"$items\" | wc -l)\"; echo label=$label",
            &values,
            long,
        ),
        script(
            "printf 'lines=%s\\n' \"${path#*s}\" | tr '\\n' '+'",
            &values,
            long,
        ),
        script("echo oops >&2; exit 3", &none, long),
        script("if then } (", &none, long),
        script("echo $undefined", &none, long),
        script("false; echo a=1", &none, long),
        script("echo garbage", &none, long),
        script("echo token=$pass; echo \"bad $pass\" >&2", &values, long),
        script("echo \"bad $pass\" >&2; exit 1", &values, long),
        script("no-such-tool-here", &none, long),
        script(
            "trap '' TERM; (sleep 1000 & sleep 1000) | cat",
            &none,
            Duration::from_secs(1),
        ),
        script("return 0; echo a=1", &none, long),
        script("exec 2>&1; cat; echo a=1", &none, long),
        script(
            "kill -KILL $$$$ 2>/dev/null || echo alive=yes; printf 'x=1'",
            &none,
            long,
        ),
    ]);
    let said: Vec<String> = answer
        .facts
        .iter()
        .map(|facts| match facts {
            Ok(facts) => format!("{facts:?}"),
            Err(fault) => format!("{} ({})", fault.message, fault.not_yet),
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"{"label": Text("test:step"), "n": Text("1")}"#,
            r#"{"lines": Text("+here+")}"#,
            "the probe script ended with status 3: oops (true)",
            "the probe script ended with status 2: sh: 2: eval: Syntax error: \"then\" unexpected (true)",
            "the probe script ended with status 2: sh: 2: eval: undefined: parameter not set (true)",
            "the probe script ended with status 1 (true)",
            r#"the probe script printed "garbage", which is no name=value (false)"#,
            r#"{"token": Secret([redacted])}"#,
            "the probe script ended with status 1: bad [redacted] (true)",
            "the probe script ended with status 127: sh: 2: eval: no-such-tool-here: not found (true)",
            "the probe script took longer than 1 s (true)",
            "{}",
            r#"{"a": Text("1")}"#,
            r#"{"alive": Text("yes"), "x": Text("1")}"#,
        ]
        .map(|wanted| wanted.to_owned())
    );
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

/// A stack of this test alone, whose folder on this machine goes with it.
struct Stack(String);

impl Stack {
    fn new(name: &str) -> Self {
        Self(format!("probe-test-{name}-{}", std::process::id()))
    }

    fn stamp(&self) -> PathBuf {
        Path::new("/var/lib/foundry")
            .join(&self.0)
            .join("stamps/test/step")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.0));
    }
}

fn effect(script: &str, stdin: Option<&str>, timeout: Duration) -> Effect {
    Effect {
        script: Some(script.to_owned()),
        stdin: stdin.map(|text| Template(text.to_owned())),
        action: None,
        timeout,
        tries: 1,
    }
}

fn stamped(key: &str) -> Stamp {
    let inputs = BTreeMap::from([("mode".to_owned(), "0600\n%".to_owned())]);
    Stamp {
        key: key.to_owned(),
        inputs,
    }
}

fn apply(
    stack: &Stack,
    effect: &Effect,
    values: &Values,
    asked: Ask,
    stamp: Option<&Stamp>,
    by_stamp: bool,
) -> Applied {
    let job = Job {
        effect,
        values,
        ask: asked,
        stack: &stack.0,
        stamp,
        by_stamp,
    };
    let application = Application::new(job, nonce()).unwrap();
    let reply = run(application.program());
    application.read(&reply)
}

#[test]
fn an_apply_is_verified_and_stamped_in_one_round_trip() {
    let stack = Stack::new("apply");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's here");
    let content = format!(
        "no line break at the end, 'quotes', {}, ☃ \\n $HOME `id`",
        "long ".repeat(30_000)
    );
    let values = Values::from_iter([
        ("path".to_owned(), text(path.to_str().unwrap())),
        ("content".to_owned(), Value::Secret(content.clone().into())),
        ("mode".to_owned(), text("0600")),
    ]);
    let script = "echo out; echo err >&2; echo '::say half way'\n\
                  umask 077; cat >\"$path\"; chmod \"$mode\" \"$path\"; echo done by \"$label\"";
    let asked = || {
        ask(vec![
            question(Collector::Stat, text(path.to_str().unwrap())),
            question(Collector::Digest, text(path.to_str().unwrap())),
        ])
    };
    let long = Duration::from_secs(30);
    let stamp = stamped("aa");
    let applied = apply(
        &stack,
        &effect(script, Some("{{ content }}"), long),
        &values,
        asked(),
        Some(&stamp),
        false,
    );
    assert_eq!(applied.ended, Ended::Well, "{applied:?}");
    assert_eq!(applied.output, "out\nerr\ndone by test:step");
    assert_eq!(applied.says, ["half way"]);
    assert_eq!(applied.stamped, Some(Ok(())));
    let found = applied.found.unwrap();
    assert_eq!(found.stamp, Some(stamp));
    let facts = found.facts.unwrap();
    assert_eq!(
        (fact(&facts, "mode"), fact(&facts, "kind")),
        ("0600", "file")
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&stack.stamp()), 0o600);
    assert_eq!(mode(stack.stamp().parent().unwrap()), 0o700);

    let gone = apply(
        &stack,
        &effect("rm -f -- \"$path\"", None, long),
        &values,
        asked(),
        None,
        false,
    );
    let found = gone.found.unwrap();
    assert_eq!(
        (fact(&found.facts.unwrap(), "kind"), found.stamp),
        ("absent", None)
    );
}

#[test]
fn a_failed_apply_says_why_and_leaves_no_stamp_that_lies() {
    let stack = Stack::new("fail");
    let long = Duration::from_secs(30);
    let secret = Values::from_iter([(
        "pass".to_owned(),
        Value::Secret("hunter2hunter2".to_owned().into()),
    )]);
    let first = apply(
        &stack,
        &effect("true", None, long),
        &secret,
        ask(vec![]),
        Some(&stamped("aa")),
        true,
    );
    assert_eq!(first.found.unwrap().stamp, Some(stamped("aa")));

    let script = "echo \"using $pass\"; echo nearly; false; echo never";
    let kept = apply(
        &stack,
        &effect(script, None, long),
        &secret,
        ask(vec![]),
        Some(&stamped("bb")),
        false,
    );
    assert_eq!(kept.ended, Ended::Status(1));
    assert_eq!(kept.output, "using [redacted]\nnearly");
    assert!(kept.found.is_none() && kept.stamped.is_none());
    assert_eq!(
        Stamp::decode(&fs::read_to_string(stack.stamp()).unwrap()),
        Some(stamped("aa"))
    );

    let lost = apply(
        &stack,
        &effect(script, None, long),
        &secret,
        ask(vec![]),
        Some(&stamped("bb")),
        true,
    );
    assert_eq!(lost.ended, Ended::Status(1));
    assert_eq!(
        Stamp::decode(&fs::read_to_string(stack.stamp()).unwrap()),
        None
    );

    let broken = apply(
        &stack,
        &effect("if then", None, long),
        &secret,
        ask(vec![]),
        None,
        false,
    );
    assert_eq!(broken.ended, Ended::Status(2));
    assert!(broken.output.contains("Syntax error"), "{}", broken.output);

    let loud = apply(
        &stack,
        &effect(
            "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; exit 7",
            None,
            long,
        ),
        &secret,
        ask(vec![]),
        None,
        false,
    );
    assert_eq!(loud.ended, Ended::Status(7));
    assert!(
        loud.output.len() <= 4096
            && loud.output.starts_with("line ")
            && loud.output.ends_with("line 2999")
    );
}

#[test]
fn a_script_that_hangs_is_killed_with_all_its_children() {
    let stack = Stack::new("hang");
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let values = Values::from_iter([("pids".to_owned(), text(pids.to_str().unwrap()))]);
    let script = "trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ >>\"$1\"; sleep 1000' sh \"$pids\" &\necho $$ >>\"$pids\"\necho waiting\nsleep 1000; wait; sleep 1000";
    let started = Instant::now();
    let hung = apply(
        &stack,
        &effect(script, None, Duration::from_secs(1)),
        &values,
        ask(vec![]),
        None,
        false,
    );
    assert_eq!(hung.ended, Ended::TookTooLong, "{hung:?}");
    assert_eq!(hung.output, "waiting");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = state
            .rsplit(") ")
            .next()
            .is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'));
        assert!(zombie, "{pid} lives on: {state}");
    }
}

#[test]
fn what_a_script_leaves_running_does_not_hold_the_answer_up() {
    let stack = Stack::new("daemon");
    let started = Instant::now();
    let left = apply(
        &stack,
        &effect("sleep 1000 & echo ok", None, Duration::from_secs(60)),
        &Values::new(),
        ask(vec![]),
        None,
        false,
    );
    assert_eq!((left.ended, left.output.as_str()), (Ended::Well, "ok"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn secrets_stand_in_no_command_line_and_no_environment() {
    let stack = Stack::new("secret");
    let needle = format!("canary-{}-{}", std::process::id(), "0123456789");
    let values = Values::from_iter([("pass".to_owned(), Value::Secret(needle.clone().into()))]);
    let look = "printf '%s' \"$pass\" | grep -lzaFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || echo \"nowhere=${#pass}\"";
    let line = Question {
        secret: true,
        ..question(
            Collector::Line,
            map([
                ("path", text("/etc/passwd")),
                ("line", Value::Secret(needle.clone().into())),
            ]),
        )
    };
    let asked = Ask {
        questions: vec![line],
        ..script(look, &values, Duration::from_secs(20))
    };
    let applied = apply(
        &stack,
        &effect(
            &format!("cat >/dev/null; {look}"),
            Some("{{ pass }}"),
            Duration::from_secs(20),
        ),
        &values,
        asked,
        Some(&stamped("aa")),
        false,
    );
    let wanted = format!("nowhere={}", needle.len());
    assert_eq!(applied.output, wanted);
    let found = applied.found.unwrap().facts.unwrap();
    assert_eq!(fact(&found, "nowhere"), needle.len().to_string());
    assert!(
        !format!("{found:?}").contains("nowhere\": Text"),
        "{found:?}"
    );

    let secret_path = Question {
        secret: true,
        ..question(Collector::Stat, Value::Secret(needle.clone().into()))
    };
    let refused = observe(vec![ask(vec![secret_path])])
        .facts
        .remove(0)
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the subject of `stat` is secret, and would stand in a command line"
    );
}

#[test]
fn an_answer_that_is_cut_short_is_a_fault_never_a_wrong_fact() {
    let path = text("/etc/passwd");
    let asks = [
        ask(vec![question(Collector::Stat, path.clone())]),
        ask(vec![question(Collector::Digest, path)]),
        ask(vec![question(Collector::Package, text("dpkg"))]),
        script("echo a=1; echo b=2", &Values::new(), Duration::from_secs(9)),
    ];
    let batch = Batch::new(asks.map(Arc::new), None, nonce());
    let whole = run(batch.program());
    let right: Vec<Facts> = batch
        .read(&whole)
        .facts
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for length in 0..whole.stdout.len() {
        let reply = Reply {
            stdout: whole.stdout[..length].to_vec(),
            ..whole.clone()
        };
        for (facts, right) in batch.read(&reply).facts.iter().zip(&right) {
            assert!(
                facts.is_err() || facts.as_ref() == Ok(right),
                "{length}: {facts:?}"
            );
        }
    }
}

/// What a host of some size asks: files with content, packages, units, accounts, lines, kernel, a port and scripts.
fn forty_steps() -> Vec<Ask> {
    let mut asks = Vec::new();
    for file in [
        "passwd",
        "group",
        "hosts",
        "hostname",
        "fstab",
        "os-release",
        "shells",
        "services",
        "profile",
        "shadow",
        "gone",
    ] {
        let path = || text(format!("/etc/{file}"));
        asks.push(ask(vec![
            question(Collector::Stat, path()),
            question(Collector::Digest, path()),
        ]));
    }
    for package in ["dpkg", "coreutils", "curl", "no-such-package"] {
        asks.push(ask(vec![question(Collector::Package, text(package))]));
    }
    for unit in ["ssh", "cron", "chrony", "openbao"] {
        asks.push(ask(vec![question(Collector::Unit, text(unit))]));
        let paths = Value::List(vec![text("/etc/passwd"), text("/etc/hosts")]);
        asks.push(ask(vec![question(
            Collector::Fresh,
            map([("unit", text(unit)), ("paths", paths)]),
        )]));
    }
    for name in ["root", "daemon", "openbao"] {
        asks.push(ask(vec![question(Collector::User, text(name))]));
        asks.push(ask(vec![question(Collector::Group, text(name))]));
    }
    for line in ["127.0.0.1 localhost", "::1 localhost"] {
        asks.push(ask(vec![question(
            Collector::Line,
            map([("path", text("/etc/hosts")), ("line", text(line))]),
        )]));
    }
    for key in ["vm.swappiness", "net.ipv4.ip_forward"] {
        asks.push(ask(vec![question(Collector::Sysctl, text(key))]));
    }
    for module in ["overlay", "br_netfilter"] {
        asks.push(ask(vec![question(Collector::Module, text(module))]));
    }
    asks.push(ask(vec![question(Collector::Port, text("22"))]));
    asks.push(ask(vec![question(
        Collector::Content,
        text("/etc/hostname"),
    )]));
    let mut values = Values::new();
    for name in ["one", "two", "three"] {
        values.insert("name".to_owned(), text(name));
        asks.push(script(
            "[ -e \"/run/$name\" ] && echo there=yes || echo there=no",
            &values,
            Duration::from_secs(5),
        ));
    }
    assert_eq!(asks.len(), 40);
    asks
}

#[test]
fn forty_steps_start_a_handful_of_processes() {
    for host in 1..=3 {
        let batch = Batch::new(
            forty_steps().into_iter().map(Arc::new),
            Some("/var/lib/foundry/none/stamps"),
            nonce(),
        );
        // In a process namespace of its own the last process number tells how many there were: one is the outer shell.
        let outer =
            "sh -c 'eval \"$(cat)\"'; read -r _ _ _ _ last </proc/loadavg; echo \"last $last\" >&2";
        let mut child = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--mount-proc",
                "--map-root-user",
                "sh",
                "-c",
                outer,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(batch.program().text.expose().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let last: u32 = said.trim().rsplit("last ").next().unwrap().parse().unwrap();
        let reply = Reply {
            stdout: output.stdout,
            stderr: output.stderr,
            status: output.status.code(),
        };
        let answer = batch.read(&reply);
        let facts = answer.host.unwrap();
        println!(
            "host {host}: 40 steps, 1 program, {} processes ({} KiB sent)",
            last - 1,
            batch.program().text.expose().len() / 1024
        );
        assert_eq!(
            facts.processes,
            last - 1,
            "the program counts what it starts"
        );
        assert!(facts.processes <= 25);
        let answered = answer.facts.iter().filter(|facts| facts.is_ok()).count();
        assert!(answered >= 32, "{:?}", answer.facts);
    }
}
