//! Probe programs on a real shell, as root where that matters, against the real file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use foundry::catalog::{Collector, Value, Values};
use foundry::probe::{
    Answer, Ask, Batch, Fact, Facts, Fault, Nonce, ProbeScript, Program, Question, Reply,
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
    let batch = Batch::new(asks, None, nonce());
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
