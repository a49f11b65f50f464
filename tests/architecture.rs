//! Holds the sources to the rules of docs/architecture.md. Reads text; does not know what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most lines of a source file.
const MOST_LINES: usize = 800;

/// Rooms that only compute.
const PURE: [&str; 5] = ["config", "catalog", "graph", "plan", "event"];

/// Rooms that must work for any component.
const ENGINE: [&str; 5] = ["graph", "probe", "plan", "event", "run"];

/// Components named by an everyday word: only the whole string literal is taken for the name.
const EVERYDAY: [&str; 1] = ["base"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file and its text.
struct File {
    /// Path from the repository's root, with `/`.
    name: String,
    text: String,
}

impl File {
    /// The module right under `src` that it belongs to.
    fn room(&self) -> Option<&str> {
        let (room, _) = self.name.strip_prefix("src/")?.split_once('/')?;
        Some(room)
    }

    fn is_test(&self) -> bool {
        let stem = self
            .name
            .trim_end_matches(".rs")
            .rsplit('/')
            .next()
            .unwrap();
        self.name.starts_with("tests/")
            || self.name.contains("/tests/")
            || stem.ends_with("tests")
            || stem == "fixture"
            || stem == "fixtures"
    }

    fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, self.line_of(at))
    }
}

fn files_under(folder: &str, ending: &str) -> Vec<File> {
    fn visit(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(folder), ending, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| File {
            name: path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/"),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect()
}

fn sources() -> Vec<File> {
    let sources = files_under("src", ".rs");
    assert!(sources.len() > 20, "the sources are where this test looks");
    sources
}

/// Program text with comments, tests and (in `bare`) the insides of string literals blanked out. Places stay.
struct Code {
    /// Without comments and tests.
    with_strings: String,
    /// Without string literals' contents either.
    bare: String,
}

fn code(text: &str) -> Code {
    let (comments, strings) = comments_and_strings(text);
    let mut bare = text.as_bytes().to_vec();
    blank(&mut bare, &comments);
    blank(&mut bare, &strings);
    let tests = test_items(std::str::from_utf8(&bare).unwrap());
    blank(&mut bare, &tests);
    let mut with_strings = text.as_bytes().to_vec();
    blank(&mut with_strings, &comments);
    blank(&mut with_strings, &tests);
    Code {
        with_strings: String::from_utf8(with_strings).unwrap(),
        bare: String::from_utf8(bare).unwrap(),
    }
}

fn blank(bytes: &mut [u8], ranges: &[Range<usize>]) {
    for byte in ranges.iter().flat_map(Clone::clone) {
        if bytes[byte] != b'\n' {
            bytes[byte] = b' ';
        }
    }
}

/// Finds comments, and the insides of string literals.
fn comments_and_strings(text: &str) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut comments, mut strings) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let word_before = text[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let raw = rest
            .strip_prefix('r')
            .or_else(|| rest.strip_prefix("br"))
            .filter(|_| !word_before)
            .map(|rest| (rest, rest.len() - rest.trim_start_matches('#').len()))
            .filter(|(rest, hashes)| rest[*hashes..].starts_with('"'));
        if rest.starts_with("//") {
            let end = at + rest.find('\n').unwrap_or(rest.len());
            comments.push(at..end);
            at = end;
        } else if rest.starts_with("/*") {
            let end = at + rest.find("*/").map_or(rest.len(), |end| end + 2);
            comments.push(at..end);
            at = end;
        } else if let Some((tail, hashes)) = raw {
            let open = at + (rest.len() - tail.len()) + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = open + text[open..].find(&close).unwrap_or(text.len() - open);
            strings.push(open..end);
            at = (end + close.len()).min(text.len());
        } else if rest.starts_with('"') {
            let mut end = at + 1;
            while end < text.len() && text.as_bytes()[end] != b'"' {
                end += if text.as_bytes()[end] == b'\\' { 2 } else { 1 };
            }
            strings.push(at + 1..end.min(text.len()));
            at = end + 1;
        } else if rest.starts_with("'\\") {
            at += 3 + rest[3..].find('\'').unwrap_or(0) + 1;
        } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
            at += 2 + rest.chars().nth(1).unwrap().len_utf8();
        } else {
            at += rest.chars().next().unwrap().len_utf8();
        }
    }
    (comments, strings)
}

/// Finds items under `#[cfg(test)]` in text that has neither comments nor strings.
fn test_items(bare: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = bare[from..].find("#[cfg(test)]").map(|at| at + from) {
        let mut depth = 0_usize;
        let mut end = bare.len();
        for (at, c) in bare[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && (c == '}' || c == ';') {
                end = start + at + 1;
                break;
            }
        }
        found.push(start..end);
        from = end;
    }
    found
}

