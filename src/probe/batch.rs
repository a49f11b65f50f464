//! All that the steps of one host ask → one program, and its answer → facts by step. Starts and decides nothing. Knows
//! steps only by their place in the list, so that hosts of one kind can share it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::collect::{Found, Wants, render_host};
use super::fact::{Facts, Fault, HostFacts, Question, Stamp};
use super::frame::{self, Frames, Nonce};
use super::reader::{Program, Reply};
use super::script::{self, ProbeScript};
use super::shell::ShellError;
use super::stamp;

/// What one step asks of one host.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The step's label without its host: what scripts know as `$label`.
    pub label: String,
    /// Questions to collectors.
    pub questions: Vec<Question>,
    /// Facts of theirs that are not kept.
    pub unnamed: Vec<String>,
    /// The task's probe script.
    pub script: Option<ProbeScript>,
    /// Where its stamp lies, below the folder.
    pub stamp: String,
}

/// The merged program of one kind of host.
pub struct Batch {
    nonce: Nonce,
    wants: Wants,
    asks: Vec<Slot>,
    program: Program,
    /// Whether the host is asked what it is.
    of_host: bool,
    /// Stamps that some host answered with.
    stamps: stamp::Known,
}

struct Slot {
    ask: Arc<Ask>,
    /// A question that can't be put.
    refused: Option<Fault>,
    /// What hosts answered so far: those that answer alike share their facts.
    known: Mutex<HashSet<Arc<Facts>>>,
}

/// What one host answered.
#[derive(Debug)]
pub struct Answer {
    /// Facts of each step, in the order asked.
    pub facts: Vec<Result<Arc<Facts>, Fault>>,
    /// Stamp of each step, in the order asked.
    pub stamps: Vec<Option<Arc<Stamp>>>,
    /// What the host says of itself; nothing for [`Batch::again`]. An answer that is cut off before its end is a fault.
    pub host: Result<HostFacts, Fault>,
}

/// Time for all that is not a script: connecting is not in it.
const COLLECTORS: Duration = Duration::from_secs(60);

/// Up to so many steps' stamps are read by name, not all that the host has.
const FEW: usize = 4;

impl Batch {
    /// Merges `asks`. `stamps` is the folder in which theirs are.
    #[must_use]
    pub fn new(
        asks: impl IntoIterator<Item = Arc<Ask>>,
        stamps: Option<&str>,
        nonce: Nonce,
    ) -> Self {
        Self::make(asks, stamps, nonce, true)
    }

    /// As [`Self::new`], for a host that has just said what it is, and what was stamped there.
    #[must_use]
    pub fn again(asks: impl IntoIterator<Item = Arc<Ask>>, nonce: Nonce) -> Self {
        Self::make(asks, None, nonce, false)
    }

    fn make(
        asks: impl IntoIterator<Item = Arc<Ask>>,
        stamps: Option<&str>,
        nonce: Nonce,
        of_host: bool,
    ) -> Self {
        let mut wants = Wants::default();
        let asks: Vec<Arc<Ask>> = asks.into_iter().collect();
        if let Some(folder) = stamps {
            let few = asks.len() <= FEW;
            wants.add_stamps(stamp::Wanted {
                folder: folder.to_owned(),
                only: if few {
                    asks.iter().map(|ask| ask.stamp.clone()).collect()
                } else {
                    Vec::new()
                },
            });
        }
        let mut asks: Vec<Slot> = asks
            .into_iter()
            .map(|ask| {
                let refused = ask
                    .questions
                    .iter()
                    .find_map(|question| wants.add(question).err());
                Slot {
                    ask,
                    refused,
                    known: Mutex::default(),
                }
            })
            .collect();
        if of_host {
            wants.add_host();
        }
        let mut text = Zeroizing::new(String::new());
        if let Err(error) = render(&mut text, &wants, &asks, &nonce, of_host) {
            // Unreachable for what `Wants::add` and `assign_into` let through; said of each step if it ever is.
            let fault = Fault {
                message: format!("a question {error}"),
                not_yet: false,
            };
            for slot in &mut asks {
                slot.refused.get_or_insert_with(|| fault.clone());
            }
        }
        let scripts: Duration = asks
            .iter()
            .filter_map(|slot| slot.ask.script.as_ref())
            .map(|script| script.timeout)
            .sum();
        let program = Program {
            text: std::mem::take(&mut *text).into(),
            deadline: COLLECTORS + scripts,
        };
        Self {
            nonce,
            wants,
            asks,
            program,
            of_host,
            stamps: stamp::Known::default(),
        }
    }

    /// Returns the program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Reads the answer.
    #[must_use]
    pub fn read(&self, reply: &Reply) -> Answer {
        let frames = Frames::read(&self.nonce, reply);
        let found = self.wants.read(&frames, &self.stamps);
        let folder = found.stamps.as_ref();
        let stamp = |slot: &Slot| {
            folder
                .ok()
                .and_then(|stamps| stamps.get(&slot.ask.stamp))
                .cloned()
        };
        Answer {
            facts: self
                .asks
                .iter()
                .enumerate()
                .map(|(index, slot)| Ok(slot.share(slot.facts(index, &found, &frames)?)))
                .collect(),
            stamps: self.asks.iter().map(stamp).collect(),
            host: match &found.stamps {
                Err(fault) => Err(fault.clone()),
                Ok(_) if self.of_host => found.host,
                Ok(_) => frames.ended().map(|()| HostFacts::default()),
            },
        }
    }
}

impl Slot {
    /// Returns the same facts as another host's, if one answered alike.
    fn share(&self, facts: Facts) -> Arc<Facts> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&facts) {
            return Arc::clone(known);
        }
        let facts = Arc::new(facts);
        known.insert(Arc::clone(&facts));
        facts
    }

    fn facts(&self, index: usize, found: &Found, frames: &Frames) -> Result<Facts, Fault> {
        if let Some(fault) = &self.refused {
            return Err(fault.clone());
        }
        let mut facts = Facts::new();
        for question in &self.ask.questions {
            facts.extend(found.facts(question)?);
        }
        for name in &self.ask.unnamed {
            facts.remove(name);
        }
        if let Some(script) = &self.ask.script {
            facts.extend(script::read(script, frames.section(&format!("s{index}"))?)?);
        }
        Ok(facts)
    }
}

/// The shell that reads it and the one that runs it are processes too.
const SHELL: u32 = 2;

fn render(
    out: &mut String,
    wants: &Wants,
    asks: &[Slot],
    nonce: &Nonce,
    of_host: bool,
) -> Result<(), ShellError> {
    frame::prelude(out, nonce);
    out.push_str("__n=0\n");
    let mut processes = SHELL;
    if of_host {
        processes += render_host(out, wants);
    }
    processes += wants.render(out)?;
    let scripts = asks
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.refused.is_none());
    let scripts = scripts.filter_map(|(index, slot)| {
        Some((index, slot.ask.label.as_str(), slot.ask.script.as_ref()?))
    });
    processes += script::render(scripts, out)?;
    out.push_str(&format!("__e \"$((__n + {processes}))\"\n"));
    Ok(())
}
