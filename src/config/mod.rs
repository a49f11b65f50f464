//! `stack.yaml` → `Stack`, with source spans. Knows no recipe; secret references stay references.

mod setting;
mod stack;

pub use setting::{Node, Setting, Source, Span};
pub use stack::{Component, Host, HostId, Mirror, MirrorDigests, Stack};
