//! A keeper for tests of what needs none: it has nothing and takes nothing.

use foundry::run::{Keeper, Safekeeping};
use foundry::secret::Secret;
use futures::future::BoxFuture;

/// Keeps nothing.
pub struct NoKeeper;

impl Keeper for NoKeeper {
    fn hand_over<'a>(&'a self, _: &'a Safekeeping) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Err("nothing is kept here".to_owned()) })
    }

    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Secret<String>>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn store(&self, _: &str, _: &Secret<String>) -> Result<(), String> {
        Err("nothing is kept here".to_owned())
    }

    fn load(&self, _: &str) -> Result<Option<Secret<String>>, String> {
        Ok(None)
    }
}
