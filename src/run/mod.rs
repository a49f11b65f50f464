//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.

mod attempt;
mod board;
mod conduct;
mod execute;
pub mod lock;
mod metered;
mod narrate;
mod retry;
mod schedule;
mod stop;
mod tell;
mod work;
mod writer;

pub use board::{Board, Fallen, State};
pub use conduct::{Limits, RunRequest, has_work, refuse, run};
pub use schedule::{Ended, Execute, Observe, schedule};
pub use stop::Stop;
pub use tell::{Sink, Tell};
pub use work::{Circle, LaneId, Node, Work};
pub use writer::{
    Action, ActionContext, Actions, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload,
    Writer, Writers,
};
