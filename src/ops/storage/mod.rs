//! Storage of a cluster looked at, and tried by a volume that is written, read and taken away again. Does not print or ask, and
//! knows no backend.

mod trial;
mod view;
mod yard;

pub use trial::{Outcome, Trial, try_class};
pub use view::{Claim, Class, View, Volume, view};
pub use yard::{Yard, YardError};
