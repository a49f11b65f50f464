//! A whole round of looking: hosts side by side, each asked once, groups folded, services asked all at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use foundry::catalog::{Catalog, ProbeSpec, QuestionSpec, Task};
use foundry::config::{Host, HostId, Source, Span};
use foundry::graph::{Graph, Hole, HoleId, Input, Inputs, Label, Step, StepId, Target};
use foundry::probe::{
    AccessError, AccessKind, ActionProbe, Actions, Asked, Known, Observed, Reader, Readers, Round,
    Seen, ServiceReader, observe,
};
use futures::future::BoxFuture;

use super::*;

/// Hosts that are all this machine; every third can't be reached.
#[derive(Default)]
struct Machines {
    asked: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    programs: Arc<Mutex<Vec<String>>>,
}

struct Here(Arc<Mutex<Vec<String>>>);

impl Reader for Here {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.0.lock().unwrap().push(program.text.expose().clone());
        Box::pin(async move { Ok(run(program)) })
    }
}

impl Readers for Machines {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            futures::future::ready(()).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            if host.0 % 3 == 2 {
                return Err(AccessError {
                    host: format!("n{}", host.0).into(),
                    kind: AccessKind::Unreachable,
                    message: "connection refused".into(),
                    hint: None,
                });
            }
            let here: Arc<dyn Reader> = Arc::new(Here(Arc::clone(&self.programs)));
            Ok(here)
        })
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>> {
        (name == "api").then(|| Arc::new(Api) as Arc<dyn ServiceReader>)
    }
}

struct Api;

impl ServiceReader for Api {
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>> {
        let count = asked.len().to_string();
        Box::pin(async move {
            asked
                .iter()
                .map(|_| {
                    Ok(Facts::from([(
                        "together".to_owned(),
                        Fact::from(count.as_str()),
                    )]))
                })
                .collect()
        })
    }
}

/// Counts the hosts that answered.
struct Counting;

impl ActionProbe for Counting {
    fn questions(&self, _: &Values) -> Result<Vec<Question>, String> {
        Ok(vec![Question {
            prefix: "count".into(),
            ..question(Collector::Stat, text("/etc/passwd"))
        }])
    }

    fn facts(&self, _: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let kinds = seen.iter().filter(|seen| {
            seen.answer
                .as_ref()
                .is_ok_and(|facts| fact(facts, "count.kind") == "file")
        });
        Ok(Facts::from([(
            "answered".to_owned(),
            Fact::from(format!("{}/{}", kinds.count(), seen.len())),
        )]))
    }
}

impl Actions for Counting {
    fn find(&self, name: &str) -> Option<&dyn ActionProbe> {
        (name == "count").then_some(self as &dyn ActionProbe)
    }
}

fn task(probe: ProbeSpec) -> Arc<Task> {
    Arc::new(Task {
        probe,
        expect: Default::default(),
        ..Task::clone(&Catalog::embedded().unwrap().tasks["file"])
    })
}

fn host(index: u32) -> Host {
    Host {
        name: format!("n{index}").into(),
        address: String::new(),
        port: None,
        user: None,
        identity: None,
        jump: None,
        local: false,
        roles: Vec::new(),
        labels: BTreeMap::new(),
        host_key: None,
        span: Span::default(),
    }
}

fn graph(hosts: u32, steps: Vec<(Option<Arc<Task>>, Target, Inputs)>, holes: Vec<Hole>) -> Graph {
    let stack = foundry::config::Stack {
        source: Arc::new(Source {
            name: "test".into(),
            text: String::new(),
        }),
        name: "observe-test".into(),
        domain: None,
        vip: None,
        hosts: (0..hosts).map(host).collect(),
        components: Default::default(),
        sections: Default::default(),
        mirrors: Vec::new(),
        pins: Arc::default(),
        trusted_keys: Vec::new(),
    };
    let inputs: Arc<Inputs> = Arc::new(steps[0].2.clone());
    let steps = steps
        .into_iter()
        .enumerate()
        .map(|(index, (task, target, own))| Step {
            label: Label {
                component: "c".into(),
                step: "s".into(),
                item: None,
                host: match &target {
                    Target::Host(host) => Some(format!("n{}", host.0).into()),
                    _ => Some(format!("x{index}").into()),
                },
            },
            task,
            target,
            inputs: if own == *inputs {
                Arc::clone(&inputs)
            } else {
                Arc::new(own)
            },
            needs: Vec::new(),
            watch: Vec::new(),
            pool: None,
        })
        .collect();
    Graph {
        images: std::collections::BTreeMap::new(),
        warnings: Vec::new(),
        stack: Arc::new(stack),
        steps,
        holes,
        pools: Vec::new(),
    }
}

