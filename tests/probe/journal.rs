//! What programs enter into the journal of a host, on a real shell.

use foundry::probe::{Author, Entered, Entry, Head, JOURNAL_FILE, Journal, journal_folder};
use foundry::run::journal::{JournalFile, Remembered, Result, check, entries};

use super::*;

/// A stack of this test alone, whose folder on this machine goes with it.
struct Stack(String);

impl Stack {
    fn new(name: &str) -> Self {
        Self(format!("journal-test-{name}-{}", std::process::id()))
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(journal_folder(&self.0))
    }

    fn journal(&self, run: &str, by: &str) -> Journal {
        // The clock that the machine had when it booted, as a probe finds it.
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: i64 = uptime.split('.').next().unwrap().parse().unwrap();
        Journal {
            stack: self.0.as_str().into(),
            author: Arc::new(Author {
                run: run.to_owned(),
                by: by.to_owned(),
            }),
            booted: Some(now() - uptime),
        }
    }

    fn files(&self) -> Vec<JournalFile> {
        let mut files: Vec<JournalFile> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                JournalFile {
                    number: path.file_stem().unwrap().to_str().unwrap().parse().unwrap(),
                    content: fs::read(path).unwrap(),
                }
            })
            .collect();
        files.sort_by_key(|file| file.number);
        files
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.0));
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

fn entry(number: u32, step: &str) -> Entry {
    Entry {
        number,
        step: step.to_owned(),
        key: "00ff".to_owned(),
        before: "changed".to_owned(),
    }
}

/// Runs scripts as one program and returns what came of each, and how far the journal has come.
fn apply(
    stack: &Stack,
    journal: Journal,
    scripts: &[(&str, Entry)],
) -> (Vec<Applied>, Option<Head>) {
    let mut program = Applications::new(&stack.0, nonce(), None)
        .entered(journal)
        .unwrap();
    let values = Values::new();
    for (script, entry) in scripts {
        let effect = Effect {
            script: Some((*script).to_owned()),
            stdin: None,
            action: None,
            timeout: Duration::from_secs(1),
            tries: 1,
        };
        let job = Job {
            effect: &effect,
            values: &values,
            ask: ask(Vec::new()),
            stack: &stack.0,
            stamp: None,
            by_stamp: false,
        };
        program.enter(job, entry).unwrap();
    }
    let application = program.finish();
    let reply = run(application.program());
    (application.read_all(&reply), application.head(&reply))
}

#[test]
fn each_script_has_an_entry_that_says_how_it_ended() {
    let stack = Stack::new("entries");
    let hostile = "demo:it's \"odd\" $HOME `id`\n\u{1b}]0;x\u{7}@h0";
    let before = now();
    let (applied, head) = apply(
        &stack,
        stack.journal("run-1", "ada@desk"),
        &[
            ("true", entry(1, "demo:good@h0")),
            ("exit 7", entry(2, hostile)),
            ("sleep 60", entry(3, "demo:slow@h0")),
        ],
    );
    let ended: Vec<Ended> = applied.iter().map(|applied| applied.ended).collect();
    assert_eq!(ended, [Ended::Well, Ended::Status(7), Ended::TookTooLong]);
    let files = stack.files();
    let entries = entries(&files);
    let told: Vec<(u32, &str, Result)> = entries
        .iter()
        .map(|entry| (entry.said.number, entry.said.step.as_str(), entry.result))
        .collect();
    assert_eq!(
        told,
        [
            (1, "demo:good@h0", Result::Done),
            (2, hostile, Result::Failed(7)),
            (3, "demo:slow@h0", Result::TimedOut),
        ]
    );
    let said = &entries[0].said;
    assert_eq!(
        (
            said.run.as_str(),
            said.by.as_str(),
            said.key.as_str(),
            said.before.as_str()
        ),
        ("run-1", "ada@desk", "00ff", "changed")
    );
    // The clock is reckoned from the time of the boot.
    assert!((said.time - before).abs() <= 2, "{} {before}", said.time);

    let head = head.unwrap();
    let (_, second) = apply(
        &stack,
        stack.journal("run-2", "bob@laptop"),
        &[("true", entry(1, "demo:good@h0"))],
    );
    let remembered = [head, second.unwrap()].map(|head| Remembered {
        run: "one".to_owned(),
        head,
    });
    let checked = check(&stack.files(), &remembered);
    assert_eq!(checked.problems, []);
    assert_eq!((checked.lines, checked.seals), (2 * 4 + 2, 2));
    assert_eq!((checked.compared, checked.unsealed), (2, 0));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&stack.folder()), 0o700);
    assert_eq!(mode(&stack.folder().join("000001.jsonl")), 0o600);
}

#[test]
fn a_script_that_can_not_be_entered_is_not_begun() {
    let stack = Stack::new("unwritable");
    let folder = stack.folder();
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let mark = tempfile::tempdir().unwrap();
    let mark = mark.path().join("ran");
    let script = format!("touch {}", mark.display());
    let (applied, head) = apply(
        &stack,
        stack.journal("run-1", "ada@desk"),
        &[(script.as_str(), entry(1, "demo:one@h0"))],
    );
    let why = applied[0].unwritable.clone().unwrap();
    assert!(why.contains("File exists"), "{why}");
    assert!(!applied[0].begun && !mark.exists());
    assert_eq!(head, None);

    // So too for programs of actions.
    let program = Program {
        text: script.into(),
        deadline: Duration::from_secs(10),
    };
    let journal = stack.journal("run-1", "ada@desk");
    let entered = Entered::new(&program, &journal, &entry(1, "demo:one@h0"), &nonce()).unwrap();
    let refused = entered.read(run(entered.program())).err().unwrap();
    assert!(
        refused.to_string().contains("nothing was begun"),
        "{refused}"
    );
    assert!(!mark.exists());
}

