//! Pretended hosts: what each has of what the graph expects, and its answers to the programs that Foundry sends. Reads the
//! frames of a program and takes everything else from the graph. Knows no network.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use foundry::catalog::{Collector, Value};
use foundry::graph::{Graph, Label, Target};
use foundry::probe::{Facts, Known, Question, ask, stamp_path};

use crate::expected::{Expected, World};
use crate::no_actions::NoActions;

/// Answers of one program.
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: u32,
}

/// What goes wrong on some hosts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Part of the hosts on which [`FAILING`] can't be applied.
    pub failing: f64,
}

/// The step that fails where one fails.
pub const FAILING: &str = "fleet:unit";

/// One step, as all hosts have it.
struct Slot {
    stamp: String,
    questions: Vec<Question>,
}

struct Host {
    /// What is expected of each slot.
    expected: Vec<Arc<Expected>>,
    /// Which slots are as expected.
    there: Mutex<Vec<bool>>,
    fails: bool,
}

/// All hosts of one stack.
pub struct Hosts {
    slots: Vec<Slot>,
    by_label: HashMap<String, usize>,
    by_path: HashMap<String, usize>,
    by_line: HashMap<(String, String), usize>,
    hosts: Vec<Host>,
}

/// Returns a number between 0 and 1 that belongs to a host.
pub fn lot(host: usize, of: &str) -> f64 {
    let digest = blake3::hash(format!("{of} {host}").as_bytes());
    let bytes: [u8; 4] = digest.as_bytes()[..4].try_into().unwrap_or_default();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// What tells of the time.
const NOW: &str = "/proc/self/fd";

impl Hosts {
    /// Makes the hosts of `graph`, with everything there or nothing.
    pub fn new(graph: &Graph, there: bool, faults: Faults) -> Self {
        let mut world = World::new(graph);
        let known = Known::new(graph, Vec::new());
        let mut slots: Vec<Slot> = Vec::new();
        let mut by_label = HashMap::new();
        let mut hosts: Vec<Vec<(usize, Arc<Expected>)>> = Vec::new();
        hosts.resize_with(graph.stack.hosts.len(), Vec::new);
        for id in graph.ids() {
            let step = graph.step(id);
            let (Target::Host(host), Some(expected)) = (&step.target, world.expected(id)) else {
                continue;
            };
            let label = Label {
                host: None,
                ..step.label.clone()
            }
            .to_string();
            let slot = *by_label.entry(label.clone()).or_insert_with(|| {
                let asked = ask(step, &known.fill(&step.inputs), &NoActions)
                    .unwrap_or_else(|why| panic!("{label} can't be asked: {why:?}"));
                slots.push(Slot {
                    stamp: stamp_path(&step.label),
                    questions: asked.questions,
                });
                slots.len() - 1
            });
            hosts[host.0 as usize].push((slot, expected));
        }
        let hosts = hosts.into_iter().enumerate().map(|(at, mut all)| {
            all.sort_by_key(|(slot, _)| *slot);
            assert_eq!(all.len(), slots.len(), "hosts of one kind");
            Host {
                there: Mutex::new(vec![there; all.len()]),
                expected: all.into_iter().map(|(_, expected)| expected).collect(),
                fails: lot(at, "fails") < faults.failing,
            }
        });
        let hosts = hosts.collect();
        let mut made = Self {
            slots,
            by_label,
            by_path: HashMap::new(),
            by_line: HashMap::new(),
            hosts,
        };
        made.index();
        made
    }

    /// Finds which slot each subject belongs to.
    fn index(&mut self) {
        for (at, slot) in self.slots.iter().enumerate() {
            for question in &slot.questions {
                match (question.collector, &question.subject) {
                    (Collector::Stat | Collector::Digest, Value::Text(path)) => {
                        self.by_path.insert(path.clone(), at);
                    }
                    (Collector::Line, Value::Map(map)) => {
                        if let (Some(Value::Text(path)), Some(Value::Text(line))) =
                            (map.get("path"), map.get("line"))
                        {
                            self.by_line.insert((path.clone(), line.clone()), at);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Returns how many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Lets host `at` answer `program`.
    pub fn answer(&self, at: usize, program: &str) -> Answer {
        let mut reply = Reply {
            hosts: self,
            host: &self.hosts[at],
            at,
            nonce: "",
            out: String::with_capacity(8 << 10),
            err: "foundry-pid 1\n".to_owned(),
            said: String::new(),
        };
        let status = reply.program(program);
        Answer {
            stdout: reply.out.into_bytes(),
            stderr: reply.err.into_bytes(),
            status,
        }
    }
}

struct Reply<'a> {
    hosts: &'a Hosts,
    host: &'a Host,
    at: usize,
    nonce: &'a str,
    out: String,
    err: String,
    /// On standard error, in the section under way.
    said: String,
}

impl<'a> Reply<'a> {
    fn program(&mut self, text: &'a str) -> u32 {
        let Some(nonce) = text
            .split_once("__e() { printf '%s\\n%s e %s\\n' \"$__held\" ")
            .and_then(|(_, rest)| rest.split_once(' '))
        else {
            return self.lock(text);
        };
        self.nonce = nonce.0;
        let mut label = "";
        let mut section: Option<(&str, usize)> = None;
        let (mut tried, mut done) = (false, false);
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            let line = line.trim_end();
            if let Some(name) = line
                .strip_prefix("__o ")
                .filter(|name| !name.starts_with('"'))
            {
                let name = name.split(' ').next().unwrap_or_default();
                section = Some((name, at));
            } else if let Some(name) = line
                .strip_prefix("__c ")
                .filter(|name| !name.starts_with('"'))
            {
                let body = match section.take() {
                    Some((opened, from)) if opened == name => &text[from..start],
                    _ => "",
                };
                self.section(name, body);
            } else if let Some(rest) = line.strip_prefix("__k ") {
                let number = rest.split(' ').next().unwrap_or_default();
                tried = true;
                done |= self.apply(number, label);
            } else if line.starts_with("[ \"$__w\" -ne 0 ]") && tried && !done {
                self.mark("e 0");
                return 0;
            } else if let Some(quoted) = line.strip_prefix("label=") {
                label = words(quoted).next().unwrap_or_default();
            } else if let Some(rest) = line
                .strip_prefix("__q ")
                .filter(|rest| !rest.starts_with('"'))
            {
                let number = rest.split(' ').next().unwrap_or_default();
                self.script(number, label);
            }
        }
        self.mark("e 9");
        0
    }

    /// The stack's lock: always to be had.
    fn lock(&mut self, text: &str) -> u32 {
        self.out.push_str(
            if text.contains("\nop='take'") || text.contains("\nop='renew'") {
                "state taken\n"
            } else {
                "state free\n"
            },
        );
        0
    }

    fn mark(&mut self, words: &str) {
        let _ = write!(self.out, "\n{} {words}\n", self.nonce);
    }

    fn section(&mut self, name: &str, body: &str) {
        self.mark(&format!("o {name}"));
        let status = match name {
            "host" => self.of_host(body),
            "stat" | "follow" => self.stat(body),
            "digest" => self.digest(body),
            "package" => self.packages(body),
            "unit" => self.units(body),
            "line" => self.lines(body),
            "stamps" => self.stamps(body),
            _ => 0,
        };
        let said = std::mem::take(&mut self.said);
        if !said.is_empty() {
            self.mark(&format!("x {name}"));
            self.out.push_str(&said);
        }
        self.mark(&format!("c {name} {status}"));
    }

    fn of_host(&mut self, body: &str) -> u32 {
        let _ = write!(
            self.out,
            "kernel 6.1.0-bench\nboot 00000000-0000-4000-8000-{:012}\nos ID=debian\nos VERSION_CODENAME=bookworm\n",
            self.at
        );
        if body.contains("date ") {
            self.out.push_str("clock 1795000000\n");
        }
        if body.contains("--print-architecture") {
            self.out.push_str("arch amd64\n");
        }
        0
    }

    /// Returns the facts of a slot, if it is as expected.
    fn facts(&self, slot: usize) -> Option<&'a Facts> {
        let there = self
            .host
            .there
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        there[slot].then(|| &*self.host.expected[slot].facts)
    }

    fn of_path(&self, path: &str) -> Option<&'a Facts> {
        self.facts(*self.hosts.by_path.get(path)?)
    }

    fn stat(&mut self, body: &str) -> u32 {
        let mut status = 0;
        // Files of different hosts are of different times.
        let changed = 1_790_000_000 + self.at;
        for path in arguments(body) {
            if path == NOW {
                let _ = write!(
                    self.out,
                    "{path}\041ed\00\00\0root\0root\00\01795000000.000000000\0{path}\0"
                );
                continue;
            }
            let Some(facts) = self.of_path(path) else {
                let _ = writeln!(
                    self.said,
                    "stat: cannot statx '{path}': No such file or directory"
                );
                status = 1;
                continue;
            };
            let get = |name: &str, other: &'static str| {
                facts.get(name).map_or(other, |fact| fact.value())
            };
            let mode = u32::from_str_radix(get("mode", "0644"), 8).unwrap_or_default();
            let (kind, link) = match get("kind", "file") {
                "directory" => (0o040_000, String::new()),
                "symlink" => (0o120_000, format!(" -> {}", get("link", "x"))),
                _ => (0o100_000, String::new()),
            };
            let (user, group) = get("owner", "root:root")
                .split_once(':')
                .unwrap_or(("root", "root"));
            let _ = write!(
                self.out,
                "{path}\0{:x}\00\00\0{user}\0{group}\0512\0{changed}.000000000\0{path}{link}\0",
                kind | mode
            );
        }
        status
    }

    fn digest(&mut self, body: &str) -> u32 {
        let mut status = 0;
        for path in arguments(body) {
            match self.of_path(path).and_then(|facts| facts.get("sha256")) {
                Some(digest) => _ = write!(self.out, "{}  {path}\0", digest.value()),
                None => {
                    let _ = writeln!(self.said, "sha256sum: {path}: No such file or directory");
                    status = 1;
                }
            }
        }
        status
    }

    fn packages(&mut self, body: &str) -> u32 {
        let slot = self.hosts.slots.iter().position(|slot| {
            slot.questions
                .iter()
                .any(|question| question.collector == Collector::Package)
        });
        let there = slot.is_some_and(|slot| self.facts(slot).is_some());
        for name in arguments(body) {
            if there || name == "dpkg" {
                let _ = writeln!(self.out, "{name}\tamd64\tinstalled\t1.2.3-4");
            } else {
                let _ = writeln!(self.said, "dpkg-query: no packages found matching {name}");
            }
        }
        u32::from(!there)
    }

    fn units(&mut self, body: &str) -> u32 {
        for name in arguments(body) {
            // The file of the unit is one step's, its state another's.
            let mut known = HashMap::new();
            for (at, slot) in self.hosts.slots.iter().enumerate() {
                let mine = |question: &Question| {
                    question.collector == Collector::Unit
                        && question.subject == Value::Text(name.to_owned())
                };
                if slot.questions.iter().any(mine)
                    && let Some(facts) = self.facts(at)
                {
                    known.extend(
                        facts
                            .iter()
                            .map(|(name, fact)| (name.as_str(), fact.value())),
                    );
                }
            }
            let file = known.contains_key("sha256");
            let (load, enabled) = if file {
                ("loaded", "enabled")
            } else {
                ("not-found", "")
            };
            let active = known.get("active").copied().unwrap_or("inactive");
            let since = if active == "active" {
                "Mon 2026-11-23 10:00:00.000000 UTC"
            } else {
                ""
            };
            let enabled = if known.contains_key("active") {
                enabled
            } else {
                "disabled"
            };
            let _ = write!(
                self.out,
                "Id={name}\nNames={name}\nLoadState={load}\nUnitFileState={enabled}\nActiveState={active}\nSubState=running\n\
                 NeedDaemonReload=no\nExecMainStartTimestamp={since}\nInactiveExitTimestamp={since}\n\n"
            );
        }
        0
    }

    fn lines(&mut self, body: &str) -> u32 {
        for line in body.lines().filter_map(|line| line.strip_prefix("__l ")) {
            let mut words = words(line);
            let subject = (
                words.next().unwrap_or_default().to_owned(),
                words.next().unwrap_or_default().to_owned(),
            );
            let slot = self.hosts.by_line.get(&subject);
            let there = slot.is_some_and(|slot| self.facts(*slot).is_some());
            self.out.push_str(if there { "yes\n" } else { "no\n" });
        }
        0
    }

    fn stamps(&mut self, body: &str) -> u32 {
        let named = body.lines().find_map(|line| line.strip_prefix("__t "));
        let Some(first) = words(
            named
                .or(body.split_once("[ -d ").map(|(_, rest)| rest))
                .unwrap_or_default(),
        )
        .next() else {
            return 0;
        };
        let folder = first
            .split_once("/stamps/")
            .map_or(first.to_owned(), |(root, _)| format!("{root}/stamps"));
        for (at, slot) in self.hosts.slots.iter().enumerate() {
            let asked = named.is_none_or(|line| {
                words(line).any(|path| path.ends_with(&format!("/{}", slot.stamp)))
            });
            if asked && self.facts(at).is_some() {
                let text = self.host.expected[at].stamp.encode();
                let _ = write!(self.out, "{folder}/{}\0{text}\0", slot.stamp);
            }
        }
        0
    }

    /// What a script prints: whatever is expected and no collector answers.
    fn script(&mut self, number: &str, label: &str) {
        self.mark(&format!("o s{number}"));
        if let Some(slot) = self.hosts.by_label.get(label).copied()
            && let Some(facts) = self.facts(slot)
        {
            let questions = &self.hosts.slots[slot].questions;
            for (name, fact) in facts {
                let asked = questions.iter().any(|question| {
                    question.prefix.is_empty()
                        && question.collector.facts().contains(&name.as_str())
                });
                if !asked && !name.contains('.') {
                    let _ = writeln!(self.out, "{name}={}", fact.value());
                }
            }
        }
        self.mark(&format!("c s{number} 0"));
    }

    /// Does a step, if this host is not one that fails it, and leaves its stamp. Returns whether it did.
    fn apply(&mut self, number: &str, label: &str) -> bool {
        self.mark(&format!("o apply{number}"));
        let status = match self.hosts.by_label.get(label) {
            _ if self.host.fails && label == FAILING => {
                self.out.push_str("no space left on device\n");
                1
            }
            None => {
                let _ = writeln!(self.out, "this host knows no step {label:?}");
                64
            }
            Some(slot) => {
                self.host
                    .there
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)[*slot] = true;
                0
            }
        };
        self.mark(&format!("c apply{number} {status}"));
        if status == 0 {
            self.mark(&format!("o stamp{number}"));
            self.mark(&format!("c stamp{number} 0"));
        }
        status == 0
    }
}

/// Returns the quoted words after `--`, on all lines.
fn arguments(body: &str) -> impl Iterator<Item = &str> {
    body.lines().flat_map(|line| {
        let rest = line
            .split_once(" -- ")
            .map(|(_, rest)| rest)
            .or_else(|| line.split_once("(__d ").map(|(_, rest)| rest));
        words(rest.unwrap_or_default())
    })
}

/// Returns the words in single quotes of a line. None of the made-up stack's has a quote in it.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split('\'').skip(1).step_by(2)
}
