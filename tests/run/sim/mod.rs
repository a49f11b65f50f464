//! Runs against each other in virtual time, from a seed: the real lock, gate and engine on simulated hosts, with pauses,
//! parted networks, losses, kills and reboots. Whatever happens, no host runs a script of an older run after one of a newer,
//! nor of two runs at once, every step ends in one state, and what a run calls done is so.
//!
//! `FOUNDRY_SIM_SEED=17 cargo nextest run --test run sim::` repeats one schedule, with its story;
//! `FOUNDRY_SIM_COUNT=100000 cargo nextest run --release --run-ignored all --test run sim::many` makes as many as wanted.

mod host;
mod net;
mod random;
mod same;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use foundry::config::HostId;
use foundry::event::{Event, Final, What};
use foundry::graph::{Graph, Selection, Selector};
use foundry::plan::plan;
use foundry::probe::{Known, Nonce, Observed, Round, observe};
use foundry::run::lock::{Controller, Request, SeenRuns, take};
use foundry::run::{Fenced, Gate, Limits, RunRequest, Stop, Tell, Writers, has_work};
use foundry::secret::{Masker, Resolver, Vars};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::host::Host;
use self::net::{Net, Span, Virtual, Ways};
use self::random::Random;
use super::keeper::NoKeeper;
use super::rig::{None_, Rig, fingerprints};

/// How many schedules a test makes.
const SCHEDULES: u64 = 1000;

const HOSTS: usize = 3;

/// Two files that don't need each other, one that needs both, and one that needs the third of every host.
const RECIPE: &str = r#"
[settings]
text = { type = "text", default = "run-0", doc = "What the files say" }
[steps.a]
uses = "put"
on   = "hosts"
with = { path = "/a", text = "{{ settings.text }}" }
[steps.b]
uses = "put"
on   = "hosts"
with = { path = "/b", text = "{{ settings.text }}" }
[steps.c]
uses  = "put"
on    = "hosts"
with  = { path = "/c", text = "{{ settings.text }}" }
needs = ["a", "b"]
[steps.d]
uses  = "put"
on    = "hosts"
with  = { path = "/d", text = "{{ settings.text }}" }
needs = ["c@*"]
"#;

/// The same stack in several versions of its config.
static GRAPHS: LazyLock<Vec<Arc<Graph>>> = LazyLock::new(|| {
    let versions = (0..5).map(|n| {
        let mut rig = Rig::new(HOSTS, RECIPE);
        rig.set(&format!("{{ text: run-{n} }}"));
        rig.graph()
    });
    versions.collect()
});

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What happened, line by line, and what should not have.
#[derive(Clone)]
struct Story {
    began: Instant,
    lines: Arc<Mutex<VecDeque<String>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    loud: bool,
}

