//! A stack of pretended hosts: each is a folder, and a real shell that sees it as `/ROOT`. Everything else is Foundry's own:
//! config, catalog, graph, probe, plan, run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foundry::catalog::{Catalog, Files, Rollout, resolve_rollout};
use foundry::config::{self, HostId, Source, Stack};
use foundry::event::{Event, Final, StepFinished, Summary, What};
use foundry::graph::{
    Fingerprints, Graph, Hole, HoleId, Selection, Selector, Shard, StepId, expand,
};
use foundry::plan::{Plan, plan};
use foundry::probe::{
    AccessError, AccessKind, Door, Known, Nonce, Observed, Program, Reader, Readers, Reply, Round,
    ServiceReader, observe,
};
use foundry::run::{
    Action, Gate, Limits, RunRequest, ServiceWriter, Stop, Tell, Tunnel, Upload, Writer, Writers,
};
use foundry::secret::{Masker, Resolution, Resolver, Secret, Vars};
use futures::future::BoxFuture;

use super::keeper::NoKeeper;

const TASKS: [(&str, &str); 8] = [
    ("note", include_str!("catalog/note.toml")),
    ("started", include_str!("catalog/started.toml")),
    ("shell", include_str!("catalog/shell.toml")),
    ("lie", include_str!("catalog/lie.toml")),
    ("check", include_str!("catalog/check.toml")),
    ("answers", include_str!("catalog/answers.toml")),
    ("once", include_str!("catalog/once.toml")),
    ("put", include_str!("catalog/put.toml")),
];

/// What can go wrong with a host.
#[derive(Default)]
pub struct Faults {
    /// It does not answer at all.
    pub down: AtomicBool,
    /// So many changing programs are done, and their answers lost.
    pub lose: AtomicU32,
    /// So many changing programs are cut off in the middle of their answers.
    pub cut: AtomicU32,
}

/// One pretended host.
pub struct Machine {
    name: Arc<str>,
    pub root: PathBuf,
    pub faults: Faults,
    running: AtomicU32,
    pub most: AtomicU32,
}

impl Machine {
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }

    fn error(&self, kind: AccessKind, message: &str) -> AccessError {
        AccessError {
            host: Arc::clone(&self.name),
            kind,
            message: message.to_owned(),
            hint: None,
        }
    }

    async fn sh(&self, program: &Program) -> Reply {
        let root = self.root.to_str().unwrap();
        let text = program
            .text
            .expose()
            .replace("/var/lib/foundry", &format!("{root}/state"))
            .replace("/ROOT", root);
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let output = tokio::task::spawn_blocking(move || {
            let mut child = Command::new("dash")
                .args(["-c", "eval \"$(cat)\""])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap().unwrap();
            output
        })
        .await
        .unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        // The host knows itself as /ROOT.
        let back = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&format!("{root}/state"), "/var/lib/foundry")
                .replace(root, "/ROOT")
                .into_bytes()
        };
        Reply {
            stdout: back(output.stdout),
            stderr: back(output.stderr),
            status: output.status.code(),
        }
    }
}

fn took(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

impl Reader for Machine {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            if self.faults.down.load(Ordering::SeqCst) {
                return Err(self.error(AccessKind::Lost, "connection reset by peer"));
            }
            Ok(self.sh(program).await)
        })
    }
}

impl Writer for Machine {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            let mut reply = self.ask(program).await?;
            if took(&self.faults.lose) {
                return Err(self.error(AccessKind::Lost, "connection reset by peer"));
            }
            if took(&self.faults.cut) {
                reply.stdout.truncate(reply.stdout.len() / 5);
                reply.status = None;
            }
            Ok(reply)
        })
    }

    fn upload_through<'a>(
        &'a self,
        _: &'a Upload,
        _: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async { Err(self.error(AccessKind::Local, "no uploads here")) })
    }

    fn forward(&self, _: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        Box::pin(async { Err(self.error(AccessKind::Local, "no tunnels here")) })
    }
}

pub struct Hosts(Vec<Arc<Machine>>);

