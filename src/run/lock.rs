//! One run at a time for each stack: a lock on the infrastructure itself. Does not know what a run does.
//!
//! The lock is a file, `/var/lib/foundry/<stack>/lock`, on the first host of the stack, in the order of the config. Its text
//! says who holds it; a file beside it says when, in that host's time since it was started, the holder last gave a sign of
//! life. A holder renews it every [`RENEW`]; a lock older than [`LEASE`] is nobody's, and the next run takes it over and says
//! so. All access goes through `flock` on that host, so that judging and taking are one.
//!
//! A holder that can't renew it stops by itself before others may take it over, by its own clock ([`Lease`]), which is looked
//! at before every program that is sent.
//!
//! A run on the same machine as the holder needs not wait for the lease: the holder's machine, boot and process are in
//! the file, so it can be seen whether that process still lives.
//!
//! Where the first host can't be reached, a run may hold the lock there all the same. Its lease is waited out, and the run
//! says so; then the next host in the order of the config stands in.
//!
//! The lock alone keeps nobody off a host: whoever holds it may have been stopped for a minute, or may be cut off. So each
//! holding has a number, higher than all before, that every host keeps as its fence ([`crate::probe::Fence`], [`super::Gate`]).
//!
//! Shards of one run share the lock: they are of one **generation**, whose name the lock bears, and each has a file of its
//! own beside it (`lock.shard-2of3`) with its process and sign of life. Another generation is another run, and refused; so
//! is a second process of the same shard. The lock is given back by the last of them.

mod guard;
mod holder;
mod lease;
mod place;
mod script;
mod seen;

pub use guard::{Lock, LockError, Patience, Request, Shown, show, steal, take};
pub use holder::{Controller, Found, Holder, Party, Standing};
pub use lease::{BootClock, Clock, Lease, Terms};
pub use seen::SeenRuns;

use std::time::Duration;

/// How long a lock is good for after the last sign of life.
pub const LEASE: Duration = Duration::from_secs(60);

/// How often a holder gives a sign of life.
pub const RENEW: Duration = Duration::from_secs(20);
