//! A stack without built-in actions.

use foundry::probe::{ActionProbe, Actions};

/// No built-in actions.
pub struct NoActions;

impl Actions for NoActions {
    fn find(&self, _: &str) -> Option<&dyn ActionProbe> {
        None
    }
}
