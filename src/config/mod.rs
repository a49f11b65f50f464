//! `stack.yaml` → `Stack`, with source spans. Knows no recipe; secret references stay references.

mod cover;
mod diagnostic;
mod problem;
mod setting;
mod stack;
mod suggest;

pub use cover::looks_secret;
pub use diagnostic::{Style, render};
pub use problem::{Problem, Problems};
pub use setting::{Node, Setting, Source, Span};
pub use stack::{Component, Host, HostId, Mirror, MirrorDigests, Stack};
pub use suggest::{help as suggest_help, nearest};
