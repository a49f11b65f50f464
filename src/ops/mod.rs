//! Day-2 work that is not a build. Plans nothing, prints nothing.

pub mod audit;
pub mod bundle;
pub mod cluster;
pub mod pins;
pub mod shards;
pub mod storage;
pub mod support;
