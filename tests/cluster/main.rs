//! The cluster's adapter and tasks against a real API server: etcd and Kubernetes of Debian's packages, a real kubelet with a
//! pretended container runtime (it starts pods, and has no logs). Only K3s' helm controller is played, in `charts.rs`; the
//! true one belongs to the tests of K3s.

#![expect(
    clippy::print_stderr,
    reason = "a test says what it sees, and why it is skipped"
)]

mod charts;
mod cli;
mod desk;
mod faults;
mod jobs;
#[path = "../support/keeper.rs"]
mod keeper;
mod objects;
mod rendered;
mod rig;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod user;
mod workloads;
