//! Steps of one component on a real cluster: observed, applied and judged as a run does it. Knows nothing of what is tested.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use foundry::catalog::{Catalog, Task, Value, Values};
use foundry::config::{self, HostId, Source, Stack};
use foundry::graph::{Label, StepId};
use foundry::plan::{mismatches, wanted};
use foundry::probe::{
    AccessError, AccessKind, Asked, Door, Facts, Fault, Program, Reader, Readers, Reply,
    ServiceReader,
};
use foundry::run::{ActionContext, ServiceWriter, StepError, Tunnel, Upload, Writer, Writers};
use foundry::secret::Masker;
use foundry::target::cluster::{Access, ClusterService};
use futures::future::BoxFuture;

use super::keeper::NoKeeper;

/// Hosts of the test: each is this machine, or does not answer. None at all where the API is reached directly.
#[derive(Default)]
pub struct Hosts {
    /// Whether each answers.
    pub up: Vec<bool>,
    /// How many tunnels were opened.
    pub tunnels: AtomicU32,
}

/// A host that answers.
struct Here;

/// Leads to the port itself.
struct Straight(u16);

impl Tunnel for Straight {
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0))
    }
}

impl Reader for Here {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            let mut child = Command::new("sh")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(program.text.expose().as_bytes()).unwrap();
            drop(stdin);
            let output = child.wait_with_output().unwrap();
            Ok(Reply {
                stdout: output.stdout,
                stderr: output.stderr,
                status: output.status.code(),
            })
        })
    }
}

impl Writer for Here {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.ask(program)
    }

    fn upload_through<'a>(
        &'a self,
        _: &'a Upload,
        _: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async { Err(none()) })
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        Box::pin(async move { Ok(Box::new(Straight(port)) as Box<dyn Tunnel>) })
    }
}

fn none() -> AccessError {
    AccessError {
        host: "none".into(),
        kind: AccessKind::Unreachable,
        message: "no route to host".to_owned(),
        hint: None,
    }
}

impl Readers for Hosts {
    fn reader(&self, _: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async { Err(none()) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Hosts {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            match self.up.get(host.0 as usize) {
                Some(true) => {
                    self.tunnels.fetch_add(1, Ordering::SeqCst);
                    Ok(Arc::new(Here) as Arc<dyn Writer>)
                }
                _ => Err(none()),
            }
        })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}

/// A component's steps on a cluster.
pub struct Rig {
    pub service: ClusterService,
    pub stack: Arc<Stack>,
    pub masker: Arc<Masker>,
    catalog: Catalog,
    component: &'static str,
    hosts: Vec<HostId>,
    said: Mutex<Vec<String>>,
}

/// What an apply came to.
pub struct Failed {
    pub message: String,
    pub output: String,
    pub hint: String,
}

pub fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|&one| text(one)).collect())
}

impl Rig {
    /// A rig that reaches the API as a kubeconfig says.
    pub fn new(kubeconfig: PathBuf, component: &'static str, force: bool) -> Self {
        let access = Access::Kubeconfig(kubeconfig);
        Self::through(Arc::default(), access, component, force)
    }

    /// A rig that reaches the API through hosts.
    pub fn through(
        hosts: Arc<Hosts>,
        access: Access,
        component: &'static str,
        force: bool,
    ) -> Self {
        let providers = (0..).map(HostId).take(hosts.up.len()).collect();
        let source = Source {
            name: "stack.yaml".into(),
            text: "cluster: { name: lab }\nhosts: [{ hostname: none, address: 127.0.0.1 }]\n"
                .into(),
        };
        let stack = Arc::new(config::parse(&Arc::new(source)).unwrap());
        let masker = Arc::new(Masker::new([]));
        Self {
            service: ClusterService::new(hosts, access, stack.clone(), masker.clone(), force),
            stack,
            masker,
            catalog: Catalog::embedded().unwrap(),
            component,
            hosts: providers,
            said: Mutex::default(),
        }
    }

    fn task(&self, name: &str) -> &Task {
        &self.catalog.tasks[name]
    }

