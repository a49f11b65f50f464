//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.

mod attempt;
mod board;
mod conduct;
mod elsewhere;
mod execute;
mod gate;
pub mod lock;
mod metered;
mod narrate;
mod retry;
pub mod rollout;
mod schedule;
mod stop;
mod tell;
mod work;
mod writer;

pub use board::{Advanced, Board, Fallen, State};
pub use conduct::{Limits, RunRequest, has_work, refuse, run};
pub use schedule::{Ended, Execute, Observe, schedule};
pub use stop::Stop;
pub use tell::{Sink, Tell};
pub use work::{Circle, LaneId, Node, Work};

pub use writer::{
    Action, ActionContext, Actions, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload,
    Writer, Writers,
};

/// How many hosts are looked at at once, where several are during a run.
const AT_ONCE: usize = 256;