impl Readers for Hosts {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move { Ok(self.writer(host).await? as Arc<dyn Reader>) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Hosts {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        let machine = Arc::clone(&self.0[host.0 as usize]);
        Box::pin(async move {
            if machine.faults.down.load(Ordering::SeqCst) {
                return Err(machine.error(AccessKind::Unreachable, "no route to host"));
            }
            Ok(machine as Arc<dyn Writer>)
        })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}

pub struct None_;

impl foundry::probe::Actions for None_ {
    fn find(&self, _: &str) -> Option<&dyn foundry::probe::ActionProbe> {
        None
    }
}

impl foundry::run::Actions for None_ {
    fn action(&self, _: &str) -> Option<Arc<dyn Action>> {
        None
    }
}

/// What one run told.
pub struct Told {
    pub summary: Summary,
    pub events: Vec<Event>,
}

impl Told {
    /// Returns how a step ended.
    pub fn step(&self, label: &str) -> &StepFinished {
        let mut all = self.events.iter().filter_map(|event| match &event.what {
            What::StepFinished(step) if step.label == label => Some(step),
            _ => None,
        });
        let step = all.next().unwrap_or_else(|| panic!("{label} did not end"));
        assert!(all.next().is_none(), "{label} ended twice");
        step
    }

    /// Returns the steps in a state, without their component, as one line.
    pub fn of(&self, state: Final) -> String {
        let mut labels: Vec<&str> = self
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::StepFinished(step) if step.state == state => step.label.strip_prefix("demo:"),
                _ => None,
            })
            .collect();
        labels.sort_unstable();
        labels.join(" ")
    }

    pub fn json(&self) -> String {
        self.events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect()
    }
}

pub struct Rig {
    _folder: tempfile::TempDir,
    pub machines: Vec<Arc<Machine>>,
    pub limits: Limits,
    /// How long to wait for other shards.
    pub patience: Duration,
    pub stop: Stop,
    /// What fingerprints of secrets are made with.
    pub prints: Fingerprints,
    /// What the run's programs go through.
    pub gate: Gate,
    /// Told of each event as it happens.
    pub watch: Arc<dyn Fn(&Event) + Send + Sync>,
    recipe: String,
    settings: String,
}

impl Rig {
    /// Makes a stack of hosts `h0`, `h1`, … with one component, `demo`.
    pub fn new(hosts: usize, recipe: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machines = (0..hosts)
            .map(|n| {
                let root = folder.path().join(format!("h{n}"));
                fs::create_dir(&root).unwrap();
                Arc::new(Machine {
                    name: format!("h{n}").into(),
                    root,
                    faults: Faults::default(),
                    running: AtomicU32::new(0),
                    most: AtomicU32::new(0),
                })
            })
            .collect();
        Self {
            _folder: folder,
            machines,
            limits: Limits::default(),
            patience: Duration::from_secs(60),
            stop: Stop::new(),
            prints: fingerprints(),
            gate: Gate::default(),
            watch: Arc::new(|_| {}),
            recipe: recipe.to_owned(),
            settings: "{}".to_owned(),
        }
    }

    /// Sets what the config says of the component.
    pub fn set(&mut self, settings: &str) {
        self.settings = settings.to_owned();
    }

    pub fn writers(&self) -> Arc<dyn Writers> {
        Arc::new(Hosts(self.machines.clone()))
    }

    pub fn graph(&self) -> Arc<Graph> {
        let (stack, catalog) = self.written();
        Arc::new(expand(&stack, &catalog).unwrap_or_else(|error| panic!("{error:#?}")))
    }

    /// Returns how the component moves over its hosts.
    fn rollouts(&self) -> BTreeMap<String, Rollout> {
        let (stack, catalog) = self.written();
        let rollout = resolve_rollout(&catalog.recipes["demo"], &stack).unwrap();
        rollout
            .map(|rollout| ("demo".to_owned(), rollout))
            .into_iter()
            .collect()
    }

