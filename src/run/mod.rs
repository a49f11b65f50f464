//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.

mod attempt;
mod board;
mod conduct;
mod elsewhere;
mod execute;
pub mod fence;
mod gate;
pub mod journal;
pub mod lock;
mod look;
mod metered;
mod narrate;
mod prints;
mod retry;
pub mod rollout;
mod schedule;
mod stop;
mod tell;
mod together;
mod trial;
mod work;
mod writer;

pub use board::{Advanced, Board, Fallen, State};
pub use conduct::{Limits, RunRequest, has_work, refuse, run};
pub use fence::{Fenced, Gate};
pub use schedule::{Begun, Ended, Execute, Observe, Together, schedule};
pub use stop::Stop;
pub use tell::{Sink, Tell, draw_run};
pub use work::{Circle, LaneId, Node, Work};

pub use writer::{
    Action, ActionContext, Actions, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload,
    Writer, Writers,
};
