//! `stack.yaml` → `Stack`, with source spans. Knows no recipe; secret references stay references.

mod components;
mod cover;
mod diagnostic;
mod edit;
mod edit_node;
mod edit_section;
mod fields;
mod host_entry;
mod hosts;
mod init;
mod parse;
mod problem;
mod range;
mod schema;
mod select;
mod setting;
mod show;
mod stack;
mod suggest;
mod yaml;

pub use cover::looks_secret;
pub use diagnostic::{Style, render, render_warnings};
pub use edit::{EditError, HostEntry, add_host, own_field, set_host_field};
pub use edit_node::{add_node, remove_node};
pub use edit_section::{has_section, set_in_section, text_in_section};
pub use init::{NewConfig, NewHost, SCHEMA_FILE, new_config};
pub use parse::{SECTIONS, parse};
pub use problem::{Problem, Problems};
pub use range::{Range, RangeError};
pub use schema::{ComponentSchema, schema};
pub use select::{Choice, Chosen, SelectError, select, stem};
pub use setting::{Node, Setting, Source, Span};
pub use show::{effective, literal_secrets};
pub use stack::{Component, Host, HostId, Mirror, MirrorDigests, Stack};
pub use suggest::{help as suggest_help, nearest, nearest_host};
pub use yaml::parse_yaml;
