//! Work and memory grow with the number of hosts and steps, and no faster; what hosts of one kind have in common is there
//! once. Counts allocations, programs and shared things, never time.

#[path = "../benches/support/expected.rs"]
mod expected;
#[path = "../benches/support/heap.rs"]
mod heap;
#[path = "../benches/support/no_actions.rs"]
mod no_actions;
#[path = "../benches/support/stack.rs"]
mod stack;
#[path = "../benches/support/work.rs"]
mod work;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foundry::catalog::Catalog;
use foundry::config::{HostId, Source, parse};
use foundry::graph::{Graph, expand};
use foundry::plan::{Verdict, plan};
use foundry::probe::{
    AccessError, Known, Nonce, Program, Reader, Readers, Reply, Round, ServiceReader, observe,
};
use futures::future::BoxFuture;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Allocations are counted for the whole process: one test at a time.
static COUNTING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn graph(hosts: usize, steps: usize) -> Graph {
    let text = stack::config(stack::Shape { hosts, steps }, &stack::Access::default());
    let name = "stack.yaml".to_owned();
    let stack = parse(&Arc::new(Source { name, text })).unwrap();
    let catalog = Catalog::load(&stack::files()).unwrap();
    expand(&Arc::new(stack), &catalog).unwrap()
}

/// Hosts that take every program and answer nothing.
#[derive(Default)]
struct Silent {
    /// Where the texts of programs lie.
    programs: Mutex<HashSet<usize>>,
    asked: Mutex<usize>,
}

struct Way(&'static Silent);

impl Reader for Way {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        let at = program.text.expose().as_ptr().addr();
        self.0.programs.lock().unwrap().insert(at);
        *self.0.asked.lock().unwrap() += 1;
        Box::pin(async { Ok(Reply::default()) })
    }
}

impl Readers for &'static Silent {
    fn reader(&self, _: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async { Ok(Arc::new(Way(self)) as Arc<dyn Reader>) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

#[tokio::test]
async fn ten_thousand_hosts_of_one_kind_share_one_program() {
    let graph = graph(10_000, 12);
    let silent: &'static Silent = Box::leak(Box::default());
    let round = Round {
        graph: &graph,
        known: &Known::new(&graph, Vec::new()),
        readers: &silent,
        actions: &no_actions::NoActions,
        nonce: Nonce::new([7; 16]),
        at_once: 64,
        tell: &|_| {},
    };
    let look = observe(&round, graph.ids()).await;
    assert_eq!(look.hosts.len(), 10_000);
    assert_eq!(*silent.asked.lock().unwrap(), 10_000);
    // Each host's message of the day is its own, and so are the inputs of its service: outputs of its own steps.
    assert_eq!(silent.programs.lock().unwrap().len(), 1);
}

#[test]
fn hosts_share_inputs_and_decisions_that_are_the_same() {
    let _alone = alone();
    let hosts = 500;
    let graph = graph(hosts, 40);
    let inputs: HashSet<_> = graph
        .steps
        .iter()
        .map(|step| Arc::as_ptr(&step.inputs))
        .collect();
    // 37 steps are the same on all hosts; three are each host's own: two that name it, one that uses its outputs.
    let gathers = graph
        .steps
        .iter()
        .filter(|step| step.task.is_none())
        .count();
    assert_eq!(inputs.len(), 37 + 3 * hosts + gathers);

    let selection = work::everything(&graph);
    let observed = work::observed(&graph);
    let known = Known::new(&graph, Vec::new());
    // Once the outputs that it uses are told, the service's are the same on all hosts too.
    let keys: HashSet<_> = work::keys(&graph, &known).into_iter().collect();
    assert_eq!(keys.len(), 38 + 2 * hosts);
    let plan = plan(
        &graph,
        &selection,
        &observed,
        known,
        &expected::fingerprints(),
    );
    let all = graph.ids().map(|id| plan.verdict(id));
    assert!(
        all.into_iter()
            .all(|verdict| verdict == Some(Verdict::Satisfied))
    );
    let decisions: HashSet<_> = plan
        .decisions
        .iter()
        .zip(&graph.steps)
        .filter(|(_, step)| step.task.is_some())
        .filter_map(|(decision, _)| decision.as_ref().map(Arc::as_ptr))
        .collect();
    assert_eq!(decisions.len(), 38 + 2 * hosts);
}

/// Bytes at the most and allocations of expanding and planning a stack, and its steps.
fn cost(hosts: usize) -> (usize, usize, usize) {
    let empty = heap::alive();
    heap::reset();
    let before = heap::times();
    let graph = graph(hosts, 100);
    let selection = work::everything(&graph);
    let observed = work::observed(&graph);
    let known = Known::new(&graph, Vec::new());
    let plan = plan(
        &graph,
        &selection,
        &observed,
        known,
        &expected::fingerprints(),
    );
    assert_eq!(plan.order.len(), graph.steps.len());
    (
        heap::most() - empty,
        heap::times() - before,
        graph.steps.len(),
    )
}

#[test]
fn memory_and_allocations_grow_with_the_steps_and_no_faster() {
    let _alone = alone();
    // What is loaded once for all (tasks, templates) is there before.
    cost(10);
    let (bytes, times, steps) = cost(200);
    let (bytes_of_twice, times_of_twice, twice) = cost(400);
    assert!(twice > 2 * steps - steps / 10, "{steps} and {twice} steps");
    assert!(
        bytes_of_twice / twice <= 600,
        "{} bytes a step",
        bytes_of_twice / twice
    );
    assert!(
        10 * times_of_twice <= 21 * times,
        "{times} and {times_of_twice} allocations"
    );
    assert!(
        10 * bytes_of_twice <= 22 * bytes,
        "{bytes} and {bytes_of_twice} bytes"
    );
}
