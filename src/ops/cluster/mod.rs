//! Nodes looked at, emptied and taken away, etcd's votes counted, kubeconfigs merged. Does not print or ask: who calls
//! says what is meant.

mod drain;
mod kubeconfig;
mod members;
mod nodes;
mod quorum;

pub use drain::{CORDONED_BY, DrainError, Drained, drain, uncordon};
pub use kubeconfig::{MergeError, merge};
pub use members::{
    Member, clean, command, hold_restarts, kubeconfig, look, restore_first, restore_other, stop,
    words,
};
pub use nodes::{Node, delete, is_there, label, let_go, list};
pub use quorum::{Vote, may_leave};
