//! Journals as hosts write them, and every way to falsify one.

use proptest::prelude::*;

use super::*;
use crate::probe::journal_check;

/// A journal in the making, by the rules of `journal.sh`.
struct Writer {
    files: Vec<JournalFile>,
    full: usize,
    time: i64,
}

impl Writer {
    fn new(full: usize) -> Self {
        Self {
            files: vec![JournalFile {
                number: 1,
                content: Vec::new(),
            }],
            full,
            time: 1_796_030_195,
        }
    }

    fn add(&mut self, text: &str) {
        let file = self.files.last_mut().unwrap();
        file.content.extend_from_slice(text.as_bytes());
        file.content.push(b'\n');
    }

    fn line(&mut self, event: &str, number: u32, status: Option<i64>) {
        let fields = format!(
            "\"run\":\"20261130-201455-ab12\",\"by\":\"ada@desk\",\"n\":{number},\"step\":\"demo:s{number}@h0\",\"key\":\"00ff\",\"before\":\"changed\""
        );
        let check = journal_check(event, &fields, self.time, status.unwrap_or(0));
        let status = status
            .map(|s| format!(",\"status\":{s}"))
            .unwrap_or_default();
        let time = shown(self.time);
        self.add(&format!(
            "{{\"event\":\"{event}\",\"time\":\"{time}\",{fields}{status},\"check\":{check}}}"
        ));
        self.time += 1;
    }

    /// A program with these entries, and its seal.
    fn program(&mut self, entries: Range<u32>) -> Head {
        self.add("");
        for number in entries {
            self.line("began", number, None);
            self.line("ended", number, Some(i64::from(number % 3)));
        }
        let file = self.files.last().unwrap();
        let head = Head {
            file: file.number,
            bytes: file.content.len() as u64,
            sha256: hex::encode(Sha256::digest(&file.content)),
        };
        if file.content.len() >= self.full {
            let number = file.number + 1;
            self.files.push(JournalFile {
                number,
                content: Vec::new(),
            });
        }
        let time = shown(self.time);
        self.add(&format!(
            "{{\"event\":\"seal\",\"time\":\"{time}\",\"file\":\"{:06}\",\"bytes\":{},\"sha256\":\"{}\"}}",
            head.file, head.bytes, head.sha256
        ));
        head
    }
}

fn written(sizes: &[u32], full: usize) -> (Vec<JournalFile>, Vec<Remembered>) {
    let mut writer = Writer::new(full);
    let mut from = 1;
    let mut remembered = Vec::new();
    for (at, size) in sizes.iter().enumerate() {
        let head = writer.program(from..from + size);
        from += size;
        remembered.push(Remembered {
            run: format!("run-{at}"),
            head,
        });
    }
    (writer.files, remembered)
}

