//! Charts by K3s' HelmChart: no helm binary, the cluster's own controller does the work and is followed to the end. Does not
//! know which charts there are.

mod apply;
mod archive;
mod follow;
mod order;
mod release;
mod repair;

pub use archive::{ChartArchive, FoundBy, Wanted as WantedChart, ahead, find, merged, names};
pub use order::{ChartOrder, SETTLED};
pub use release::Releases;
