//! The driver without a daemon: each host is a set of Linux namespaces with an overlay on the image, a veth on the
//! lab's bridge and a cgroup of its own, in which Debian's own init runs. Needs root on Linux.
//!
//! What runs is read from the cgroups `foundry-lab/<lab>/<host>`: every process of a host is in there, and nothing
//! else is, so that is all `lab down` kills.

mod cgroup;
mod driver;
mod init;
mod launch;
mod mounts;
mod net;
mod record;
mod subnet;

pub(super) use driver::Namespaces;
pub use init::host_init;