/// Returns the lines of a file, each with its line break.
fn split(file: &JournalFile) -> Vec<Vec<u8>> {
    file.content
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn problems(files: &[JournalFile], remembered: &[Remembered]) -> Vec<String> {
    check(files, remembered)
        .problems
        .iter()
        .map(|problem| {
            let Place { file, line, last } = problem.place;
            format!("{file}:{line}-{last} {}", problem.what)
        })
        .collect()
}

#[test]
fn a_journal_as_it_was_written_is_right() {
    let (files, remembered) = written(&[1, 3, 2, 4, 1], 1500);
    assert!(files.len() > 2, "{}", files.len());
    let checked = check(&files, &remembered);
    assert_eq!(checked.problems, []);
    assert_eq!((checked.seals, checked.unsealed), (5, 0));
    assert_eq!((checked.lines, checked.compared), (2 * 11 + 5, 5));
}

/// What the cases below have: blank line 1, entry 1 on 2 and 3, seal 4; blank 5, entries 2 and 3 on 6 to 9, seal 10; blank
/// 11, entry 4 on 12 and 13, seal 14.
fn three_programs() -> (Vec<JournalFile>, Vec<Remembered>) {
    written(&[1, 2, 1], 1 << 20)
}

#[test]
fn each_falsification_is_named_by_its_line() {
    type Falsify = fn(&mut Vec<Vec<u8>>);
    let cases: [(&str, Falsify, &str); 9] = [
        (
            "a word altered",
            |lines| {
                let line = String::from_utf8(lines[6].clone()).unwrap();
                lines[6] = line.replace("ada@desk", "eve@desk").into_bytes();
            },
            "1:7-7 altered: its checksum is another's (changed after",
        ),
        (
            "a status altered",
            |lines| {
                let line = String::from_utf8(lines[6].clone()).unwrap();
                lines[6] = line.replace("\"status\":2", "\"status\":0").into_bytes();
            },
            "1:7-7 altered: its checksum is another's (changed after",
        ),
        (
            "a time altered",
            |lines| {
                let line = String::from_utf8(lines[7].clone()).unwrap();
                lines[7] = line.replace("2026-11-30", "2026-11-29").into_bytes();
            },
            "1:8-8 altered: its checksum is another's (changed after",
        ),
        (
            "a line overwritten",
            |lines| lines[6] = b"nothing to see here\n".to_vec(),
            "1:7-7 altered: it is no line of a journal (changed after",
        ),
        (
            "a beginning taken out",
            |lines| {
                lines.remove(5);
            },
            "1:6-6 a line before it is missing: this entry ends and has not begun (changed after",
        ),
        (
            "an end taken out",
            |lines| {
                lines.remove(6);
            },
            "1:4-8 not as it was written, says the seal on line 9: altered, put in, moved or missing (changed after",
        ),
        (
            "two lines swapped",
            |lines| lines.swap(5, 6),
            "1:6-6 a line before it is missing",
        ),
        (
            "a line twice",
            |lines| {
                let line = lines[6].clone();
                lines.insert(7, line);
            },
            "1:8-8 put in: this entry has ended already (changed after",
        ),
        (
            "a seal altered",
            |lines| {
                let line = String::from_utf8(lines[9].clone()).unwrap();
                lines[9] = line.replace("\"bytes\":", "\"bytes\":1").into_bytes();
            },
            "1:4-13 not as it was written, says the seal on line 14",
        ),
    ];
    for (what, falsify, wanted) in cases {
        let (mut files, _) = three_programs();
        let mut lines = split(&files[0]);
        falsify(&mut lines);
        files[0].content = lines.concat();
        let found = problems(&files, &[]);
        assert!(
            found.iter().any(|problem| problem.starts_with(wanted)),
            "{what}: {found:#?}"
        );
    }
}

#[test]
fn a_change_made_long_ago_is_told_with_the_time_between_two_seals() {
    let mut writer = Writer::new(1 << 20);
    writer.program(1..2);
    writer.program(2..4);
    let mut lines = split(&writer.files[0]);
    lines[2] = String::from_utf8(lines[2].clone())
        .unwrap()
        .replace("ada@desk", "eve@desk")
        .into_bytes();
    writer.files[0].content = lines.concat();
    // The next program seals what it finds.
    writer.program(4..5);
    let found = problems(&writer.files, &[]);
    assert_eq!(
        found,
        [
            "1:3-3 altered: its checksum is another's (changed between 2026-11-30T09:16:41Z and 2026-11-30T09:16:43Z)"
        ]
    );
}

#[test]
fn a_cut_end_is_found_by_what_a_run_remembers_and_by_nothing_else() {
    let (mut files, remembered) = three_programs();
    let lines = split(&files[0]);
    files[0].content = lines[..10].concat();
    assert_eq!(problems(&files, &[]), [""; 0]);
    let length = files[0].content.len();
    assert_eq!(
        problems(&files, &remembered),
        [format!(
            "1:10-10 cut after this line: run run-2 left {} bytes of the file, and {length} are there",
            remembered[2].head.bytes
        )]
    );
    assert_eq!(
        problems(&[], &remembered),
        [format!(
            "1:0-0 there is no journal at all; run run-2 left {} bytes of this file",
            remembered[2].head.bytes
        )]
    );
}

#[test]
fn a_chain_made_anew_is_found_by_what_a_run_remembers() {
    let (_, remembered) = three_programs();
    // The same, but without entry 3, and all seals as they ought to be.
    let mut writer = Writer::new(1 << 20);
    writer.program(1..2);
    writer.program(2..3);
    writer.program(4..5);
    writer.program(5..9);
    assert_eq!(problems(&writer.files, &[]), [""; 0]);
    let found = problems(&writer.files, &remembered);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0]
            .contains("not what run run-1 left there, though its seals fit: they were made anew"),
        "{found:#?}"
    );
}