fn known(path: &str) -> Inputs {
    [("path".to_owned(), Input::Known(text(path)))]
        .into_iter()
        .collect()
}

#[tokio::test]
async fn each_host_is_asked_once_and_all_are_put_together() {
    const HOSTS: u32 = 9;
    let stat = task(ProbeSpec {
        questions: vec![QuestionSpec {
            collector: Collector::Stat,
            prefix: String::new(),
            subject: Template("{{ path }}".into()),
        }],
        script: Some("echo name=${path##*/}".into()),
        ..ProbeSpec::default()
    });
    let count = task(ProbeSpec {
        action: Some("count".into()),
        ..ProbeSpec::default()
    });
    let every: Arc<[HostId]> = (0..HOSTS).map(HostId).collect();
    let mut steps: Vec<_> = (0..HOSTS)
        .map(|host| {
            (
                Some(Arc::clone(&stat)),
                Target::Host(HostId(host)),
                known("/etc/passwd"),
            )
        })
        .collect();
    let group = Target::Group(Arc::clone(&every));
    steps.push((Some(Arc::clone(&count)), group.clone(), known("/x")));
    steps.push((Some(Arc::clone(&stat)), group, known("/etc")));
    for service in ["api", "api", "none"] {
        steps.push((
            Some(Arc::clone(&count)),
            Target::Service(service.into(), Arc::clone(&every)),
            known("/x"),
        ));
    }
    // Not known yet: not asked.
    let open: Inputs = [("path".to_owned(), Input::Hole(HoleId(0)))]
        .into_iter()
        .collect();
    steps.push((Some(stat), Target::Host(HostId(0)), open));
    steps.push((None, Target::Gather, Inputs::new()));
    let graph = graph(HOSTS, steps, vec![Hole::Output(StepId(9), "none".into())]);

    let machines = Machines::default();
    let told = AtomicUsize::new(0);
    let round = Round {
        graph: &graph,
        known: &Known::new(&graph, []),
        readers: &machines,
        actions: &Counting,
        nonce: nonce(),
        at_once: 4,
        tell: &|_| {
            told.fetch_add(1, Ordering::SeqCst);
        },
    };
    let look = observe(&round, graph.ids()).await;
    let mut observed = Observed::none(&graph);
    observed.take(look);

    assert_eq!(
        machines.asked.load(Ordering::SeqCst),
        HOSTS as usize,
        "one way to each host"
    );
    assert!(machines.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(told.load(Ordering::SeqCst), HOSTS as usize);
    assert_eq!(observed.execs, vec![1; HOSTS as usize]);
    let programs = machines.programs.lock().unwrap();
    assert_eq!(programs.len(), 6);
    let other = programs
        .iter()
        .filter(|program| **program != programs[0])
        .count();
    assert_eq!(other, 0, "hosts of one kind share one program");

    let of = |step: u32| observed.facts(StepId(step));
    for host in 0..HOSTS {
        if host % 3 == 2 {
            let fault = of(host).unwrap().as_ref().unwrap_err();
            assert_eq!(fault.message, "connection refused");
            assert!(observed.host(HostId(host)).unwrap().is_err());
        } else {
            let facts = of(host).unwrap().as_ref().unwrap();
            assert_eq!(
                (fact(facts, "kind"), fact(facts, "name")),
                ("file", "passwd")
            );
            let host = observed.host(HostId(host)).unwrap().as_ref().unwrap();
            assert!(
                host.clock > 1_700_000_000 && !host.boot_id.is_empty() && !host.os.is_empty(),
                "{host:?}"
            );
        }
    }
    assert_eq!(fact(of(9).unwrap().as_ref().unwrap(), "answered"), "6/9");
    let lost = of(10).unwrap().as_ref().unwrap_err();
    assert_eq!(
        lost.message, "n2: connection refused",
        "a group without an action needs all its hosts"
    );
    assert_eq!(fact(of(11).unwrap().as_ref().unwrap(), "together"), "2");
    assert_eq!(
        of(13).unwrap().as_ref().unwrap_err().message,
        "there is no way to the service `none`"
    );
    assert!(of(14).is_none() && of(15).is_none());
}