/// Returns where `word` stands in `text` with no letter, digit or `_` beside it.
fn words(text: &str, word: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            !text[..*at].chars().next_back().is_some_and(part)
                && !text[at + word.len()..].chars().next().is_some_and(part)
        })
        .collect()
}

/// Returns the rooms that `bare` code names by `crate::room`, also in `use crate::{a::…, b::…}`, with their places.
fn named_rooms(bare: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in words(bare, "crate") {
        let Some(path) = bare[at + "crate".len()..].strip_prefix("::") else {
            continue;
        };
        let name = |text: &str| -> String {
            text.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        if let Some(group) = path.strip_prefix('{') {
            let mut depth = 0;
            let mut first = true;
            for (inside, c) in group.char_indices() {
                if first && depth == 0 && !c.is_whitespace() {
                    found.push((name(&group[inside..]), at));
                    first = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => first = true,
                    _ => {}
                }
            }
        } else {
            found.push((name(path), at));
        }
    }
    found.retain(|(name, _)| !name.is_empty());
    found
}

/// Returns what docs/architecture.md allows: room → rooms it may know; `None` is everything.
fn arrows() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = text.split("## Rooms").nth(1).unwrap();
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let rows: BTreeMap<_, _> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let room = quoted(cells[1]).into_iter().next().unwrap();
            let knows = (cells[2].trim() != "everything").then(|| quoted(cells[2]));
            (room, knows)
        })
        .collect();
    assert!(rows.len() >= 12, "the table is read: {rows:?}");
    rows
}

fn report(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let arrows = arrows();
    let mut broken = Vec::new();
    let mut edges = 0;
    for file in sources().iter().filter(|file| !file.is_test()) {
        let Some(room) = file.room() else { continue };
        let Some(allowed) = arrows.get(room) else {
            broken.push(format!("{}: room `{room}` is not in the table", file.name));
            continue;
        };
        for (other, at) in named_rooms(&code(&file.text).bare) {
            if other == room || !arrows.contains_key(&other) {
                continue;
            }
            edges += 1;
            if allowed
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(&other))
            {
                broken.push(format!("{}: `{room}` knows `{other}`", file.place(at)));
            }
        }
    }
    assert!(edges > 20, "imports are seen: {edges}");
    report(&broken, "imports against the table of docs/architecture.md");
}

#[test]
fn the_table_itself_has_no_circle() {
    let arrows = arrows();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    for _ in 0..arrows.len() {
        for (room, knows) in &arrows {
            let known = knows.as_ref().map_or_else(
                || {
                    arrows
                        .keys()
                        .filter(|other| *other != room)
                        .collect::<Vec<_>>()
                },
                |knows| knows.iter().collect(),
            );
            if known.iter().all(|other| placed.contains(other.as_str())) {
                placed.insert(room);
            }
        }
    }
    assert_eq!(placed.len(), arrows.len());
}

#[test]
fn pure_rooms_touch_nothing() {
    const TOUCH: [&str; 13] = [
        "tokio",
        "async",
        "russh",
        "reqwest",
        "bollard",
        "nix",
        "TcpStream",
        "UdpSocket",
        "std::process",
        "std::env",
        "SystemTime",
        "Instant",
        "std::fs",
    ];
    let mut broken = Vec::new();
    for file in sources().iter().filter(|file| !file.is_test()) {
        if !file.room().is_some_and(|room| PURE.contains(&room)) {
            continue;
        }
        let code = code(&file.text);
        for word in TOUCH {
            if word == "std::fs" && file.room() == Some("catalog") {
                continue;
            }
            for at in words(&code.bare, word) {
                broken.push(format!("{}: `{word}`", file.place(at)));
            }
        }
    }
    report(
        &broken,
        "pure rooms use neither time, processes, files nor the network",
    );
}

#[test]
fn the_engine_names_no_component() {
    let mut components: BTreeSet<String> = fs::read_dir(root().join("recipes"))
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect()
        })
        .unwrap_or_default();
    components.extend(["openbao", "bao", "k3s", "grafana", "zot"].map(str::to_owned));
    let mut broken = Vec::new();
    for file in sources().iter().filter(|file| !file.is_test()) {
        if !file.room().is_some_and(|room| ENGINE.contains(&room)) {
            continue;
        }
        let code = code(&file.text).with_strings;
        for name in &components {
            let found = if EVERYDAY.contains(&name.as_str()) {
                words(&code, &format!("\"{name}\""))
            } else {
                words(&code.to_lowercase(), name)
            };
            broken.extend(
                found
                    .into_iter()
                    .map(|at| format!("{}: `{name}`", file.place(at))),
            );
        }
    }
    report(&broken, "the engine contains no component's name");
}

