//! Runs `foundry` against a fleet of pretended hosts that speak real SSH on the loopback interface, with a wire's latency,
//! loss, slowness and failures, and tells what it took: wall time, CPU on either side, memory, and how every step of
//! every host ended. Ends by itself.
//!
//! ```text
//! cargo bench --bench fleet -- --hosts 10000 --steps 40 --latency 20
//! cargo bench --bench fleet -- --hosts 10000 --steps 40 --latency 20 --first --failing 0.01 --unreachable 0.01
//! cargo bench --bench fleet -- --hosts 500 --soak 30 --loss 0.01 --slow 0.02 --failing 0.01 --unreachable 0.01 --json
//! ```

mod delay;
#[path = "../support/expected.rs"]
mod expected;
mod host;
#[path = "../support/no_actions.rs"]
mod no_actions;
mod server;
#[path = "../support/stack.rs"]
mod stack;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use foundry::catalog::Catalog;
use foundry::config::{Source, parse};
use foundry::event::{Event, What};
use foundry::graph::{Graph, Target, expand};
use foundry::target::host::generate_key;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use serde::Serialize;

use delay::Wire;
use host::{Faults, Hosts};
use server::{Network, Served};

/// Runs foundry against pretended hosts
#[derive(Debug, Parser)]
struct Options {
    /// Hosts, 10,000 at most
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Steps on each
    #[arg(long, default_value_t = 40)]
    steps: usize,
    /// Milliseconds there and back
    #[arg(long, default_value_t = 20)]
    latency: u64,
    /// Part of the packets that are lost once
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Part of the hosts on which everything takes 200 ms longer
    #[arg(long, default_value_t = 0.0)]
    slow: f64,
    /// Part of the hosts on which a step fails
    #[arg(long, default_value_t = 0.0)]
    failing: f64,
    /// Part of the hosts that can't be reached
    #[arg(long, default_value_t = 0.0)]
    unreachable: f64,
    /// Nothing is there yet: a first run
    #[arg(long)]
    first: bool,
    /// How often to run
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Runs for that many minutes, in turn a first run and one with all there, whatever `first` and `repeat` say
    #[arg(long)]
    soak: Option<u64>,
    /// Most seconds for a run; then it is killed
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// The program to run
    #[arg(long, default_value = env!("CARGO_BIN_EXE_foundry"))]
    foundry: PathBuf,
    /// Its arguments
    #[arg(long, default_value = "build stack --output json")]
    command: String,
    /// Only print the results, one JSON object a run
    #[arg(long)]
    json: bool,
    /// What cargo hands to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one run took.
#[derive(Debug, Serialize)]
struct Took {
    hosts: usize,
    /// Steps of the whole stack, without gathering points.
    steps: usize,
    exit: Option<i32>,
    wall_s: f64,
    /// CPU of foundry.
    cpu_s: f64,
    cpu_ms_per_host: f64,
    /// Most memory that foundry had.
    rss_mib: f64,
    /// CPU of the pretended hosts.
    hosts_cpu_s: f64,
    connections: u64,
    programs: u64,
    /// How many steps ended how.
    states: BTreeMap<String, usize>,
    /// Hosts that could not be probed.
    unreachable: usize,
    /// Hosts of which a step has no final state, or more than one.
    unaccounted: usize,
    /// Whether nothing was there before.
    first: bool,
    /// Files that the pretended hosts have open afterwards: connections that were not closed.
    descriptors: usize,
    /// Files in Foundry's home afterwards.
    home_files: usize,
}

fn main() {
    let options = Options::parse();
    // A connection is a file on either side.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let stage = runtime.block_on(async { Stage::new(&options, folder.path()) });
    let Some(minutes) = options.soak else {
        for _ in 0..options.repeat {
            stage.run(&options, options.first, &runtime);
        }
        return;
    };
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut first = true;
    while Instant::now() < end {
        stage.run(&options, first, &runtime);
        first = !first;
    }
}

/// Everything that stays from run to run.
struct Stage {
    home: PathBuf,
    config: PathBuf,
    graph: Graph,
    listener: Option<std::net::TcpListener>,
    network: Network,
    host_key: foundry::secret::Secret<String>,
}

impl Stage {
    fn new(options: &Options, folder: &Path) -> Self {
        let listener = server::listen().expect("a port of the loopback interface");
        let port = listener.local_addr().expect("an address").port();
        let (identity, _) = generate_key("bench").expect("a key");
        let (host_key, public) = generate_key("").expect("a key");
        let key_file = folder.join("id");
        write(&key_file, identity.expose());
        let access = stack::Access {
            port,
            identity: key_file.display().to_string(),
            host_key: public.trim().to_owned(),
        };
        let shape = stack::Shape {
            hosts: options.hosts,
            steps: options.steps,
        };
        let text = stack::config(shape, &access);
        let config = folder.join("stack.yaml");
        write(&config, &text);
        for (path, text) in stack::recipe() {
            write(&folder.join(path), text);
        }
        // The recipe that every stack has is not what is measured.
        write(
            &folder.join("recipes/base/recipe.toml"),
            "summary = \"Nothing\"\nrole = \"nobody\"\n",
        );
        let source = Source {
            name: "stack.yaml".to_owned(),
            text,
        };
        let parsed = Arc::new(parse(&Arc::new(source)).expect("a stack"));
        let catalog = Catalog::load(&stack::files()).expect("a catalog");
        Self {
            home: folder.to_owned(),
            config,
            graph: expand(&parsed, &catalog).expect("a graph"),
            listener: Some(listener.into_std().expect("a listener")),
            network: Network {
                wire: Wire {
                    latency: Duration::from_millis(options.latency),
                    loss: options.loss,
                },
                slow: options.slow,
                slower: Duration::from_millis(200),
                unreachable: options.unreachable,
            },
            host_key,
        }
    }

