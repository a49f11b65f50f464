//! Applying, stamping and looking again in one round trip.

use super::*;

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
        public: Some("ab".to_owned()),
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
    let application = Application::new(job, nonce(), None).unwrap();
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
    assert_eq!(found.stamp.as_deref(), Some(&stamp));
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
    assert_eq!(first.found.unwrap().stamp, Some(Arc::new(stamped("aa"))));

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
    let refused = super::look(vec![ask(vec![secret_path])])
        .facts
        .remove(0)
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the subject of `stat` is secret, and would stand in a command line"
    );
}
