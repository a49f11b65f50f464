//! Task and recipe files → `Catalog`: embedded in the binary, overlaid by the user's own folder. Knows no host.

mod convert;
mod digest;
mod encode;
mod filter;
mod image;
mod kind;
mod lint;
mod lint_listeners;
mod lint_recipe;
mod lint_text;
mod load;
mod parse_kind;
mod parse_recipe;
mod parse_task;
mod pinned;
mod placeholder;
mod problems;
mod recipe;
mod rollout;
mod schema;
mod script;
mod settings;
mod structure;
mod table;
mod task;
mod template;
#[cfg(test)]
mod template_tests;
mod template_text;
mod units;
mod value;
mod version;
mod versions;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

pub use encode::{Encoder, shquote};
pub use filter::FILTERS;
pub use image::{ImageRef, images_in, is_digest};
pub use lint::{Script, lint, scripts};
pub use load::{Files, RecipeSource};
pub use parse_recipe::each_text;
pub use pinned::{Brings, pin_images, pinned_image};
pub use placeholder::{Piece, Placeholder, split as split_placeholders};
pub use problems::AllProblems;
pub use recipe::{
    Artifact, Images, Listener, OnTarget, Provided, Recipe, RecipeStep, SettingSpec, StackCheck,
};
pub use rollout::{Canary, GATE_TIMEOUT, Rollout, Share, resolve_rollout, with_health};
pub use schema::settings_schema;
pub use settings::{Settings, resolve_settings};
pub use structure::{Format, Misplaced, check_pieces};
pub use task::{
    Collector, Effect, InputSpec, OutputSpec, ProbeSpec, QuestionSpec, Task, Template, TextFormat,
    ValueType,
};
pub use template::{Purpose, TemplateError, evaluate, evaluate_for, evaluate_over, mentions};
pub use units::{parse_duration, parse_size};
pub use value::{Value, Values};
pub use version::Version;
pub use versions::{Known, Tested};
pub use written::Written;

/// All tasks and recipes there are.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// By name.
    pub tasks: IndexMap<String, Arc<Task>>,
    /// By component name.
    pub recipes: IndexMap<String, Arc<Recipe>>,
    /// The table of versions, by component name.
    pub versions: BTreeMap<String, Arc<Known>>,
}
