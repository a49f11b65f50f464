//! The probes of one target → one batch → facts. Decides nothing.

mod fact;
mod reader;

pub use fact::{Fact, Facts, Fault, HostFacts, Question, Seen, Stamp};
pub use reader::{
    AccessError, AccessKind, ActionProbe, Asked, Program, Reader, Readers, Reply, ServiceReader,
};
