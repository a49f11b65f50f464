//! Whether a journal is as it was written: by the seals in it, and by what runs remember of it. Finds what is cut, altered,
//! put in or missing, by line. Pure; knows neither hosts nor commands.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::line::Line;
use crate::probe::{Head, JOURNAL_FILES};

/// One file of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFile {
    /// The number that it is named by.
    pub number: u32,
    /// Its content.
    pub content: Vec<u8>,
}

/// How far a run saw the journal come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remembered {
    /// Name of the run.
    pub run: String,
    /// What it saw at its end there.
    pub head: Head,
}

/// What came of looking at a whole journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Checked {
    /// Lines there are, without blank ones.
    pub lines: usize,
    /// Lines after the last seal that fits.
    pub unsealed: usize,
    /// Seals that fit.
    pub seals: usize,
    /// Number of the first file; those before it were dropped to make room.
    pub first: Option<u32>,
    /// What runs remember that was compared and fits.
    pub compared: usize,
    /// What runs remember of files that were dropped since.
    pub dropped: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Lines that are no lines but were so when they were sealed: a host went down while it wrote.
    pub torn: Vec<Place>,
}

/// A place in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Number of the file.
    pub file: u32,
    /// First line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Last line.
    pub last: usize,
}

/// Something wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What.
    pub what: String,
}

/// The lines of a file.
struct Lines {
    spans: Vec<Range<usize>>,
    read: Vec<Line>,
}

impl Lines {
    fn of(content: &[u8]) -> Self {
        let mut spans = Vec::new();
        let mut start = 0;
        while start < content.len() {
            let end = content[start..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(content.len(), |at| start + at);
            spans.push(start..end);
            start = end + 1;
        }
        let read = spans
            .iter()
            .map(|span| Line::read(&content[span.clone()]))
            .collect();
        Self { spans, read }
    }

    /// Returns how many lines begin before the byte at `at`: the number of the line that it ends, counted from 1.
    fn before(&self, at: usize) -> usize {
        self.spans.partition_point(|span| span.start < at)
    }
}

/// A seal, and where it stands.
struct Seal {
    bytes: u64,
    sha256: String,
    time: i64,
    file: u32,
    line: usize,
}

/// Looks at all files of a journal, in order, and compares them with what runs remember.
#[must_use]
pub fn check(files: &[JournalFile], remembered: &[Remembered]) -> Checked {
    let mut checked = Checked {
        first: files.first().map(|file| file.number),
        ..Checked::default()
    };
    let lines: Vec<Lines> = files.iter().map(|file| Lines::of(&file.content)).collect();
    let mut seals: BTreeMap<u32, Vec<Seal>> = BTreeMap::new();
    for (file, lines) in files.iter().zip(&lines) {
        for (at, line) in lines.read.iter().enumerate() {
            if let Line::Seal { time, head } = line {
                seals.entry(head.file).or_default().push(Seal {
                    bytes: head.bytes,
                    sha256: head.sha256.to_ascii_lowercase(),
                    time: *time,
                    file: file.number,
                    line: at + 1,
                });
            }
        }
    }
    missing_files(files, remembered, &mut checked);
    let mut order = Order::default();
    for (file, lines) in files.iter().zip(&lines) {
        let mut seals = seals.remove(&file.number).unwrap_or_default();
        seals.sort_by_key(|seal| seal.bytes);
        let of_runs: Vec<&Remembered> = remembered
            .iter()
            .filter(|remembered| remembered.head.file == file.number)
            .collect();
        One {
            file,
            lines,
            hints: order.hints(lines, file.number == 1),
        }
        .check(&seals, &of_runs, &mut checked);
    }
    checked.problems.sort_by_key(|problem| problem.place);
    checked
}

/// Finds files that are not there and were.
fn missing_files(files: &[JournalFile], remembered: &[Remembered], checked: &mut Checked) {
    let mut gone = |file: u32, what: String| {
        checked.problems.push(Problem {
            place: Place {
                file,
                line: 0,
                last: 0,
            },
            what,
        });
    };
    for pair in files.windows(2) {
        for number in pair[0].number + 1..pair[1].number {
            gone(number, "the file is missing".to_owned());
        }
    }
    let (Some(first), Some(last)) = (files.first(), files.last()) else {
        if let Some(one) = remembered.last() {
            gone(
                one.head.file,
                format!(
                    "there is no journal at all; run {} left {} bytes of this file",
                    one.run, one.head.bytes
                ),
            );
        }
        return;
    };
    // As many as are kept, but for one that is just being made.
    let kept = usize::try_from(JOURNAL_FILES).unwrap_or(usize::MAX) - 1;
    if first.number > 1 && files.len() < kept {
        gone(
            first.number - 1,
            format!("this file and those before it are missing; {JOURNAL_FILES} are kept"),
        );
    }
    let beyond = remembered
        .iter()
        .filter(|one| one.head.file > last.number)
        .max_by_key(|one| one.head.file);
    if let Some(one) = beyond {
        gone(
            one.head.file,
            format!(
                "the file is missing; run {} left {} bytes of it",
                one.run, one.head.bytes
            ),
        );
    }
    checked.dropped = remembered
        .iter()
        .filter(|one| one.head.file < first.number)
        .count();
}

/// One file on its way through.
struct One<'a> {
    file: &'a JournalFile,
    lines: &'a Lines,
    hints: Vec<(usize, &'static str)>,
}

impl One<'_> {
    fn check(&self, seals: &[Seal], remembered: &[&Remembered], checked: &mut Checked) {
        let lengths = seals.iter().map(|seal| seal.bytes);
        let prefixes = self.prefixes(lengths.chain(remembered.iter().map(|one| one.head.bytes)));
        let fits = |bytes: u64, sha256: &str| {
            prefixes
                .get(&bytes)
                .is_some_and(|prefix| prefix.eq_ignore_ascii_case(sha256))
        };
        let fitting: Vec<bool> = seals
            .iter()
            .map(|seal| fits(seal.bytes, &seal.sha256))
            .collect();
        checked.seals += fitting.iter().filter(|fits| **fits).count();
        let mut suspect = vec![false; self.lines.read.len()];
        let mut good = 0;
        let mut at = 0;
        while at < seals.len() {
            if fitting[at] {
                good = seals[at].bytes;
                at += 1;
                continue;
            }
            let more = fitting[at..].iter().position(|fits| *fits);
            let next = more.map(|more| &seals[at + more]);
            let end = more.map_or(seals.len(), |more| at + more);
            self.broken(good, &seals[at..end], next, &mut suspect, checked);
            at = end;
        }
        self.by_line(good, &suspect, checked);
        self.remembered(remembered, &fits, good, checked);
    }

