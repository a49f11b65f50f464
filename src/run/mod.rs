//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.

mod writer;

pub use writer::{
    Action, ActionContext, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload, Writer,
    Writers,
};
