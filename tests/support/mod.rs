//! What integration tests share. Each test binary uses a part of it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod kubernetes;
pub mod lab;
pub mod openbao;
pub mod registry;