impl Story {
    #[expect(
        clippy::print_stderr,
        reason = "who repeats one schedule wants to see it"
    )]
    fn tell(&self, line: &str) {
        let line = format!("{:9.3} {line}", self.began.elapsed().as_secs_f64());
        if self.loud {
            eprintln!("{line}");
        }
        let mut lines = self.lines.lock().unwrap();
        if lines.len() == 400 {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn wrong(&self, what: String) {
        self.tell(&format!("WRONG: {what}"));
        self.wrong.lock().unwrap().push(what);
    }
}

/// One controller: a version of the config, and a share of bad luck.
struct Player {
    number: usize,
    graph: Arc<Graph>,
    text: String,
    net: Arc<Net>,
    here: Controller,
    story: Story,
    stop: Stop,
}

/// What a run ended with.
#[derive(Default)]
struct Outcome {
    /// The number that it held the lock with; 0 for none.
    fence: u64,
    ended: BTreeMap<String, Final>,
    refused: bool,
    all_done: bool,
}

impl Player {
    async fn look(
        &self,
        readers: &Fenced,
        selection: &Selection,
    ) -> (Observed, foundry::plan::Plan) {
        let known = Known::new(&self.graph, Vec::new());
        let round = Round {
            graph: &self.graph,
            known: &known,
            readers,
            actions: &None_,
            nonce: Nonce::new([7; 16]),
            at_once: 8,
            tell: &|_| {},
        };
        let mut observed = Observed::none(&self.graph);
        observed.take(observe(&round, self.graph.ids()).await);
        let made = plan(&self.graph, selection, &observed, known, &fingerprints());
        assert!(made.ask_again.is_empty());
        (observed, made)
    }

    /// Builds everything, as the command does.
    async fn build(&self) -> Outcome {
        let name = format!("run-{}", self.number);
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let masker = Arc::new(Masker::default());
        let sink = self.sink(&outcome);
        let tell = Tell::begin(&name, "foundry build", HOSTS, sink, Arc::clone(&masker));
        let gate = Gate::default();
        let ways: Arc<dyn Writers> = Arc::new(Ways(Arc::clone(&self.net)));
        let names: Arc<[Arc<str>]> = self
            .net
            .hosts
            .iter()
            .map(|host| Arc::clone(&host.name))
            .collect();
        let fenced = Fenced::new(Arc::clone(&ways), gate.clone(), names);
        let selection = self
            .graph
            .select(&Selector::parse("stack").unwrap())
            .unwrap();
        let (mut observed, mut plan) = self.look(&fenced, &selection).await;
        let mut lock = None;
        if has_work(&plan, &selection) {
            let hosts: Vec<HostId> = (0..3).map(HostId).collect();
            let unreachable = hosts.iter().filter_map(|host| match observed.host(*host) {
                Some(Err(error)) => Some((*host, error.clone())),
                _ => None,
            });
            let unreachable = unreachable.collect();
            let seen = SeenRuns::of(&observed, None);
            let request = Request {
                clock: Arc::new(Virtual(self.net.began)),
                here: self.here.clone(),
                ahead: 1000 + self.number as u64,
                ..Request::new(
                    &self.graph.stack,
                    &hosts,
                    &unreachable,
                    &seen,
                    &*ways,
                    &tell,
                    &self.stop,
                )
            };
            let taken = match take(&request, &gate).await {
                Ok(taken) => taken,
                Err(error) => {
                    self.story.tell(&format!("{name}: no lock: {error}"));
                    let mut outcome = std::mem::take(&mut *outcome.lock().unwrap());
                    outcome.refused = true;
                    return outcome;
                }
            };
            let number = gate.pass().map_or(0, |pass| pass.fence.number);
            outcome.lock().unwrap().fence = number;
            self.story.tell(&format!(
                "{name}: lock on {}, fence {number}, waited {}",
                taken.host(),
                taken.waited()
            ));
            if taken.waited() {
                (observed, plan) = self.look(&fenced, &selection).await;
            }
            lock = Some(taken);
        }
        let request = RunRequest {
            graph: Arc::clone(&self.graph),
            selection,
            observed,
            plan,
            fingerprints: Arc::new(fingerprints()),
            writers: ways,
            actions: Arc::new(None_),
            keeper: Arc::new(NoKeeper),
            secrets: Arc::new(Resolver::new(
                |_| None,
                Vars::default(),
                "vars",
                None,
                masker,
            )),
            limits: Limits::default(),
            rollouts: BTreeMap::new(),
            patience: secs(60),
            lock,
            gate,
            stop: self.stop.clone(),
            tell,
        };
        let summary = foundry::run::run(request).await.unwrap();
        let mut outcome = std::mem::take(&mut *outcome.lock().unwrap());
        outcome.all_done = summary.counts.all_done() && !summary.interrupted;
        outcome
    }

    /// Hears what is told: each step ends once, and what is called done is so, unless a newer run has come to that host.
    fn sink(&self, outcome: &Arc<Mutex<Outcome>>) -> Arc<dyn Fn(Event) + Send + Sync> {
        let (outcome, story) = (Arc::clone(outcome), self.story.clone());
        let (hosts, text, number) = (self.net.hosts.clone(), self.text.clone(), self.number);
        Arc::new(move |event| match event.what {
            What::StepFinished(step) => {
                let mut outcome = outcome.lock().unwrap();
                let trouble = step
                    .trouble
                    .as_ref()
                    .map(|trouble| trouble.message.to_string());
                story.tell(&format!(
                    "run-{number}: {} {:?} {}",
                    step.label,
                    step.state,
                    trouble.unwrap_or_default()
                ));
                if outcome
                    .ended
                    .insert(step.label.clone(), step.state)
                    .is_some()
                {
                    story.wrong(format!("run-{number}: {} ended twice", step.label));
                }
                let done = matches!(step.state, Final::Ran | Final::Satisfied);
                let (name, host) = step
                    .label
                    .strip_prefix("demo:")
                    .and_then(|label| label.split_once('@'))
                    .unwrap();
                let host = hosts.iter().find(|other| *other.name == *host).unwrap();
                if done && outcome.fence > 0 && host.fence_number() <= outcome.fence {
                    let found = host.file(&format!("/{name}"));
                    if found.as_deref() != Some(text.as_str()) {
                        story.wrong(format!(
                            "run-{number}: {} is called done, and the file says {found:?}",
                            step.label
                        ));
                    }
                }
            }
            What::Warning { text } | What::Note { text } => {
                story.tell(&format!("run-{number}: {text}"));
            }
            What::LockTaken { host, from } => {
                story.tell(&format!("run-{number}: took the lock on {host} {from:?}"));
            }
            What::LockWaiting(waiting) => {
                story.tell(&format!("run-{number}: waits: {}", waiting.holder));
            }
            What::StepRetrying { label, error, .. } => {
                story.tell(&format!("run-{number}: {label} again: {error}"));
            }
            _ => {}
        })
    }
}

fn span(random: &mut Random, within: u64, longest: u64) -> Span {
    let from = random.below(within);
    (secs(from), secs(from + 5 + random.below(longest)))
}

/// What many schedules came to.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    killed: u64,
    refused_by_fence: u64,
    no_lock: u64,
    all_done: u64,
    scripts: u64,
    wrong: Vec<String>,
}

