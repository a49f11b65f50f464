//! Names of steps: `openbao:package[curl]@bao-1`. Does not know which steps exist.

use std::fmt;
use std::sync::Arc;

/// The full name of one step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Component.
    pub component: Arc<str>,
    /// Step within the recipe.
    pub step: Arc<str>,
    /// Item of `for_each`.
    pub item: Option<Arc<str>>,
    /// Host, for a step that runs on one.
    pub host: Option<Arc<str>>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.component, self.step)?;
        if let Some(item) = &self.item {
            write!(f, "[{item}]")?;
        }
        if let Some(host) = &self.host {
            write!(f, "@{host}")?;
        }
        Ok(())
    }
}
