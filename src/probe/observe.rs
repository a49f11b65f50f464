//! One round of looking: one program per host, all of a service's steps at once, side by side. Decides nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join;
use futures::stream::{self, FuturesUnordered};

use super::ask::{Actions, NotAsked, action as action_of, ask};
use super::batch::{Answer, Ask, Batch};
use super::fact::{Facts, Fault, HostFacts, Seen, Stamp};
use super::fill::{Filled, Known};
use super::fold;
use super::frame::Nonce;
use super::observed::Observed;
use super::reader::{AccessError, AccessKind, Asked, Readers};
use super::stamp::stamps_folder;
use crate::config::HostId;
use crate::graph::{Graph, Label, Step, StepId, Target};

/// How a round is made.
pub struct Round<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// What is known of its holes.
    pub known: &'a Known,
    /// Ways to its targets.
    pub readers: &'a dyn Readers,
    /// Built-in actions.
    pub actions: &'a dyn Actions,
    /// Marks the frames of all programs of the round.
    pub nonce: Nonce,
    /// How many hosts are asked at once.
    pub at_once: usize,
    /// Told of each host as it has answered.
    pub tell: &'a (dyn Fn(HostAnswered<'_>) + Sync),
}

/// A host has answered, or could not be asked.
pub struct HostAnswered<'a> {
    /// Which.
    pub host: HostId,
    /// How long it took, connecting included.
    pub took: Duration,
    /// What it says of itself.
    pub answer: &'a Result<HostFacts, AccessError>,
}

/// What one round saw.
#[derive(Debug, Default)]
pub struct Look {
    /// Every step asked for, but those whose probe needs what is not known yet.
    pub steps: Vec<(StepId, StepSeen)>,
    /// Every host asked.
    pub hosts: Vec<(HostId, Result<HostFacts, AccessError>)>,
}

/// What was seen of one step.
#[derive(Debug)]
pub struct StepSeen {
    /// Its facts; none where an action is to make them of answers and an input that is not known yet.
    pub facts: Option<Result<Arc<Facts>, Fault>>,
    /// What each host of its target answered.
    pub seen: Vec<Seen>,
    /// Its stamp.
    pub stamp: Option<Arc<Stamp>>,
}

/// Looks at `steps`. Each host is sent one program, whatever the number of steps; each service gets all of its at once.
pub async fn observe(round: &Round<'_>, steps: impl IntoIterator<Item = StepId>) -> Look {
    let mut plan = Rounds::new(round);
    for id in steps {
        plan.add(id);
    }
    let (hosts, services) = join(plan.ask_hosts(), plan.ask_services()).await;
    plan.gather(hosts, services)
}

/// Asks each host what `asks` say, in one program per host, and answers in their order. For what belongs to no step's
/// probe: reading a file to show how it differs.
pub async fn read(
    readers: &dyn Readers,
    asks: Vec<(HostId, Ask)>,
    nonce: &Nonce,
    at_once: usize,
) -> Vec<Result<Arc<Facts>, Fault>> {
    let mut hosts: BTreeMap<HostId, Vec<(usize, Arc<Ask>)>> = BTreeMap::new();
    let count = asks.len();
    for (index, (host, ask)) in asks.into_iter().enumerate() {
        hosts.entry(host).or_default().push((index, Arc::new(ask)));
    }
    let answers = stream::iter(hosts).map(|(host, asks)| async move {
        let batch = Batch::new(
            asks.iter().map(|(_, ask)| Arc::clone(ask)),
            None,
            nonce.clone(),
        );
        let reply = async { readers.reader(host).await?.ask(batch.program()).await }.await;
        let facts = match reply {
            Ok(reply) => batch.read(&reply).facts,
            Err(error) => {
                let fault = Fault {
                    message: error.to_string(),
                    not_yet: false,
                };
                vec![Err(fault); asks.len()]
            }
        };
        asks.into_iter()
            .map(|(index, _)| index)
            .zip(facts)
            .collect::<Vec<_>>()
    });
    let mut all: Vec<_> = answers
        .buffer_unordered(at_once.max(1))
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect();
    all.sort_by_key(|(index, _)| *index);
    debug_assert_eq!(all.len(), count, "one answer each");
    all.into_iter().map(|(_, facts)| facts).collect()
}