    fn written(&self) -> (Arc<Stack>, Catalog) {
        let hosts: String = (0..self.machines.len())
            .map(|n| format!("  - hostname: h{n}\n"))
            .collect();
        let text = format!(
            "cluster: {{ name: rig, domain: example.com }}\nhosts:\n{hosts}components:\n  demo: {}\n",
            self.settings
        );
        let stack = config::parse(&Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text,
        }))
        .unwrap();
        let mut files = Files::default();
        for (name, text) in TASKS {
            files.add("", &format!("tasks/{name}.toml"), text);
        }
        files.add(
            "",
            "recipes/demo/recipe.toml",
            &format!("summary = \"Demo\"\nrole = \"*\"\n{}", self.recipe),
        );
        let catalog = Catalog::load(&files).unwrap_or_else(|error| panic!("{error:#?}"));
        (Arc::new(stack), catalog)
    }

    /// Looks and plans, as a command does.
    async fn look(&self, graph: &Graph, selection: &Selection, known: Known) -> (Observed, Plan) {
        let hosts = Hosts(self.machines.clone());
        let mut observed = Observed::none(graph);
        let mut steps: Vec<StepId> = graph.ids().collect();
        let mut known = known;
        loop {
            let round = Round {
                graph,
                known: &known,
                readers: &hosts,
                actions: &None_,
                nonce: Nonce::new([7; 16]),
                at_once: 8,
                tell: &|_| {},
            };
            observed.take(observe(&round, steps).await);
            let plan = plan(graph, selection, &observed, known, &self.prints);
            if plan.ask_again.is_empty() {
                return (observed, plan);
            }
            steps = plan.ask_again;
            known = plan.known;
        }
    }

    /// Builds what `selector` selects.
    pub fn build(&self, selector: &str) -> Told {
        self.build_with(selector, &BTreeMap::new())
    }

    /// Builds with these secrets, by reference without `${secret:}`.
    pub fn build_with(&self, selector: &str, secrets: &BTreeMap<&str, &str>) -> Told {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.run(selector, None, secrets))
    }

    /// Builds everything by these shards, all at once.
    pub fn build_shards(&self, shards: &[Shard]) -> Vec<Told> {
        std::thread::scope(|scope| {
            let runs: Vec<_> = shards
                .iter()
                .map(|shard| {
                    scope.spawn(|| {
                        let runtime = tokio::runtime::Builder::new_multi_thread()
                            .worker_threads(2)
                            .enable_all()
                            .build()
                            .unwrap();
                        runtime.block_on(self.run("stack", Some(*shard), &BTreeMap::new()))
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        })
    }

    async fn run(
        &self,
        selector: &str,
        shard: Option<Shard>,
        secrets: &BTreeMap<&str, &str>,
    ) -> Told {
        let graph = self.graph();
        let selection = graph.select(&Selector::parse(selector).unwrap()).unwrap();
        let selection = match shard {
            Some(shard) => graph.shard(&selection, shard),
            None => selection,
        };
        let masker = Arc::new(Masker::default());
        let env: BTreeMap<String, Secret<String>> = secrets
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())))
            .collect();
        let resolver = Resolver::new(
            move |name| env.get(name).cloned(),
            Vars::default(),
            "vars",
            None,
            Arc::clone(&masker),
        );
        let mut known_secrets: Vec<(HoleId, Secret<String>)> = Vec::new();
        for (at, hole) in (0..).zip(&graph.holes) {
            if let Hole::Secret(reference) = hole
                && let Ok(Resolution::Found { value, .. }) = resolver.resolve(reference).await
            {
                known_secrets.push((HoleId(at), value));
            }
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let (sink, watch) = (Arc::clone(&events), Arc::clone(&self.watch));
        let sink = Arc::new(move |event: Event| {
            watch(&event);
            sink.lock().unwrap().push(event);
        });
        let tell = Tell::begin(
            "rig",
            "foundry build",
            graph.stack.hosts.len(),
            sink,
            masker,
        );
        let known = Known::new(&graph, known_secrets);
        let (observed, plan) = self.look(&graph, &selection, known).await;
        let request = RunRequest {
            graph,
            selection,
            observed,
            plan,
            fingerprints: Arc::new(self.prints.clone()),
            writers: self.writers(),
            actions: Arc::new(None_),
            keeper: Arc::new(NoKeeper),
            secrets: Arc::new(resolver),
            limits: self.limits,
            rollouts: self.rollouts(),
            patience: self.patience,
            lock: None,
            gate: self.gate.clone(),
            stop: self.stop.clone(),
            tell,
        };
        let summary = foundry::run::run(request).await.unwrap();
        let events = std::mem::take(&mut *events.lock().unwrap());
        Told { summary, events }
    }
}

pub fn fingerprints() -> Fingerprints {
    Fingerprints::new("k1".to_owned(), Secret::new([3; 32]))
}

/// Tells of a run of its own, and keeps what is told.
pub fn voice() -> (Tell, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let sink = Arc::new(move |event: Event| sink.lock().unwrap().push(event));
    (
        Tell::begin(
            "rig",
            "foundry build stack",
            1,
            sink,
            Arc::new(Masker::default()),
        ),
        events,
    )
}
