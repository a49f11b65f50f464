//! One run at a time for each stack: a lock on the infrastructure itself. Does not know what a run does.
//!
//! The lock is a file, `/var/lib/foundry/<stack>/lock`, on the first host of the stack, in the order of the config, that
//! can be reached. Its text says who holds it; its time of change, set and judged by that host's own clock, says when the
//! holder last gave a sign of life. A holder renews it every [`RENEW`]; a lock older than [`LEASE`] is nobody's, and the
//! next run takes it over and says so. All access goes through `flock` on that host, so that judging and taking are one.
//!
//! A run on the same machine as the holder needs not wait for the lease: the holder's machine, boot and process are in
//! the file, so it can be seen whether that process still lives.
//!
//! Shards of one run share the lock: they are of one **generation**, whose name the lock bears, and each has a file of its
//! own beside it (`lock.shard-2of3`) with its process and sign of life. Another generation is another run, and refused; so
//! is a second process of the same shard. The lock is given back by the last of them.
//!
//! The limit of it: two runs that can't reach the same first host (the network is parted, or the host is down for one of
//! them) lock different hosts. Steps are safe to run twice, so what that costs is work, and the next run repairs.

mod guard;
mod holder;
mod script;

pub use guard::{Lock, LockError, Patience, Shown, show, steal, take};
pub use holder::{Controller, Found, Holder, Party, Standing};

use std::time::Duration;

/// How long a lock is good for after the last sign of life.
pub const LEASE: Duration = Duration::from_secs(60);

/// How often a holder gives a sign of life.
pub const RENEW: Duration = Duration::from_secs(20);