impl Observed {
    /// Takes over what a round saw, in place of what was known before.
    pub fn take(&mut self, look: Look) {
        for (id, seen) in look.steps {
            let index = id.0 as usize;
            self.steps[index] = seen.facts;
            self.seen[index] = seen.seen;
            self.stamps[index] = seen.stamp;
        }
        for (host, answer) in look.hosts {
            self.execs[host.0 as usize] += 1;
            self.hosts[host.0 as usize] = Some(answer);
        }
    }

    /// Makes facts of what hosts have answered already, for those of `steps` whose inputs have become known since.
    /// Returns the others: they are still to be asked.
    #[must_use]
    pub fn fold_again(
        &mut self,
        graph: &Graph,
        known: &Known,
        actions: &dyn Actions,
        steps: Vec<StepId>,
    ) -> Vec<StepId> {
        let fold_one = |observed: &mut Self, id: StepId| {
            let step = graph.step(id);
            let index = id.0 as usize;
            if observed.seen[index].is_empty() || observed.steps[index].is_some() {
                return false;
            }
            let filled = known.fill(&step.inputs);
            if !filled.open.is_empty() || filled.wrong.is_some() {
                return false;
            }
            observed.steps[index] = Some(facts_of(step, actions, &filled, &observed.seen[index]));
            true
        };
        steps
            .into_iter()
            .filter(|id| !fold_one(self, *id))
            .collect()
    }
}

/// Folds what the hosts of a step answered.
fn facts_of(
    step: &Step,
    actions: &dyn Actions,
    filled: &Filled,
    seen: &[Seen],
) -> Result<Arc<Facts>, Fault> {
    let action = action_named(step)
        .map(|name| action_of(actions, name))
        .transpose()?;
    fold::fold(action, &step.target, &filled.values, seen)
}

/// Returns the name of the action in a step's probe.
fn action_named(step: &Step) -> Option<&str> {
    step.task.as_ref()?.probe.action.as_deref()
}

/// Where something that is shared lies: the same address, the same thing. A number, so that a round may move between
/// threads.
type Address = usize;

/// Tells steps apart that ask the same of every host: same task, same inputs, same label but for the host.
type Kind = (Address, Address, Label);

/// A round in the making.
struct Rounds<'a> {
    round: &'a Round<'a>,
    filled: HashMap<Address, Arc<Filled>>,
    asks: HashMap<Kind, Result<Arc<Ask>, NotAsked>>,
    /// The same by what they ask: inputs may differ, for one host and the next, in what no probe mentions.
    distinct: HashSet<Arc<Ask>>,
    /// By host: who asks what.
    hosts: HashMap<HostId, Vec<(StepId, Arc<Ask>)>>,
    /// By service.
    services: HashMap<Arc<str>, Vec<(StepId, Arc<Filled>)>>,
    /// Steps that are asked, with what their answer is folded from.
    asked: Vec<(StepId, Arc<Filled>)>,
    /// Steps that can't be asked at all.
    faults: Vec<(StepId, Fault)>,
}

/// What a host answered to whom.
struct HostReply {
    host: HostId,
    steps: Vec<StepId>,
    answer: Result<Answer, AccessError>,
}

type ServiceReply = (StepId, Result<Facts, Fault>);

