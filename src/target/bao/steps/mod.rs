//! One file for each kind of service step: what it looks at, how it is applied. None knows of the others.

pub mod health;
pub mod kv;
pub mod mount;
pub mod object;
pub mod policy;
pub mod random;
