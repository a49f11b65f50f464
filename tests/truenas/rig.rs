//! Steps on a TrueNAS, observed, applied and judged as a run does it. Knows nothing of what is tested.

use std::sync::{Arc, Mutex};

use foundry::catalog::{Catalog, Task, Value, Values};
use foundry::config::{self, HostId, Source, Stack};
use foundry::graph::{Label, StepId};
use foundry::plan::{mismatches, wanted};
use foundry::probe::{
    AccessError, AccessKind, Asked, Facts, Fault, Reader, Readers, ServiceReader,
};
use foundry::run::{ActionContext, ServiceWriter, StepError, Writer, Writers};
use foundry::secret::Secret;
use foundry::target::truenas::TrueNasService;
use futures::future::BoxFuture;

use super::keeper::NoKeeper;
use super::truenas::{KEY, TrueNas};

/// There are no hosts, and nobody to ask.
struct Nobody;

fn none() -> AccessError {
    AccessError {
        host: "none".into(),
        kind: AccessKind::Unreachable,
        message: "no route to host".to_owned(),
        hint: None,
    }
}

impl Readers for Nobody {
    fn reader(&self, _: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async { Err(none()) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Nobody {
    fn writer(&self, _: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async { Err(none()) })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}

/// A component's steps on a TrueNAS.
pub struct Rig {
    pub service: TrueNasService,
    pub url: String,
    pub username: String,
    pub key: String,
    pub ca: String,
    pub fingerprint: String,
    stack: Stack,
    catalog: Catalog,
    said: Mutex<Vec<String>>,
}

/// What an apply came to.
#[derive(Debug)]
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

pub fn table(entries: &[(&str, &str)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), text(*value)))
            .collect(),
    )
}

pub type Given<'a> = Vec<(&'a str, Value)>;

impl Rig {
    /// A rig that knows the key and trusts the authority.
    pub fn of(nas: &TrueNas) -> Self {
        let source = Source {
            name: "stack.yaml".into(),
            text: "cluster: { name: lab }\nhosts: [{ hostname: none, address: 127.0.0.1 }]\n"
                .into(),
        };
        Self {
            service: TrueNasService::default(),
            url: nas.url(),
            username: String::new(),
            key: KEY.to_owned(),
            ca: nas.ca().to_owned(),
            fingerprint: String::new(),
            stack: config::parse(&Arc::new(source)).unwrap(),
            catalog: Catalog::embedded().unwrap(),
            said: Mutex::default(),
        }
    }

    fn task(&self, name: &str) -> &Task {
        &self.catalog.tasks[name]
    }

    fn inputs(&self, task: &str, given: &[(&str, Value)]) -> Values {
        let inputs = self.task(task).inputs.iter();
        let mut values: Values = inputs
            .map(|(name, spec)| (name.clone(), spec.default.clone().unwrap_or(Value::Null)))
            .collect();
        let key = Value::Secret(Secret::new(self.key.clone()));
        let connection = [
            ("url", text(&self.url)),
            ("username", text(&self.username)),
            ("api_key", key),
            ("ca", text(&self.ca)),
            ("fingerprint", text(&self.fingerprint)),
        ];
        for (name, value) in connection.into_iter().chain(given.iter().cloned()) {
            assert!(
                values.insert(name.to_owned(), value).is_some(),
                "no input {name}"
            );
        }
        values
    }

    fn label(task: &str) -> Label {
        Label {
            component: "storage".into(),
            step: task.into(),
            item: None,
            host: None,
        }
    }

    /// Observes several steps in one round.
    pub async fn round(&self, steps: &[(&str, Given<'_>)]) -> Vec<Result<Facts, Fault>> {
        let labels: Vec<Label> = steps.iter().map(|(task, _)| Self::label(task)).collect();
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
                hosts: &[],
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
        let found = mismatches(&wanted, &facts);
        found.iter().map(|one| one.reason.to_string()).collect()
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
        let say = |line: &str| {
            eprintln!("  {task}: {line}");
            self.said.lock().unwrap().push(line.to_owned());
        };
        let context = ActionContext {
            label: &Self::label(task),
            key: "the-key",
            stack: &self.stack,
            inputs: &inputs,
            hosts: &[],
            seen: &[],
            facts: &Facts::new(),
            host_facts: &[],
            writers: &Nobody,
            keeper: &NoKeeper,
            say: &say,
        };
        let failed = |message: String, output: String, hint: Option<String>| Failed {
            message,
            output,
            hint: hint.unwrap_or_default(),
        };
        match self.service.apply(action, &context).await {
            Ok(()) => Ok(()),
            Err(StepError::Failed {
                message,
                output,
                hint,
                ..
            }) => Err(failed(message, output, hint)),
            Err(other) => Err(failed(other.to_string(), String::new(), None)),
        }
    }

    /// Returns everything that was said to the person so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}