    #[expect(clippy::print_stdout, reason = "the result")]
    fn run(&self, options: &Options, first: bool, runtime: &tokio::runtime::Runtime) {
        let faults = Faults {
            failing: options.failing,
        };
        let hosts = Arc::new(Hosts::new(&self.graph, !first, faults));
        let served = Arc::new(Served::default());
        let listener = self
            .listener
            .as_ref()
            .expect("a listener")
            .try_clone()
            .expect("a listener");
        let serving = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            runtime.spawn(server::serve(
                listener,
                hosts,
                self.network,
                self.host_key.clone(),
                Arc::clone(&served),
            ))
        };
        let (mine, theirs) = (cpu(UsageWho::RUSAGE_SELF), cpu(UsageWho::RUSAGE_CHILDREN));
        let began = Instant::now();
        let told = self.home.join("events");
        let (exit, rss_mib) = self.foundry(options, &told);
        let wall_s = began.elapsed().as_secs_f64();
        let cpu_s = cpu(UsageWho::RUSAGE_CHILDREN) - theirs;
        let hosts_cpu_s = cpu(UsageWho::RUSAGE_SELF) - mine;
        serving.abort();
        let ended = Ended::read(&told, &self.graph);
        let took = Took {
            hosts: options.hosts,
            steps: self
                .graph
                .steps
                .iter()
                .filter(|step| step.task.is_some())
                .count(),
            exit,
            wall_s,
            cpu_s,
            cpu_ms_per_host: cpu_s * 1e3 / options.hosts as f64,
            rss_mib,
            hosts_cpu_s,
            connections: served.connections.load(Ordering::Relaxed),
            programs: served.programs.load(Ordering::Relaxed),
            states: ended.states,
            unreachable: ended.unreachable,
            unaccounted: ended.unaccounted,
            first,
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            home_files: files(&self.home),
        };
        if options.json {
            println!("{}", serde_json::to_string(&took).expect("JSON"));
        } else {
            println!("{}", serde_json::to_string_pretty(&took).expect("JSON"));
        }
    }

    /// Runs the program to its end, or kills it at the limit. Returns how it ended and the most memory it had, in MiB.
    fn foundry(&self, options: &Options, told: &Path) -> (Option<i32>, f64) {
        let mut child = Command::new(&options.foundry)
            .args(options.command.split_whitespace())
            .arg("--config")
            .arg(&self.config)
            .arg("--yes")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("FOUNDRY_HOME", &self.home)
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .stdin(Stdio::null())
            .stdout(File::create(told).expect("a file"))
            .spawn()
            .expect("foundry");
        let end = Instant::now() + Duration::from_secs(options.limit);
        let mut most = 0.0;
        loop {
            // The kernel keeps the most there was; it goes with the process.
            most = rss_mib(child.id()).unwrap_or(most);
            if let Some(status) = child.try_wait().expect("a child") {
                return (status.code(), most);
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return (None, most);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// How everything ended, as the events tell it.
struct Ended {
    states: BTreeMap<String, usize>,
    unreachable: usize,
    unaccounted: usize,
}

impl Ended {
    fn read(told: &Path, graph: &Graph) -> Self {
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        let mut unreachable = 0;
        let mut ends: HashMap<String, usize> = HashMap::new();
        for line in BufReader::new(File::open(told).expect("events")).lines() {
            let line = line.expect("a line");
            match serde_json::from_str::<Event>(&line).map(|event| event.what) {
                Ok(What::StepFinished(step)) => {
                    let word = serde_json::to_value(step.state).unwrap_or_default();
                    *states
                        .entry(word.as_str().unwrap_or("?").to_owned())
                        .or_default() += 1;
                    *ends.entry(step.label).or_default() += 1;
                }
                Ok(What::HostUnreachable(_)) => unreachable += 1,
                _ => {}
            }
        }
        let bad: HashSet<u32> = graph
            .steps
            .iter()
            .filter_map(|step| match step.target {
                Target::Host(host) if ends.get(&step.label.to_string()) != Some(&1) => Some(host.0),
                _ => None,
            })
            .collect();
        Self {
            states,
            unreachable,
            unaccounted: bad.len(),
        }
    }
}

fn cpu(who: UsageWho) -> f64 {
    let Ok(usage) = getrusage(who) else {
        return 0.0;
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Returns the most memory that a process has had so far.
fn rss_mib(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Counts the files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => 1,
        })
        .sum()
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = path.parent().expect("a folder");
    std::fs::create_dir_all(parent).expect("a folder");
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}