/// Plays the schedule of one seed.
async fn play(seed: u64, fenced: bool, loud: bool) -> Tally {
    let mut random = Random::new(seed);
    let began = Instant::now();
    let story = Story {
        began,
        lines: Arc::default(),
        wrong: Arc::default(),
        loud,
    };
    let hosts: Vec<Arc<Host>> = (0..HOSTS)
        .map(|n| Host::new(&format!("h{n}"), random.fork(), fenced))
        .collect();
    let loss = [0, 0, 12, 5][random.below(4) as usize];
    let mut tally = Tally::default();
    // Reboots, one at most for a host.
    for host in &hosts {
        if !random.once_in(4) {
            continue;
        }
        let (from, until) = span(&mut random, 200, 60);
        let (host, story) = (Arc::clone(host), story.clone());
        tokio::spawn(async move {
            sleep_until(began + from).await;
            story.tell(&format!("{} goes down", host.name));
            host.crash();
            sleep_until(began + until).await;
            story.tell(&format!("{} is up", host.name));
            host.start();
        });
    }
    let players = 2 + random.below(3) as usize;
    // Sometimes the lock does not hold: every run looks like a process that is no more, though it lives, and is robbed by
    // the next. Only the fence is left then.
    let robbed = random.once_in(3);
    let mut tasks = Vec::new();
    for number in 1..=players {
        let some_span = |random: &mut Random, times, longest| -> Vec<Span> {
            if random.once_in(times) {
                vec![span(random, 200, longest)]
            } else {
                Vec::new()
            }
        };
        let net = Arc::new(Net {
            began,
            hosts: hosts.clone(),
            pauses: some_span(&mut random, 2, 120),
            cuts: (0..HOSTS).map(|_| some_span(&mut random, 4, 150)).collect(),
            loss,
            random: Mutex::new(random.fork()),
        });
        let mut here = Controller::here();
        if robbed {
            "1".clone_into(&mut here.born);
        } else {
            here.machine = format!("desk-{number}/boot/pid");
        }
        let player = Player {
            number,
            graph: Arc::clone(&GRAPHS[number]),
            text: format!("run-{number}"),
            net,
            here,
            story: story.clone(),
            stop: Stop::new(),
        };
        let start = secs(random.below(if robbed { 40 } else { 150 }));
        let dies = random.once_in(4).then(|| start + secs(random.below(60)));
        let told = story.clone();
        let work = tokio::spawn(async move {
            sleep_until(began + start).await;
            told.tell(&format!("run-{number} starts"));
            let outcome = player.build().await;
            told.tell(&format!("run-{number} ends: all done {}", outcome.all_done));
            outcome
        });
        if let Some(at) = dies {
            let (handle, told) = (work.abort_handle(), story.clone());
            tokio::spawn(async move {
                sleep_until(began + at).await;
                told.tell(&format!("run-{number} is killed"));
                handle.abort();
            });
        }
        tasks.push(work);
    }
    for (at, task) in tasks.into_iter().enumerate() {
        tally.runs += 1;
        let number = at + 1;
        match timeout(secs(4 * 3600), task).await {
            Err(_) => story.wrong(format!("run-{number} never ends")),
            Ok(Err(error)) if error.is_cancelled() => tally.killed += 1,
            Ok(Err(error)) => story.wrong(format!("run-{number} panicked: {error}")),
            Ok(Ok(outcome)) => {
                if outcome.refused {
                    tally.no_lock += 1;
                } else if outcome.ended.len() != 4 * HOSTS {
                    story.wrong(format!(
                        "run-{number}: {} of {} steps ended",
                        outcome.ended.len(),
                        4 * HOSTS
                    ));
                }
                tally.all_done += u64::from(outcome.all_done);
            }
        }
    }
    // All that is under way comes to its end; then one more run, with nothing in its way, makes everything good.
    sleep(secs(400)).await;
    let net = Arc::new(Net {
        began,
        hosts: hosts.clone(),
        pauses: Vec::new(),
        cuts: vec![Vec::new(); HOSTS],
        loss: 0,
        random: Mutex::new(random.fork()),
    });
    let last = Player {
        number: 0,
        graph: Arc::clone(&GRAPHS[0]),
        text: "run-0".to_owned(),
        net,
        here: Controller {
            machine: "last/boot/pid".to_owned(),
            ..Controller::here()
        },
        story: story.clone(),
        stop: Stop::new(),
    };
    match timeout(secs(3600), last.build()).await {
        Err(_) => story.wrong("the last run never ends".to_owned()),
        Ok(outcome) if !outcome.all_done => {
            story.wrong("the last run does not make it good".to_owned());
        }
        Ok(_) => {
            for host in &hosts {
                for path in ["/a", "/b", "/c", "/d"] {
                    let found = host.file(path);
                    if found.as_deref() != Some("run-0") {
                        story.wrong(format!("{}{path} says {found:?} in the end", host.name));
                    }
                }
            }
        }
    }
    for host in &hosts {
        tally.scripts += host.scripts();
        for wrong in host.wrong() {
            story.wrong(wrong);
        }
    }
    let lines = story.lines.lock().unwrap();
    tally.refused_by_fence = lines
        .iter()
        .filter(|line| line.contains("refuses this run"))
        .count() as u64;
    let wrong = story.wrong.lock().unwrap();
    if let Some(first) = wrong.first() {
        tally.wrong.push(format!(
            "seed {seed}: {first} (and {} more; FOUNDRY_SIM_SEED={seed} repeats it){}",
            wrong.len() - 1,
            host::tail(&lines)
        ));
    }
    tally
}

