//! Graph work at full size, once: a stack of 10,000 hosts × 100 steps from its config to its plan, timed by phase and
//! with every byte counted. Prints one JSON object. `--hosts N --steps N` for other sizes. Asks no host.

#[path = "support/expected.rs"]
mod expected;
#[path = "support/heap.rs"]
mod heap;
#[path = "support/stack.rs"]
mod stack;
#[path = "support/work.rs"]
mod work;

use std::sync::Arc;
use std::time::Instant;

use foundry::catalog::Catalog;
use foundry::config::{Source, parse};
use foundry::graph::expand;
use foundry::plan::{Verdict, plan};
use foundry::probe::Known;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Returns the CPU that this process has used: on a machine that others use too, it says more than a clock.
fn cpu() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn number(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args();
    arguments
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .map_or(default, |text| text.parse().expect("a number"))
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let shape = stack::Shape {
        hosts: number("--hosts", 10_000),
        steps: number("--steps", 100),
    };
    let catalog = Catalog::load(&stack::files()).expect("a catalog");
    let text = stack::config(shape, &stack::Access::default());
    let source = Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text,
    });

    let began = Instant::now();
    let stack = Arc::new(parse(&source).expect("a stack"));
    let parse_s = began.elapsed().as_secs_f64();

    let empty = heap::alive();
    heap::reset();
    let asked = heap::times();
    let before = cpu();
    let began = Instant::now();
    let graph = expand(&stack, &catalog).expect("a graph");
    let expand_s = began.elapsed().as_secs_f64();
    let expanded = heap::alive();

    let began = Instant::now();
    let known = Known::new(&graph, Vec::new());
    let made = work::keys(&graph, &known);
    let keys_s = began.elapsed().as_secs_f64();
    drop(made);

    let began = Instant::now();
    let selection = work::everything(&graph);
    let select_s = began.elapsed().as_secs_f64();

    let used = cpu() - before;

    let observed = work::observed(&graph);

    let before = cpu();

    let began = Instant::now();
    let plan = plan(
        &graph,
        &selection,
        &observed,
        known,
        &expected::fingerprints(),
    );
    let plan_s = began.elapsed().as_secs_f64();
    let used = used + cpu() - before;
    let satisfied = graph
        .ids()
        .filter(|id| plan.verdict(*id) == Some(Verdict::Satisfied))
        .count();
    assert_eq!(satisfied, graph.steps.len(), "all satisfied");

    let steps = graph.steps.len();
    let each = |bytes: usize| (bytes.saturating_sub(empty)) / steps;
    println!(
        "{}",
        serde_json::json!({
            "hosts": shape.hosts,
            "steps": steps,
            "parse_s": parse_s,
            "expand_s": expand_s,
            "keys_s": keys_s,
            "select_s": select_s,
            "plan_s": plan_s,
            "total_s": expand_s + keys_s + select_s + plan_s,
            "cpu_s": used,
            "graph_bytes_a_step": each(expanded),
            "all_bytes_a_step": each(heap::alive()),
            "peak_bytes_a_step": each(heap::most()),
            "allocations_a_step": (heap::times() - asked) as f64 / steps as f64,
        })
    );
    // Taking it apart again is none of it.
    std::mem::forget((graph, plan, observed));
}
