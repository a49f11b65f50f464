//! Collectors: each merges what all steps of a host want of one kind into one question to one tool, and reads the
//! answer. Know no step and no task.

mod account;
mod content;
mod digest;
mod host;
mod kernel;
mod line;
mod package;
mod paths;
mod port;
mod stat;
mod unit;
mod wants;

pub(super) use host::render as render_host;
pub(super) use wants::{Found, Wants};
