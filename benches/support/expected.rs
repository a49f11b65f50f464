//! What the graph of a stack expects of its targets, as facts: the world in which every step is satisfied. Asks nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foundry::catalog::{Task, Value, Values, evaluate_over};
use foundry::graph::{Fingerprints, Graph, HoleId, Inputs, Step, StepId};
use foundry::plan::{outputs, stamp};
use foundry::probe::{Fact, Facts, Known, Stamp};
use foundry::secret::Secret;

/// Returns fingerprints of secrets that a stack without secrets may use.
pub fn fingerprints() -> Fingerprints {
    Fingerprints::new("bench".to_owned(), Secret::new([7; 32]))
}

/// Returns the facts that meet every expectation of `task` with these inputs.
pub fn facts(task: &Task, values: &Values) -> Facts {
    task.expect
        .iter()
        .filter_map(|(name, template)| {
            let (value, _) = evaluate_over(template, values, None).expect("an expectation");
            Some((name.clone(), Fact::Text(text(&value)?)))
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::List(any) => text(any.first()?),
        Value::Secret(_) | Value::Map(_) => panic!("no stack of the benches has one: {value:?}"),
    }
}

/// What is expected of one step.
pub struct Expected {
    pub facts: Arc<Facts>,
    pub stamp: Arc<Stamp>,
}

/// What is expected of steps, made once for those that share their inputs.
pub struct World<'a> {
    graph: &'a Graph,
    known: Known,
    made: HashMap<(usize, usize), Arc<Expected>>,
    /// Facts and stamps that are the same are there once, as a look at hosts that answer alike brings them.
    facts: HashSet<Arc<Facts>>,
    stamps: HashMap<String, Arc<Stamp>>,
}

impl<'a> World<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        Self {
            graph,
            known: Known::new(graph, Vec::<(HoleId, Secret<String>)>::new()),
            made: HashMap::new(),
            facts: HashSet::new(),
            stamps: HashMap::new(),
        }
    }

    /// Returns what is expected of a step; `None` of a gathering point.
    pub fn expected(&mut self, id: StepId) -> Option<Arc<Expected>> {
        let step = self.graph.step(id);
        let task = step.task.as_ref()?;
        let key = (Arc::as_ptr(task).addr(), address(&step.inputs));
        if let Some(made) = self.made.get(&key) {
            return Some(Arc::clone(made));
        }
        let expected = Arc::new(self.expect(step, task));
        self.made.insert(key, Arc::clone(&expected));
        Some(expected)
    }

    fn expect(&mut self, step: &Step, task: &Task) -> Expected {
        let filled = self.known.fill(&step.inputs);
        assert!(filled.open.is_empty(), "{} has holes", step.label);
        let facts = facts(task, &filled.values);
        let _told = outputs(task, &filled.values, &facts).expect("outputs");
        let stamp = stamp(task, &step.target, &filled.values, &fingerprints());
        let facts = self.facts.get(&facts).cloned().unwrap_or_else(|| {
            let facts = Arc::new(facts);
            self.facts.insert(Arc::clone(&facts));
            facts
        });
        let stamp = self
            .stamps
            .entry(stamp.key.clone())
            .or_insert_with(|| Arc::new(stamp));
        Expected {
            facts,
            stamp: Arc::clone(stamp),
        }
    }
}

fn address(inputs: &Arc<Inputs>) -> usize {
    Arc::as_ptr(inputs).addr()
}