/// Files that write to a stream of their process for another reason than to show something.
const OWN_STREAMS: [&str; 1] = [
    // Tells the process that started it how far it is.
    "src/lab/namespaces/init.rs",
];

#[test]
fn everything_shown_passes_one_border() {
    let mut broken = Vec::new();
    for file in sources().iter().filter(|file| !file.is_test()) {
        let code = code(&file.text);
        if file.room() != Some("cli") {
            let found = words(&code.bare, "process::exit");
            broken.extend(
                found
                    .into_iter()
                    .map(|at| format!("{}: `exit`", file.place(at))),
            );
        }
        if file.room() == Some("terminal") || OWN_STREAMS.contains(&file.name.as_str()) {
            continue;
        }
        for word in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            let found = words(&code.bare, word.trim_end_matches('!'));
            let found = found
                .into_iter()
                .filter(|at| code.bare[*at..].starts_with(word));
            broken.extend(found.map(|at| format!("{}: `{word}`", file.place(at))));
        }
        // Ways to the two streams, and to what a library would style: only our own styles become escape sequences.
        for word in [
            "io::stdout",
            "io::stderr",
            "write_line",
            "write_str",
            "console::style",
            "console::Style",
            "print_stdout",
        ] {
            if word == "write_str" && !code.bare.contains("Term") {
                continue;
            }
            let found = words(&code.bare, word);
            broken.extend(
                found
                    .into_iter()
                    .map(|at| format!("{}: `{word}`", file.place(at))),
            );
        }
        for word in ["\\u{1b}", "\\x1b", "\\u{9b}"] {
            let found = code.with_strings.match_indices(word);
            broken.extend(found.map(|(at, _)| format!("{}: an escape of its own", file.place(at))));
        }
        // The raw ends of the border: for lines that were made safe, and for what only programs read.
        if !["src/cli/reports.rs", "src/cli/run.rs"].contains(&file.name.as_str()) {
            for word in ["terminal::runner", "terminal::events"] {
                let found = words(&code.bare, word);
                broken.extend(
                    found
                        .into_iter()
                        .map(|at| format!("{}: `{word}`", file.place(at))),
                );
            }
        }
        // Questions are drawn by a library: names within them pass the border first.
        for word in ["with_prompt(", "default("] {
            if !code.bare.contains("dialoguer") {
                continue;
            }
            for (at, _) in code.with_strings.match_indices(word) {
                let rest = code.with_strings[at + word.len()..].trim_start();
                let safe = [
                    "\"",
                    "!",
                    "asked(",
                    "shown(",
                    "terminal::shown(",
                    "false",
                    "at)",
                    "0)",
                    ")",
                ];
                if !safe.iter().any(|begin| rest.starts_with(begin)) {
                    broken.push(format!("{}: a question as it came", file.place(at)));
                }
            }
        }
    }
    report(
        &broken,
        "all that is shown passes `terminal`, and only cli exits",
    );
}

#[test]
fn files_say_what_they_do_and_are_short() {
    let mut broken = Vec::new();
    for file in sources().iter().chain(&files_under("tests", ".rs")) {
        if !file.text.starts_with("//! ") {
            broken.push(format!("{} does not begin with `//! `", file.name));
        }
        let lines = file.text.lines().count();
        if lines > MOST_LINES && file.room().is_some() {
            broken.push(format!("{} has {lines} lines: split it", file.name));
        }
    }
    report(&broken, "files");
}

#[test]
fn this_test_reads_rust_rightly() {
    let text = r##"
use crate::{graph::{Step, Label}, probe, plan::Verdict}; // use crate::comment;
/* crate::comment2 */ let c = '"'; let l: &'a str = "crate::string"; let n = '\'';
let r = r#"crate::raw " "#; let _ = crate::run::go();
#[cfg(test)]
mod tests { fn f() { crate::tested::x(); "}" } }
fn after() { crate::event::y() }
#[cfg(test)]
mod other;
crate::report::z();
"##;
    let rooms: Vec<String> = named_rooms(&code(text).bare)
        .into_iter()
        .map(|(room, _)| room)
        .collect();
    assert_eq!(rooms, ["graph", "probe", "plan", "run", "event", "report"]);
    assert!(code(text).with_strings.contains("crate::string"));
    assert_eq!(words("openbao bao_x bao", "bao"), [14]);
}
