//! Task and recipe files → `Catalog`: embedded in the binary, overlaid by the user's own folder. Knows no host.

mod recipe;
mod task;
mod value;

use std::sync::Arc;

use indexmap::IndexMap;

pub use recipe::{Artifact, OnTarget, Recipe, RecipeStep, SettingSpec};
pub use task::{
    Collector, Effect, InputSpec, OutputSpec, ProbeSpec, QuestionSpec, Task, Template, ValueType,
};
pub use value::{Value, Values};

/// All tasks and recipes there are.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// By name.
    pub tasks: IndexMap<String, Arc<Task>>,
    /// By component name.
    pub recipes: IndexMap<String, Arc<Recipe>>,
}
