//! The embedded catalog as a whole: it loads, and a stack of it expands. Knows no single recipe's insides.

use std::sync::Arc;

use foundry::catalog::Catalog;
use foundry::config::{self, Source};
use foundry::graph::expand;

#[test]
fn the_embedded_catalog_loads_and_expands() {
    let catalog = Catalog::embedded().unwrap_or_else(|problems| panic!("{problems}"));
    let source = Source {
        name: "stack.yaml".to_owned(),
        text: "cluster:\n  name: lab\n  domain: example.com\nhosts:\n  - { hostname: \"bao-[1-3]\", role: openbao }\n  - { hostname: w1, role: worker }\ncomponents:\n  openbao: {}\n".to_owned(),
    };
    let stack = config::parse(&Arc::new(source)).unwrap_or_else(|problems| panic!("{problems}"));
    let graph = expand(&Arc::new(stack), &catalog).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(graph.steps.len() > 60, "{} steps", graph.steps.len());
}