    /// Returns the digests of the file's first bytes, for each of `lengths` that it has.
    fn prefixes(&self, lengths: impl Iterator<Item = u64>) -> HashMap<u64, String> {
        let content = &self.file.content;
        let mut wanted: Vec<usize> = lengths
            .filter_map(|length| usize::try_from(length).ok())
            .filter(|length| *length <= content.len())
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut hasher = Sha256::new();
        let mut from = 0;
        let mut prefixes = HashMap::new();
        for to in wanted {
            hasher.update(&content[from..to]);
            from = to;
            prefixes.insert(to as u64, hex::encode(hasher.clone().finalize()));
        }
        prefixes
    }

    /// Tells what is wrong where `seals`, one after the other, fit no more; `good` bytes do, and so does the seal `next`.
    fn broken(
        &self,
        good: u64,
        seals: &[Seal],
        next: Option<&Seal>,
        suspect: &mut [bool],
        checked: &mut Checked,
    ) {
        let (Some(first), Some(latest)) = (seals.first(), seals.last()) else {
            return;
        };
        let here = |seal: &Seal| seal.file == self.file.number;
        let count = self.lines.read.len();
        let last_of = |seal: &Seal| if here(seal) { seal.line - 1 } else { count };
        let from = self
            .lines
            .before(usize::try_from(good).unwrap_or(usize::MAX))
            + 1;
        let upto = last_of(first).max(from.min(count));
        let widest = last_of(latest).max(upto);
        let when = match next {
            Some(next) => format!(
                "changed between {} and {}",
                shown(latest.time),
                shown(next.time)
            ),
            None => format!("changed after {}", shown(latest.time)),
        };
        let by = if here(first) {
            format!("the seal on line {}", first.line)
        } else {
            format!("the seal of this file, on line {} of the next", first.line)
        };
        let length = self.file.content.len() as u64;
        if first.bytes > length {
            checked.problems.push(self.problem(
                from.min(count),
                count,
                format!(
                    "cut or shortened: {by} holds {} bytes, and {length} are there ({when})",
                    first.bytes
                ),
            ));
        }
        let found = self.suspects(from..=widest);
        for (line, what) in &found {
            suspect[line - 1] = true;
            checked
                .problems
                .push(self.problem(*line, *line, format!("{what} ({when})")));
        }
        if found.iter().all(|(line, _)| *line > upto) && first.bytes <= length {
            checked.problems.push(self.problem(
                from.min(upto),
                upto,
                format!(
                    "not as it was written, says {by}: altered, put in, moved or missing ({when})"
                ),
            ));
        }
    }