impl<'a> Rounds<'a> {
    fn new(round: &'a Round<'a>) -> Self {
        Self {
            round,
            filled: HashMap::new(),
            asks: HashMap::new(),
            distinct: HashSet::new(),
            hosts: HashMap::new(),
            services: HashMap::new(),
            asked: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn add(&mut self, id: StepId) {
        let step = self.round.graph.step(id);
        let Some(task) = &step.task else { return };
        let known = self.round.known;
        let filled = self
            .filled
            .entry(Arc::as_ptr(&step.inputs).addr())
            .or_insert_with(|| Arc::new(known.fill(&step.inputs)));
        let filled = Arc::clone(filled);
        if let Target::Service(name, _) = &step.target {
            match &filled.wrong {
                Some(wrong) => self.faults.push((id, wrong.clone())),
                None if filled.open.is_empty() => {
                    self.services
                        .entry(Arc::clone(name))
                        .or_default()
                        .push((id, filled));
                }
                None => {}
            }
            return;
        }
        let label = Label {
            host: None,
            ..step.label.clone()
        };
        let kind = (
            Arc::as_ptr(task).addr(),
            Arc::as_ptr(&step.inputs).addr(),
            label,
        );
        let actions = self.round.actions;
        #[expect(
            clippy::mutable_key_type,
            reason = "what can change in a mask does not enter the comparison"
        )]
        let distinct = &mut self.distinct;
        let make = || {
            let ask = ask(step, &filled, actions)?;
            if let Some(known) = distinct.get(&ask) {
                return Ok(Arc::clone(known));
            }
            let ask = Arc::new(ask);
            distinct.insert(Arc::clone(&ask));
            Ok(ask)
        };
        match self.asks.entry(kind).or_insert_with(make) {
            Ok(ask) => {
                for host in hosts(step) {
                    self.hosts
                        .entry(*host)
                        .or_default()
                        .push((id, Arc::clone(ask)));
                }
                self.asked.push((id, filled));
            }
            Err(NotAsked::Fault(fault)) => self.faults.push((id, fault.clone())),
            Err(NotAsked::Open(_)) => {}
        }
    }

    async fn ask_hosts(&self) -> Vec<HostReply> {
        let folder = stamps_folder(&self.round.graph.stack.name);
        let mut batches: HashMap<Vec<Address>, Arc<Batch>> = HashMap::new();
        let mut work = Vec::with_capacity(self.hosts.len());
        for (host, steps) in &self.hosts {
            let kind: Vec<Address> = steps
                .iter()
                .map(|(_, ask)| Arc::as_ptr(ask).addr())
                .collect();
            let batch = batches.entry(kind).or_insert_with(|| {
                let asks = steps.iter().map(|(_, ask)| Arc::clone(ask));
                Arc::new(Batch::new(asks, Some(&folder), self.round.nonce.clone()))
            });
            let steps: Vec<StepId> = steps.iter().map(|(id, _)| *id).collect();
            work.push((*host, steps, Arc::clone(batch)));
        }
        // In the order of the config, whatever the map thinks.
        work.sort_unstable_by_key(|(host, ..)| *host);
        stream::iter(work)
            .map(|(host, steps, batch)| self.ask_host(host, steps, batch))
            .buffer_unordered(self.round.at_once.max(1))
            .collect()
            .await
    }

    async fn ask_host(&self, host: HostId, steps: Vec<StepId>, batch: Arc<Batch>) -> HostReply {
        let started = Instant::now();
        let answer = async {
            let reader = self.round.readers.reader(host).await?;
            let reply = reader.ask(batch.program()).await?;
            Ok(batch.read(&reply))
        }
        .await;
        let told = match &answer {
            Ok(Answer {
                host: Ok(facts), ..
            }) => Ok(facts.clone()),
            Ok(Answer {
                host: Err(fault), ..
            }) => Err(self.garbled(host, fault)),
            Err(error) => Err(AccessError::clone(error)),
        };
        (self.round.tell)(HostAnswered {
            host,
            took: started.elapsed(),
            answer: &told,
        });
        HostReply {
            host,
            steps,
            answer,
        }
    }

    /// A host that answers, but not what it was asked.
    fn garbled(&self, host: HostId, fault: &Fault) -> AccessError {
        AccessError {
            host: Arc::clone(&self.round.graph.stack.host(host).name),
            kind: AccessKind::Lost,
            message: fault.message.clone(),
            hint: None,
        }
    }

