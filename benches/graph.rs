//! Graph work by phase at 10,000, 100,000 and 1,000,000 steps, measured by criterion: expanding, keys, the probe's program
//! of one host, planning with everything satisfied. Asks no host.

#[path = "support/expected.rs"]
mod expected;
#[path = "support/no_actions.rs"]
mod no_actions;
#[path = "support/stack.rs"]
mod stack;
#[path = "support/work.rs"]
mod work;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foundry::catalog::Catalog;
use foundry::config::{HostId, Source, parse};
use foundry::graph::{StepId, Target, expand};
use foundry::plan::plan;
use foundry::probe::{Ask, Batch, Known, Nonce};

fn graph(criterion: &mut Criterion) {
    let catalog = Catalog::load(&stack::files()).expect("a catalog");
    let mut group = criterion.benchmark_group("graph");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for hosts in [100, 1000, 10_000] {
        let shape = stack::Shape { hosts, steps: 100 };
        let text = stack::config(shape, &stack::Access::default());
        let name = "stack.yaml".to_owned();
        let stack = Arc::new(parse(&Arc::new(Source { name, text })).expect("a stack"));
        let graph = expand(&stack, &catalog).expect("a graph");
        let known = Known::new(&graph, Vec::new());
        let selection = work::everything(&graph);
        let observed = work::observed(&graph);
        let secrets = expected::fingerprints();
        let steps = hosts * 100;
        group.throughput(Throughput::Elements(steps as u64));
        group.bench_function(BenchmarkId::new("expand", steps), |bench| {
            bench.iter_with_large_drop(|| expand(&stack, &catalog).expect("a graph"));
        });
        group.bench_function(BenchmarkId::new("keys", steps), |bench| {
            bench.iter_with_large_drop(|| work::keys(&graph, &known));
        });
        group.bench_function(BenchmarkId::new("plan", steps), |bench| {
            bench.iter_with_large_drop(|| {
                plan(&graph, &selection, &observed, known.clone(), &secrets)
            });
        });
    }
    group.finish();
}

fn probe(criterion: &mut Criterion) {
    let catalog = Catalog::load(&stack::files()).expect("a catalog");
    let shape = stack::Shape {
        hosts: 1,
        steps: 100,
    };
    let text = stack::config(shape, &stack::Access::default());
    let name = "stack.yaml".to_owned();
    let stack = Arc::new(parse(&Arc::new(Source { name, text })).expect("a stack"));
    let graph = expand(&stack, &catalog).expect("a graph");
    let known = Known::new(&graph, Vec::new());
    let mine = |id: &StepId| graph.step(*id).target == Target::Host(HostId(0));
    let steps: Vec<StepId> = graph.ids().filter(mine).collect();
    let asks: Vec<Arc<Ask>> = steps
        .iter()
        .filter_map(|id| {
            graph.step(*id).task.as_ref()?;
            let asked = foundry::probe::ask(
                graph.step(*id),
                &known.fill(&graph.step(*id).inputs),
                &no_actions::NoActions,
            );
            Some(Arc::new(asked.unwrap_or_else(|why| panic!("{why:?}"))))
        })
        .collect();
    criterion.bench_function("probe/render of 100 steps", |bench| {
        bench.iter(|| {
            Batch::new(
                black_box(asks.clone()),
                Some("/stamps"),
                Nonce::new([7; 16]),
            )
        });
    });
}

criterion_group!(benches, graph, probe);
criterion_main!(benches);
