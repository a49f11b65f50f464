//! A host as the simulation has it: the lock, the fence and the scripts of one host in Rust, in virtual time. `same.rs` holds
//! it to the real shell scripts. Knows programs by the text that is sent, as a host does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foundry::probe::Reply;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::random::Random;

/// What a host keeps and does.
pub struct Host {
    pub name: Arc<str>,
    state: Mutex<State>,
    /// Held by whoever raises the fence: `flock`.
    guard: tokio::sync::Mutex<()>,
    random: Mutex<Random>,
    /// Whether the fence is looked at. Without, the simulation must find what goes wrong.
    pub fenced: bool,
}

#[derive(Default)]
struct Lock {
    text: String,
    /// Boot and time since the start at the last sign of life.
    alive: (u64, i64),
}

#[derive(Clone, PartialEq, Eq)]
struct Mark {
    number: u64,
    token: String,
    rest: String,
}

struct Noted {
    number: u64,
    boot: u64,
    program: u64,
}

struct Running {
    task: Option<AbortHandle>,
    done: Arc<tokio::sync::Notify>,
    /// The file that its script is writing, and the token of its run.
    script: Option<(String, String)>,
}

struct State {
    boot: u64,
    since: Instant,
    down: bool,
    lock: Option<Lock>,
    number: u64,
    stolen: bool,
    fence: Option<Mark>,
    clear: Option<(u64, String)>,
    work: BTreeMap<String, Noted>,
    recalled: BTreeSet<String>,
    pub files: BTreeMap<String, String>,
    running: BTreeMap<u64, Running>,
    next: u64,
    /// The highest number that a script ran with, and how many ran.
    highest: u64,
    scripts: u64,
    wrong: Vec<String>,
}

/// A program under way.
pub struct Exec {
    pub out: Arc<Mutex<Vec<u8>>>,
    pub done: Arc<tokio::sync::Notify>,
    pub number: u64,
    status: Arc<Mutex<Option<i32>>>,
}

impl Exec {
    pub fn reply(&self) -> Reply {
        Reply {
            stdout: self.out.lock().unwrap().clone(),
            stderr: Vec::new(),
            status: *self.status.lock().unwrap(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.status.lock().unwrap().is_some()
    }
}

/// Where a program writes to.
#[derive(Clone)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    fn say(&self, text: &str) {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
    }
}

/// What goes with a program through the fence.
struct Door {
    number: u64,
    token: String,
    rest: String,
    id: String,
    lost: Vec<String>,
    seen: Option<u64>,
}

impl Door {
    fn of(text: &str) -> Option<Self> {
        let get = |name: &str| variable(text, &format!("fence_{name}"));
        Some(Self {
            number: get("number")?.parse().ok()?,
            token: get("token")?,
            rest: format!("{} {}", get("run")?, get("who")?),
            id: get("id")?,
            lost: get("lost")?
                .split_whitespace()
                .map(ToOwned::to_owned)
                .collect(),
            seen: get("seen")?.parse().ok(),
        })
    }

    fn is(&self, mark: Option<&Mark>) -> bool {
        mark.is_some_and(|mark| mark.number == self.number && mark.token == self.token)
    }
}

/// Returns the value of the first assignment of `name`.
pub fn variable(text: &str, name: &str) -> Option<String> {
    let start = format!("{name}='");
    let at = if text.starts_with(&start) {
        start.len()
    } else {
        text.find(&format!("\n{start}"))? + 1 + start.len()
    };
    let mut value = String::new();
    let mut rest = &text[at..];
    loop {
        let end = rest.find('\'')?;
        value.push_str(&rest[..end]);
        rest = &rest[end..];
        match rest.strip_prefix("'\\''") {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some(value),
        }
    }
}

/// A script, or a question by one: its number, and what its variables say.
struct Call {
    number: usize,
    path: String,
    text: String,
}

/// Finds the calls that begin with `word`.
fn calls(text: &str, word: &str) -> Vec<Call> {
    let mut found = Vec::new();
    let (mut path, mut content) = (String::new(), String::new());
    for line in text.lines() {
        if line == "__i() {" {
            (path, content) = (String::new(), String::new());
        } else if line.starts_with("path='") {
            path = variable(line, "path").unwrap();
        } else if line.starts_with("text='") {
            content = variable(line, "text").unwrap();
        } else if let Some(rest) = line.strip_prefix(word) {
            let Ok(number) = rest.split(' ').next().unwrap().parse() else {
                continue;
            };
            found.push(Call {
                number,
                path: path.clone(),
                text: content.clone(),
            });
        }
    }
    found
}

