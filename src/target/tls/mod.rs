//! Certificates: an authority that a group of hosts shares, and a certificate for each host. Knows no service that
//! uses them.

mod authority;
mod certificate;
mod issue;
mod look;

pub use authority::Authority;
pub use certificate::Certificate;