    /// Returns lines of a range that are wrong by themselves or in their place.
    fn suspects(&self, range: std::ops::RangeInclusive<usize>) -> Vec<(usize, &'static str)> {
        let mut found: Vec<(usize, &'static str)> = Vec::new();
        for (at, line) in self.lines.read.iter().enumerate() {
            let what = match line {
                Line::Altered => "altered: its checksum is another's",
                Line::Garbled => "altered: it is no line of a journal",
                _ => continue,
            };
            found.push((at + 1, what));
        }
        found.extend(&self.hints);
        found.retain(|(line, _)| range.contains(line));
        found.sort_unstable_by_key(|(line, _)| *line);
        found.dedup_by_key(|(line, _)| *line);
        found
    }

    /// Counts the lines, and tells of those that are wrong by themselves; `good` bytes are sealed.
    fn by_line(&self, good: u64, suspect: &[bool], checked: &mut Checked) {
        for (at, line) in self.lines.read.iter().enumerate() {
            let (place, known) = (at + 1, suspect[at]);
            let sealed = (self.lines.spans[at].end as u64) < good;
            match line {
                Line::Blank => continue,
                Line::Altered if !known => checked.problems.push(self.problem(
                    place,
                    place,
                    "altered before it was sealed: its checksum is another's".to_owned(),
                )),
                Line::Garbled if !known => checked.torn.push(Place {
                    file: self.file.number,
                    line: place,
                    last: place,
                }),
                _ => {}
            }
            checked.lines += 1;
            if !sealed && !matches!(line, Line::Seal { .. }) {
                checked.unsealed += 1;
            }
        }
    }

    /// Compares with what runs remember.
    fn remembered(
        &self,
        remembered: &[&Remembered],
        fits: &dyn Fn(u64, &str) -> bool,
        good: u64,
        checked: &mut Checked,
    ) {
        let (fitting, wrong): (Vec<&Remembered>, Vec<&Remembered>) = remembered
            .iter()
            .copied()
            .partition(|one| fits(one.head.bytes, &one.head.sha256));
        checked.compared += fitting.len();
        let Some(first) = wrong.iter().min_by_key(|one| one.head.bytes) else {
            return;
        };
        let length = self.file.content.len() as u64;
        let seen = fitting
            .iter()
            .map(|one| one.head.bytes)
            .filter(|bytes| *bytes < first.head.bytes)
            .max();
        let line = |bytes: u64| {
            self.lines
                .before(usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let last = line(first.head.bytes.min(length));
        let from = (line(seen.unwrap_or(0)) + 1).min(last.max(1));
        let told = |problem: &Problem| {
            let place = problem.place;
            place.file == self.file.number && (1..=last).contains(&place.line)
        };
        if first.head.bytes <= length && checked.problems.iter().any(told) {
            return;
        }
        checked.problems.push(if first.head.bytes > length {
            self.problem(
                last,
                last,
                format!(
                    "cut after this line: run {} left {} bytes of the file, and {length} are there",
                    first.run, first.head.bytes
                ),
            )
        } else {
            let how = if first.head.bytes <= good {
                ", though its seals fit: they were made anew"
            } else {
                ""
            };
            self.problem(
                from,
                last,
                format!("not what run {} left there{how}", first.run),
            )
        });
    }

    fn problem(&self, line: usize, last: usize, what: String) -> Problem {
        Problem {
            place: Place {
                file: self.file.number,
                line,
                last,
            },
            what,
        }
    }
}

/// Follows entries over all files, for what their order tells.
#[derive(Default)]
struct Order {
    open: HashSet<(String, u32)>,
    done: HashSet<(String, u32)>,
    latest: HashMap<String, i64>,
}

/// Seconds by which lines of one run may stand before earlier ones: programs at work side by side read the clock before
/// they write.
const SIDE_BY_SIDE: i64 = 2;

impl Order {
    /// Returns the lines that can't stand where they do. `whole`: nothing came before this file.
    fn hints(&mut self, lines: &Lines, whole: bool) -> Vec<(usize, &'static str)> {
        let mut found = Vec::new();
        // Whatever a line that can't be read has begun may end after it.
        let mut unread = false;
        for (at, line) in lines.read.iter().enumerate() {
            let (said, begins) = match line {
                Line::Began(said) => (said, true),
                Line::Ended(said, _) => (said, false),
                Line::Altered | Line::Garbled => {
                    unread = true;
                    continue;
                }
                Line::Seal { .. } | Line::Blank => continue,
            };
            let entry = (said.run.clone(), said.number);
            let latest = self.latest.entry(said.run.clone()).or_insert(said.time);
            if said.time + SIDE_BY_SIDE < *latest {
                found.push((at + 1, "out of its place: it is older than lines before it"));
            }
            *latest = (*latest).max(said.time);
            if begins {
                if self.open.contains(&entry) || self.done.contains(&entry) {
                    found.push((at + 1, "put in or moved: this entry has begun already"));
                }
                self.open.insert(entry);
            } else if self.open.remove(&entry) {
                self.done.insert(entry);
            } else if self.done.contains(&entry) {
                found.push((at + 1, "put in: this entry has ended already"));
            } else {
                self.done.insert(entry);
                if whole && !unread {
                    found.push((
                        at + 1,
                        "a line before it is missing: this entry ends and has not begun",
                    ));
                }
            }
        }
        found
    }
}

/// Returns a moment as it stands in the lines.
fn shown(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |at| at.to_string())
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