    fn inputs(&self, task: &str, given: &[(&str, Value)]) -> Values {
        let task = self.task(task);
        let mut values: Values = task
            .inputs
            .iter()
            .map(|(name, spec)| (name.clone(), spec.default.clone().unwrap_or(Value::Null)))
            .collect();
        for (name, value) in given {
            let known = values.insert((*name).to_owned(), value.clone());
            assert!(known.is_some(), "no input {name}");
        }
        values
    }

    fn label(&self, task: &str) -> Label {
        Label {
            component: self.component.into(),
            step: task.into(),
            item: None,
            host: None,
        }
    }

    /// Observes several steps in one round.
    pub async fn round(&self, steps: &[(&str, Vec<(&str, Value)>)]) -> Vec<Result<Facts, Fault>> {
        let labels: Vec<Label> = steps.iter().map(|(task, _)| self.label(task)).collect();
        let inputs: Vec<Values> = steps
            .iter()
            .map(|(task, given)| self.inputs(task, given))
            .collect();
        let asked: Vec<Asked<'_>> = steps
            .iter()
            .enumerate()
            .map(|(at, (task, _))| Asked {
                step: StepId(u32::try_from(at).unwrap()),
                label: &labels[at],
                action: self.task(task).probe.action.as_ref().unwrap(),
                inputs: &inputs[at],
                hosts: &self.hosts,
            })
            .collect();
        self.service.observe(&asked).await
    }

    pub async fn observe(&self, task: &str, given: &[(&str, Value)]) -> Result<Facts, Fault> {
        self.round(&[(task, given.to_vec())]).await.remove(0)
    }

    /// Returns what is not as wanted, as a plan words it.
    pub async fn wrong(&self, task: &str, given: &[(&str, Value)]) -> Vec<String> {
        let facts = self.observe(task, given).await.unwrap();
        let wanted = wanted(self.task(task), &self.inputs(task, given)).unwrap();
        mismatches(&wanted, &facts)
            .iter()
            .map(|mismatch| mismatch.reason.to_string())
            .collect()
    }

    /// Returns whether nothing of a step is there, which a plan calls missing.
    pub async fn is_missing(&self, task: &str, given: &[(&str, Value)]) -> bool {
        let facts = self.observe(task, given).await.unwrap();
        let wanted = wanted(self.task(task), &self.inputs(task, given)).unwrap();
        let found = mismatches(&wanted, &facts);
        !found.is_empty() && found.iter().all(|mismatch| mismatch.absent)
    }

    /// Applies a step; it must then be as wanted.
    pub async fn apply(&self, task: &str, given: &[(&str, Value)]) -> Result<(), Failed> {
        let action = self.task(task).apply.as_ref().unwrap().action.as_ref();
        self.act(task, action.unwrap(), given).await?;
        assert_eq!(self.wrong(task, given).await, [""; 0], "after applying");
        Ok(())
    }

    /// Undoes a step.
    pub async fn remove(&self, task: &str, given: &[(&str, Value)]) -> Result<(), Failed> {
        let action = self.task(task).remove.as_ref().unwrap().action.as_ref();
        self.act(task, action.unwrap(), given).await
    }

    async fn act(&self, task: &str, action: &str, given: &[(&str, Value)]) -> Result<(), Failed> {
        let inputs = self.inputs(task, given);
        let label = self.label(task);
        let say = |line: &str| {
            eprintln!("  {task}: {line}");
            self.said.lock().unwrap().push(line.to_owned());
        };
        let nobody = Hosts::default();
        let context = ActionContext {
            label: &label,
            key: "the-key",
            stack: &self.stack,
            inputs: &inputs,
            hosts: &self.hosts,
            seen: &[],
            facts: &Facts::new(),
            host_facts: &[],
            writers: &nobody,
            keeper: &NoKeeper,
            say: &say,
        };
        self.service
            .apply(action, &context)
            .await
            .map_err(|error| match error {
                StepError::Failed {
                    message,
                    output,
                    hint,
                    ..
                } => Failed {
                    message,
                    output,
                    hint: hint.unwrap_or_default(),
                },
                other => Failed {
                    message: other.to_string(),
                    output: String::new(),
                    hint: String::new(),
                },
            })
    }

    /// Returns everything that was said to the person so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}", self.message, self.output, self.hint)
    }
}