#[test]
fn a_full_disk_is_called_one() {
    let stack = Stack::new("full");
    let folder = stack.folder();
    fs::create_dir_all(&folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4k", "none"])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(mounted.success());
    fs::write(folder.join("ballast"), [0; 4096]).unwrap();
    let (applied, _) = apply(
        &stack,
        stack.journal("run-1", "ada@desk"),
        &[("true", entry(1, "demo:one@h0"))],
    );
    let _ = Command::new("umount").arg(&folder).status();
    assert_eq!(applied[0].unwritable.as_deref(), Some("the disk is full"));
}

#[test]
fn programs_of_actions_enter_themselves_and_answer_as_without() {
    let stack = Stack::new("action");
    let program = Program {
        text: "set -eu\ncat\necho out; echo err >&2\nexit 3\n# no end of line"
            .to_owned()
            .into(),
        deadline: Duration::from_secs(10),
    };
    let journal = Journal {
        // Nobody has asked the host yet: it tells the time itself.
        booted: None,
        ..stack.journal("run-1", "ada@desk")
    };
    let entered = Entered::new(&program, &journal, &entry(1, "demo:act@h0"), &nonce()).unwrap();
    let told = entered.read(run(entered.program())).unwrap();
    assert_eq!(
        (told.reply.stdout.as_slice(), told.reply.status),
        (&b"out\n"[..], Some(3))
    );
    assert_eq!(told.reply.stderr, b"err\n");
    let entries = entries(&stack.files());
    assert_eq!(entries[0].result, Result::Failed(3));
    assert!((entries[0].said.time - now()).abs() <= 2);
    let remembered = [Remembered {
        run: "one".to_owned(),
        head: told.head.unwrap(),
    }];
    let checked = check(&stack.files(), &remembered);
    assert_eq!((checked.problems.len(), checked.compared), (0, 1));
}

#[test]
fn a_program_that_is_killed_leaves_what_it_began_and_the_next_seals_it() {
    let stack = Stack::new("killed");
    let (applied, _) = apply(
        &stack,
        stack.journal("run-1", "ada@desk"),
        &[(
            "kill -s KILL -- -$(ps -o sid= -p $$ | tr -d ' ')",
            entry(1, "demo:one@h0"),
        )],
    );
    assert_eq!(applied[0].ended, Ended::Cut);
    apply(
        &stack,
        stack.journal("run-2", "ada@desk"),
        &[("true", entry(1, "demo:two@h0"))],
    );
    let files = stack.files();
    let results: Vec<Result> = entries(&files).iter().map(|entry| entry.result).collect();
    assert_eq!(results, [Result::NoEnd, Result::Done]);
    let checked = check(&files, &[]);
    assert_eq!((checked.problems.len(), checked.unsealed), (0, 0));
}

#[test]
fn a_full_file_is_followed_by_another_and_the_oldest_go() {
    let stack = Stack::new("rotate");
    let folder = stack.folder();
    apply(
        &stack,
        stack.journal("run-1", "ada@desk"),
        &[("true", entry(1, "demo:one@h0"))],
    );
    // As many as are kept, the last of them full.
    let first = fs::read(folder.join("000001.jsonl")).unwrap();
    for number in 2..=64 {
        fs::write(folder.join(format!("{number:06}.jsonl")), &first).unwrap();
    }
    let mut full = first.clone();
    while (full.len() as u64) < JOURNAL_FILE {
        full.extend_from_slice(&first);
    }
    fs::write(folder.join("000064.jsonl"), &full).unwrap();
    let (_, head) = apply(
        &stack,
        stack.journal("run-2", "ada@desk"),
        &[("true", entry(1, "demo:one@h0"))],
    );
    let head = head.unwrap();
    assert_eq!(head.file, 64);
    assert!(!folder.join("000001.jsonl").exists());
    let files = stack.files();
    assert_eq!(files.len(), 64);
    assert_eq!(files.last().unwrap().number, 65);
    let next = String::from_utf8(files.last().unwrap().content.clone()).unwrap();
    assert!(
        next.starts_with("{\"event\":\"seal\"") && next.contains(&head.sha256),
        "{next}"
    );
    let (_, head) = apply(
        &stack,
        stack.journal("run-2", "ada@desk"),
        &[("true", entry(2, "demo:one@h0"))],
    );
    assert_eq!(head.unwrap().file, 65);
}

#[test]
fn programs_side_by_side_seal_each_other() {
    let stack = Stack::new("parallel");
    std::thread::scope(|scope| {
        for run in 0..8_u32 {
            let stack = &stack;
            scope.spawn(move || {
                for number in 1..=5 {
                    let journal = stack.journal(&format!("run-{run}"), "ada@desk");
                    apply(stack, journal, &[("true", entry(number, "demo:one@h0"))]);
                }
            });
        }
    });
    let files = stack.files();
    let checked = check(&files, &[]);
    assert_eq!(checked.problems, []);
    assert_eq!((checked.torn.len(), checked.seals), (0, 40));
    let done = entries(&files);
    assert_eq!(done.len(), 40);
    assert!(done.iter().all(|entry| entry.result == Result::Done));
}