    async fn ask_services(&self) -> Vec<ServiceReply> {
        let all: FuturesUnordered<_> = self
            .services
            .iter()
            .map(|(name, steps)| self.ask_service(name, steps))
            .collect();
        all.collect::<Vec<_>>()
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn ask_service(&self, name: &str, steps: &[(StepId, Arc<Filled>)]) -> Vec<ServiceReply> {
        let Some(service) = self.round.readers.service(name) else {
            let message = format!("there is no way to the service `{name}`");
            let fault = Fault {
                message,
                not_yet: false,
            };
            return steps
                .iter()
                .map(|(id, _)| (*id, Err(fault.clone())))
                .collect();
        };
        let asked: Vec<Asked<'_>> = steps
            .iter()
            .map(|(id, filled)| {
                let step = self.round.graph.step(*id);
                Asked {
                    step: *id,
                    label: &step.label,
                    action: action_named(step).unwrap_or_default(),
                    inputs: &filled.values,
                    hosts: hosts(step),
                }
            })
            .collect();
        let mut answers = service.observe(&asked).await.into_iter();
        let silent = || {
            Err(Fault {
                message: format!("the service `{name}` did not answer"),
                not_yet: false,
            })
        };
        steps
            .iter()
            .map(|(id, _)| (*id, answers.next().unwrap_or_else(silent)))
            .collect()
    }

    /// Puts the answers of hosts together by step.
    fn gather(self, replies: Vec<HostReply>, services: Vec<ServiceReply>) -> Look {
        let graph = self.round.graph;
        let mut look = Look::default();
        let mut by_step: HashMap<StepId, (Vec<Seen>, Option<Arc<Stamp>>)> = HashMap::new();
        for HostReply {
            host,
            steps,
            answer,
        } in replies
        {
            let name = &graph.stack.host(host).name;
            let mut add =
                |id: StepId, answer: Result<Arc<Facts>, Fault>, stamp: Option<Arc<Stamp>>| {
                    let (seen, known) = by_step.entry(id).or_default();
                    seen.push(Seen {
                        host,
                        name: Arc::clone(name),
                        answer,
                    });
                    *known = known.take().or(stamp);
                };
            let host_facts = match answer {
                Ok(answer) => {
                    for ((id, facts), stamp) in
                        steps.into_iter().zip(answer.facts).zip(answer.stamps)
                    {
                        add(id, facts, stamp);
                    }
                    answer.host.map_err(|fault| self.garbled(host, &fault))
                }
                Err(error) => {
                    for id in steps {
                        add(
                            id,
                            Err(Fault {
                                message: error.message.clone(),
                                not_yet: false,
                            }),
                            None,
                        );
                    }
                    Err(error)
                }
            };
            look.hosts.push((host, host_facts));
        }
        look.hosts.sort_by_key(|(host, _)| *host);
        for (id, filled) in &self.asked {
            let step = graph.step(*id);
            let (mut seen, stamp) = by_step.remove(id).unwrap_or_default();
            seen.sort_by_key(|seen| seen.host);
            let waits = action_named(step).is_some() && !filled.open.is_empty();
            let facts = (!waits).then(|| facts_of(step, self.round.actions, filled, &seen));
            look.steps.push((*id, StepSeen { facts, seen, stamp }));
        }
        let without_hosts = |facts| StepSeen {
            facts: Some(facts),
            seen: Vec::new(),
            stamp: None,
        };
        let faults = self
            .faults
            .into_iter()
            .map(|(id, fault)| (id, without_hosts(Err(fault))));
        look.steps.extend(faults);
        look.steps.extend(
            services
                .into_iter()
                .map(|(id, facts)| (id, without_hosts(facts.map(Arc::new)))),
        );
        look
    }
}

fn hosts(step: &Step) -> &[HostId] {
    match &step.target {
        Target::Host(host) => std::slice::from_ref(host),
        Target::Group(hosts) | Target::Service(_, hosts) => hosts,
        Target::Gather => &[],
    }
}
