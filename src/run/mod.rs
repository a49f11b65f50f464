//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.

mod board;
pub mod lock;
mod schedule;
mod stop;
mod tell;
mod work;
mod writer;

pub use board::{Board, Fallen, State};
pub use schedule::{Ended, Execute, Observe, schedule};
pub use stop::Stop;
pub use tell::{Sink, Tell};
pub use work::{Circle, LaneId, Node, Work};
pub use writer::{
    Action, ActionContext, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload, Writer,
    Writers,
};