fn played(seed: u64, fenced: bool, loud: bool) -> Tally {
    LazyLock::force(&GRAPHS);
    time::simulate(seed, || {
        // Pauses between attempts are drawn from this.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(play(seed, fenced, loud))
    })
}

/// Plays `count` schedules from `first` on, on all processors. Stops at what goes wrong.
fn many_of(first: u64, count: u64, fenced: bool) -> Tally {
    let next = std::sync::atomic::AtomicU64::new(first);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count || !total.lock().unwrap().wrong.is_empty() {
                        return;
                    }
                    let tally = played(seed, fenced, false);
                    let mut total = total.lock().unwrap();
                    total.runs += tally.runs;
                    total.killed += tally.killed;
                    total.refused_by_fence += u64::from(tally.refused_by_fence > 0);
                    total.no_lock += tally.no_lock;
                    total.all_done += tally.all_done;
                    total.scripts += tally.scripts;
                    total.wrong.extend(tally.wrong);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "says what it was worth")]
fn no_schedule_lets_two_runs_write() {
    if let Some(seed) = setting("FOUNDRY_SIM_SEED") {
        let tally = played(seed, true, true);
        assert!(tally.wrong.is_empty(), "{}", tally.wrong[0]);
        return;
    }
    let tally = many_of(0, SCHEDULES, true);
    assert!(tally.wrong.is_empty(), "{}", tally.wrong[0]);
    // The schedules are worth something: runs meet each other in all ways.
    assert!(tally.refused_by_fence > SCHEDULES / 50, "{tally:?}");
    assert!(
        tally.killed > SCHEDULES / 10 && tally.no_lock > SCHEDULES / 50,
        "{tally:?}"
    );
    assert!(tally.all_done > SCHEDULES / 4, "{tally:?}");
    println!("{SCHEDULES} schedules: {tally:?}");
}

#[test]
#[ignore = "takes minutes: for the night"]
#[expect(clippy::print_stdout, reason = "says what it was worth")]
fn many() {
    let count = setting("FOUNDRY_SIM_COUNT").unwrap_or(100_000);
    let began = std::time::Instant::now();
    let tally = many_of(1_000_000, count, true);
    println!("{count} schedules in {:?}: {tally:?}", began.elapsed());
    assert!(tally.wrong.is_empty(), "{}", tally.wrong[0]);
}

#[test]
fn hosts_that_do_not_look_at_the_fence_are_found_out() {
    let tally = many_of(0, 200, false);
    assert_eq!(
        tally.wrong.len().min(1),
        1,
        "200 schedules did not need the fence: {tally:?}"
    );
    let wrong = &tally.wrong[0];
    assert!(
        wrong.contains("scripts of two runs at once")
            || wrong.contains("after one of")
            || wrong.contains("is called done"),
        "{wrong}"
    );
}

#[test]
fn a_seed_is_one_schedule() {
    let stories: Vec<(u64, u64)> = (0..2)
        .map(|_| {
            let tally = played(5, true, false);
            (tally.scripts, tally.all_done)
        })
        .collect();
    assert_eq!(stories[0], stories[1]);
}
