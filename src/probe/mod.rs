//! The probes of one target → one batch → facts. Decides nothing.

mod apply;
mod ask;
mod batch;
mod collect;
mod enter;
mod fact;
mod fence;
mod fill;
mod fold;
mod frame;
mod journal;
mod mask;
mod observe;
mod observed;
mod reader;
mod script;
mod shell;
mod stamp;
mod timed;

pub use apply::{Application, Applications, Applied, Ended, Found, Job, Progress};
pub use ask::{Actions, NotAsked, ask};
pub use batch::{Answer, Ask, Batch};
pub use enter::{functions_for, with_functions};
pub use fact::{Differences, Fact, Facts, Fault, HostFacts, Place, Question, Seen, Stamp};
pub use fence::{Door, Fence, Pass, Refused, WAITING, stack_folder};
pub use fill::{Filled, Known};
pub use fold::fold;
pub use frame::Nonce;
pub use journal::{
    Author, Entered, Entry, Head, JOURNAL_FILE, JOURNAL_FILES, Journal, Told, Unwritable,
    journal_check, journal_folder,
};
pub use observe::{HostAnswered, Look, Round, StepSeen, observe, read};
pub use observed::Observed;
pub use reader::{
    AccessError, AccessKind, ActionProbe, Asked, Program, Reader, Readers, Reply, ServiceReader,
};
pub use script::ProbeScript;
pub use shell::{ShellError, quote};
pub use stamp::{stamp_path, stamps_folder};