#[test]
fn missing_files_are_named_and_dropped_ones_are_not() {
    let (files, remembered) = written(&[4; 9], 1000);
    assert!(files.len() > 6, "{}", files.len());
    let mut some = files.clone();
    some.remove(2);
    assert!(problems(&some, &[]).contains(&"3:0-0 the file is missing".to_owned()));
    let late = files[2..].to_vec();
    assert!(problems(&late, &[])[0].starts_with("2:0-0 this file and those before it are missing"));
    let early = files[..3].to_vec();
    let found = problems(&early, &remembered);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("the file is missing; run")),
        "{found:#?}"
    );

    let (files, remembered) = written(&[4; 80], 1000);
    let kept = files[files.len() - 64..].to_vec();
    let checked = check(&kept, &remembered);
    assert_eq!(checked.problems, []);
    assert!(checked.dropped > 0 && checked.compared > 60, "{checked:?}");
}

#[test]
fn a_line_that_a_host_was_cut_off_in_is_no_falsification() {
    let mut writer = Writer::new(1 << 20);
    writer.program(1..2);
    writer.add("");
    writer.line("began", 2, None);
    let file = writer.files.last_mut().unwrap();
    let half = file.content.len() - 40;
    file.content.truncate(half);
    writer.program(3..4);
    let checked = check(&writer.files, &[]);
    assert_eq!(checked.problems, []);
    assert_eq!(checked.torn.len(), 1);
}

/// What is done to a journal.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        index().prop_map(Change::Remove),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        (index(), index()).prop_map(|(a, b)| Change::Copy(a, b)),
        index().prop_map(Change::Cut),
    ]
}

fn changed(file: &JournalFile, change: &Change) -> Vec<u8> {
    let mut lines = split(file);
    match change {
        Change::Byte(at, byte) => {
            let mut content = file.content.clone();
            let at = at.index(content.len());
            content[at] = *byte;
            return content;
        }
        Change::Cut(at) => return file.content[..at.index(file.content.len())].to_vec(),
        Change::Remove(at) => {
            lines.remove(at.index(lines.len()));
        }
        Change::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Change::Copy(from, to) => {
            let line = lines[from.index(lines.len())].clone();
            let to = to.index(lines.len() + 1);
            lines.insert(to, line);
        }
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any change of what a run remembers is found, whatever becomes of the seals.
    #[test]
    fn no_change_of_what_is_remembered_is_missed(
        sizes in prop::collection::vec(1_u32..5, 1..12),
        which in any::<prop::sample::Index>(),
        change in change(),
    ) {
        let (mut files, remembered) = written(&sizes, 2000);
        let at = which.index(files.len());
        let before = files[at].content.clone();
        files[at].content = changed(&files[at], &change);
        let known = remembered.iter().filter(|one| one.head.file == files[at].number).map(|one| one.head.bytes).max().unwrap_or(0);
        let known = usize::try_from(known).unwrap();
        let same = before.get(..known) == files[at].content.get(..known);
        let found = problems(&files, &remembered);
        prop_assert!(same || !found.is_empty(), "{change:?}");
        // Nothing is made up either.
        prop_assert!(before != files[at].content || found.is_empty(), "{found:?}");
    }

    /// Of what is sealed in a later file any change is found without what runs remember.
    #[test]
    fn no_change_of_what_is_sealed_is_missed(
        sizes in prop::collection::vec(2_u32..5, 8..12),
        change in change(),
    ) {
        let (mut files, _) = written(&sizes, 2000);
        prop_assume!(files.len() > 1);
        let before = files[0].content.clone();
        files[0].content = changed(&files[0], &change);
        let found = problems(&files, &[]);
        // What is added after the last of its seals is what nobody has sealed.
        let same = files[0].content.starts_with(&before);
        prop_assert_eq!(same, found.is_empty(), "{:?} {:?}", change, found);
        prop_assert!(found.iter().all(|problem| problem.starts_with("1:")), "{:?}", found);
    }

    /// Whatever hosts answer, reading it comes to an end.
    #[test]
    fn any_bytes_are_read(content in prop::collection::vec(any::<u8>(), 0..2000), number in 0_u32..4) {
        let files = [JournalFile { number, content }];
        let _ = check(&files, &[]);
    }
}