impl Host {
    pub fn new(name: &str, random: Random, fenced: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            state: Mutex::new(State {
                boot: 1,
                since: Instant::now(),
                down: false,
                lock: None,
                number: 0,
                stolen: false,
                fence: None,
                clear: None,
                work: BTreeMap::new(),
                recalled: BTreeSet::new(),
                files: BTreeMap::new(),
                running: BTreeMap::new(),
                next: 1,
                highest: 0,
                scripts: 0,
                wrong: Vec::new(),
            }),
            guard: tokio::sync::Mutex::new(()),
            random: Mutex::new(random),
            fenced,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn random(&self, below: u64) -> u64 {
        self.random.lock().unwrap().below(below)
    }

    /// Lets a moment pass in which others may come between.
    async fn moment(&self) {
        let ms = self.random(4);
        if ms > 0 {
            sleep(Duration::from_millis(ms * 7)).await;
        }
    }

    pub fn file(&self, path: &str) -> Option<String> {
        self.state().files.get(path).cloned()
    }

    pub fn fence_number(&self) -> u64 {
        self.state().fence.as_ref().map_or(0, |mark| mark.number)
    }

    /// Returns the text of the fence's file.
    pub fn fence_text(&self) -> Option<String> {
        let state = self.state();
        let mark = state.fence.as_ref()?;
        Some(format!("{} {} {}\n", mark.number, mark.token, mark.rest))
    }

    pub fn wrong(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    pub fn scripts(&self) -> u64 {
        self.state().scripts
    }

    /// Returns whether a program is still at work.
    pub fn is_running(&self, program: u64) -> bool {
        self.state().running.contains_key(&program)
    }

    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Makes the last sign of life so much older.
    pub fn age(&self, seconds: i64) {
        if let Some(lock) = &mut self.state().lock {
            lock.alive.1 -= seconds;
        }
    }

    /// Goes down with everything that runs on it.
    pub fn crash(&self) {
        let mut state = self.state();
        state.down = true;
        for (_, running) in std::mem::take(&mut state.running) {
            if let Some(task) = running.task {
                task.abort();
            }
            running.done.notify_waiters();
        }
    }

    /// Comes up again.
    pub fn start(&self) {
        let mut state = self.state();
        state.down = false;
        state.boot += 1;
        state.since = Instant::now();
    }

    /// Stops a program with all it has started.
    pub fn kill(&self, program: u64) {
        let running = self.state().running.remove(&program);
        if let Some(running) = running {
            if let Some(task) = running.task {
                task.abort();
            }
            running.done.notify_waiters();
        }
    }

    /// Begins a program, which goes on whatever becomes of whoever sent it.
    pub fn exec(self: &Arc<Self>, text: &str) -> Exec {
        let out = Arc::new(Mutex::new(Vec::new()));
        let (done, status) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(Mutex::new(None)),
        );
        let number = {
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.running.insert(
                number,
                Running {
                    task: None,
                    done: Arc::clone(&done),
                    script: None,
                },
            );
            number
        };
        let (host, text) = (Arc::clone(self), text.to_owned());
        let (said, over, ended) = (
            Out(Arc::clone(&out)),
            Arc::clone(&done),
            Arc::clone(&status),
        );
        let task = tokio::spawn(async move {
            let came = host.program(number, &text, &said).await;
            host.state().running.remove(&number);
            *ended.lock().unwrap() = Some(came);
            over.notify_waiters();
        });
        if let Some(running) = self.state().running.get_mut(&number) {
            running.task = Some(task.abort_handle());
        }
        Exec {
            out,
            done,
            number,
            status,
        }
    }

    async fn program(&self, number: u64, text: &str, out: &Out) -> i32 {
        if text.starts_with("set -eu\numask 077\nexport LC_ALL=C\n") {
            out.say(&self.lock(text));
            return 0;
        }
        if text.contains("/.recall-") && !text.contains("setsid") {
            let at = text.find("/.recall-").unwrap() + "/.recall-".len();
            let nonce: String = text[at..]
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if text.contains("mkdir") {
                self.state().recalled.insert(nonce);
            }
            return 0;
        }
        let nonce = |text: &str| -> String {
            let at = text.find("__o() ").expect("frames");
            let rest = &text[at..];
            let at = rest.find(" \"$__held\" ").expect("a nonce") + " \"$__held\" ".len();
            rest[at..]
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect()
        };
        if text.starts_with("setsid sh") {
            return self.bare(number, text, out).await;
        }
        if text.contains("\nsetsid sh -s foundry") {
            self.application(number, text, &nonce(text), out).await;
            return 0;
        }
        if text.starts_with("(\nfence_dir=") {
            let door = Door::of(text).expect("a door");
            if let Err(why) = self.enter(&door, None).await {
                let id = text.split("foundry-fence ").nth(1).unwrap();
                let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
                out.say(&format!("foundry-fence {id}{why}\n"));
                return 113;
            }
        }
        if text.contains("__o() ") {
            self.probe(text, &nonce(text), out);
        }
        0
    }

    /// A program of an action: here, one that does nothing.
    async fn bare(&self, number: u64, text: &str, out: &Out) -> i32 {
        let door = Door::of(text).expect("a door");
        let entered = self.enter(&door, Some(number)).await;
        if let Err(why) = &entered {
            out.say(&format!("foundry-fence {}{why}\n", door.id));
        }
        self.state().work.remove(&door.id);
        if entered.is_ok() { 0 } else { 113 }
    }

    fn read(&self) -> Option<Mark> {
        self.state().fence.clone()
    }

    fn is_clear(&self, door: &Door) -> bool {
        self.state()
            .clear
            .as_ref()
            .is_some_and(|(number, token)| *number == door.number && *token == door.token)
    }

    fn note(&self, door: &Door, program: Option<u64>) {
        if let Some(program) = program {
            let mut state = self.state();
            let boot = state.boot;
            let number = door.number;
            state.work.insert(
                door.id.clone(),
                Noted {
                    number,
                    boot,
                    program,
                },
            );
        }
    }

    /// As `__fence_enter` does.
    async fn enter(&self, door: &Door, program: Option<u64>) -> Result<(), String> {
        let by = |mark: Option<&Mark>| match mark {
            Some(mark) => format!(" {} {} {}", mark.number, mark.token, mark.rest),
            None => " 0   ".to_owned(),
        };
        self.note(door, program);
        self.moment().await;
        let mark = self.read();
        self.moment().await;
        if door.is(mark.as_ref()) && self.is_clear(door) && door.lost.is_empty() {
            return Ok(());
        }
        if mark.as_ref().is_some_and(|mark| mark.number > door.number) {
            return if self.fenced {
                Err(by(mark.as_ref()))
            } else {
                Ok(())
            };
        }
        let Ok(_guard) = timeout(Duration::from_secs(30), self.guard.lock()).await else {
            return Err("another program keeps the fence busy".to_owned());
        };
        self.note(door, program);
        let mark = self.read();
        let number = mark.as_ref().map_or(0, |mark| mark.number);
        if number > door.number {
            return if self.fenced {
                Err(by(mark.as_ref()))
            } else {
                Ok(())
            };
        }
        if number == door.number {
            if !door.is(mark.as_ref()) {
                return if self.fenced {
                    Err(by(mark.as_ref()))
                } else {
                    Ok(())
                };
            }
        } else {
            let token = mark.as_ref().map_or("", |mark| mark.token.as_str());
            if self.fenced && door.seen.is_some_and(|seen| seen != number) && token != door.token {
                let rest = mark.as_ref().map_or(" of ".to_owned(), |mark| {
                    let (run, who) = mark.rest.split_once(' ').unwrap();
                    format!("{run} of {who}")
                });
                return Err(format!("since it was probed, run {rest} has changed it"));
            }
            self.state().fence = Some(Mark {
                number: door.number,
                token: door.token.clone(),
                rest: door.rest.clone(),
            });
            self.moment().await;
        }
        for id in &door.lost {
            self.stop(id).await?;
        }
        if self.is_clear(door) {
            return Ok(());
        }
        let older: Vec<String> = {
            let state = self.state();
            let older = state
                .work
                .iter()
                .filter(|(_, noted)| noted.number < door.number);
            let mut older: Vec<(u64, &String)> =
                older.map(|(id, noted)| (noted.program, id)).collect();
            older.sort_unstable();
            older.into_iter().map(|(_, id)| id.clone()).collect()
        };
        for id in &older {
            if self.fenced {
                self.stop(id).await?;
            }
            self.state().work.remove(id);
        }
        self.state().clear = Some((door.number, door.token.clone()));
        Ok(())
    }

    /// As `__fence_stop` does: waits, and then kills.
    async fn stop(&self, id: &str) -> Result<(), String> {
        let program = {
            let state = self.state();
            let noted = state.work.get(id).filter(|noted| noted.boot == state.boot);
            noted.map(|noted| noted.program)
        };
        let Some(program) = program else {
            return Ok(());
        };
        for _ in 0..50 {
            if !self.state().running.contains_key(&program) {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        self.kill(program);
        Ok(())
    }

    async fn application(&self, number: u64, text: &str, nonce: &str, out: &Out) {
        let (jobs, verify) = text
            .split_once(&format!("\n__{nonce}__\n"))
            .expect("two parts");
        let door = jobs
            .contains("\n__fence_enter || __q\n")
            .then(|| Door::of(jobs).unwrap());
        let mut any = false;
        let refused = |why: &str| format!("\n{nonce} o fence\n{why}\n\n{nonce} c fence 0\n");
        let entered = match &door {
            None => Ok(()),
            Some(door) => self.enter(door, Some(number)).await,
        };
        match entered {
            Err(why) => out.say(&refused(&why)),
            Ok(()) => {
                for job in calls(jobs, "__a ") {
                    if self.state().recalled.contains(nonce) {
                        continue;
                    }
                    if let Some(door) = door.as_ref().filter(|_| self.fenced) {
                        let mark = self.read();
                        if !door.is(mark.as_ref()) {
                            let mark = mark.unwrap();
                            out.say(&refused(&format!(
                                " {} {} {}",
                                mark.number, mark.token, mark.rest
                            )));
                            break;
                        }
                    }
                    let n = job.number;
                    out.say(&format!("\n{nonce} o apply{n}\n"));
                    self.script(number, &job, door.as_ref()).await;
                    out.say(&format!(
                        "\n{nonce} c apply{n} 0\n\n{nonce} o stamp{n}\n\n{nonce} c stamp{n} 0\n"
                    ));
                    any = true;
                }
            }
        }
        if let Some(door) = &door {
            self.state().work.remove(&door.id);
        }
        if any {
            self.answers(verify, nonce, out);
        }
        out.say(&format!("\n{nonce} e 0\n"));
    }

    /// Writes a file, in two steps with time between.
    async fn script(&self, number: u64, job: &Call, door: Option<&Door>) {
        let (token, run) =
            door.map_or((String::new(), 0), |door| (door.token.clone(), door.number));
        {
            let mut state = self.state();
            let mut wrong = Vec::new();
            for (other, running) in &state.running {
                let Some((path, of)) = &running.script else {
                    continue;
                };
                if *other != number && *of != token {
                    wrong.push(format!(
                        "{}: scripts of two runs at once ({path} of {of}, {} of {token})",
                        self.name, job.path
                    ));
                }
                if *other != number && *path == job.path {
                    wrong.push(format!("{}: {path} is written twice at once", self.name));
                }
            }
            if run < state.highest {
                wrong.push(format!(
                    "{}: a script of fence {run} after one of {}",
                    self.name, state.highest
                ));
            }
            state.highest = state.highest.max(run);
            state.scripts += 1;
            state.wrong.extend(wrong);
            state.files.insert(job.path.clone(), "half".to_owned());
            if let Some(running) = state.running.get_mut(&number) {
                running.script = Some((job.path.clone(), token));
            }
        }
        let seconds = match self.random(8) {
            0 => self.random(40),
            1 | 2 => self.random(8),
            _ => 0,
        };
        sleep(Duration::from_millis(seconds * 1000 + self.random(400))).await;
        let mut state = self.state();
        state.files.insert(job.path.clone(), job.text.clone());
        if let Some(running) = state.running.get_mut(&number) {
            running.script = None;
        }
    }

    /// Answers what is asked by scripts.
    fn answers(&self, text: &str, nonce: &str, out: &Out) {
        for question in calls(text, "__q ") {
            let n = question.number;
            let found = self
                .file(&question.path)
                .unwrap_or_else(|| "absent".to_owned());
            out.say(&format!(
                "\n{nonce} o s{n}\ntext={found}\n\n{nonce} c s{n} 0\n"
            ));
        }
    }

    fn probe(&self, text: &str, nonce: &str, out: &Out) {
        if text.contains("__o host ") {
            let state = self.state();
            let mut said = format!(
                "kernel 6.1\nboot {}\nos ID=debian\nclock 1796000000\narch amd64\n",
                state.boot
            );
            if let Some(mark) = &state.fence {
                let _ = writeln!(said, "fence {} {} {}", mark.number, mark.token, mark.rest);
            }
            if state.number > 0 {
                let _ = writeln!(said, "number {}", state.number);
            }
            if !state.work.is_empty() {
                said.push_str("work yes\n");
            }
            out.say(&format!("\n{nonce} o host\n{said}\n{nonce} c host 0\n"));
        }
        if text.contains("__o stamps") {
            out.say(&format!("\n{nonce} o stamps\n\n{nonce} c stamps 0\n"));
        }
        self.answers(text, nonce, out);
        out.say(&format!("\n{nonce} e 3\n"));
    }

    /// As the lock's script does, without shards.
    fn lock(&self, text: &str) -> String {
        let get = |name: &str| variable(text, name).unwrap_or_default();
        let (token, over, lease) = (
            get("token"),
            get("over"),
            get("lease").parse::<i64>().unwrap(),
        );
        assert_eq!(get("shard"), "", "shards are not simulated");
        let mut state = self.state();
        let state = &mut *state;
        let up = i64::try_from(state.since.elapsed().as_secs()).unwrap();
        let sign = (state.boot, up);
        let held = state.lock.as_ref().map(|lock| {
            let age = if lock.alive.0 == state.boot {
                up - lock.alive.1
            } else {
                up
            };
            let found = lock
                .text
                .lines()
                .find_map(|line| line.strip_prefix("token "))
                .unwrap_or_default();
            (age, found.to_owned(), lock.text.clone())
        });
        let tell = |what: &str| {
            let mut said = format!("state {what}\n");
            if let Some((age, _, text)) = &held {
                let _ = writeln!(said, "age {age}");
                text.lines()
                    .for_each(|line| _ = writeln!(said, "holder {line}"));
            }
            said
        };
        let numbers = |state: &State| {
            let text = &state.lock.as_ref().unwrap().text;
            text.lines()
                .filter(|line| line.starts_with("number ") || line.starts_with("before "))
                .fold(String::new(), |all, line| all + line + "\n")
        };
        let begin = |state: &mut State| {
            let kept = state.number;
            let number = |name: &str| get(name).parse::<u64>().unwrap();
            state.number = kept.max(number("seen")) + 1 + number("jump");
            state.lock = Some(Lock {
                text: format!("{}number {}\nbefore {kept}\n", get("holder"), state.number),
                alive: sign,
            });
            if std::mem::take(&mut state.stolen) {
                "stolen yes\n"
            } else {
                ""
            }
        };
        let ours = held.as_ref().is_some_and(|(_, found, _)| *found == token);
        match get("op").as_str() {
            "show" if held.is_none() => "state free\n".to_owned(),
            "show" => tell("held"),
            "take" if held.is_none() => {
                let stolen = begin(state);
                format!("{stolen}state taken\n{}", numbers(state))
            }
            "take" if !ours => {
                let (age, found, _) = held.as_ref().unwrap();
                if *age >= lease || *age < -lease || (!over.is_empty() && *found == over) {
                    let said = tell("over");
                    let stolen = begin(state);
                    format!("{said}{stolen}{}", numbers(state))
                } else {
                    tell("held")
                }
            }
            "take" | "renew" if ours => {
                state.lock.as_mut().unwrap().alive = sign;
                format!("state taken\n{}", numbers(state))
            }
            "release" if ours => {
                state.lock = None;
                "state free\n".to_owned()
            }
            "steal" if held.is_none() => "state free\n".to_owned(),
            "steal" if held.as_ref().is_some_and(|(_, found, _)| *found == over) => {
                state.lock = None;
                state.stolen = true;
                tell("over")
            }
            "steal" => tell("held"),
            _ => tell("lost"),
        }
    }
}

/// The last lines of a queue, for a failure's report.
pub fn tail(lines: &VecDeque<String>) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
