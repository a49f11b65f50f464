//! `truenas.pool`: a pool that there is and that works. Makes none: which disks may be overwritten is for a person to say.

use super::super::error::TrueNasError;
use super::super::look::{Look, Pool};
use crate::catalog::Values;
use crate::probe::Facts;
use crate::target::inputs;

/// Its name.
pub const ACTION: &str = "truenas.pool";

/// The pool.
pub struct Wanted {
    name: String,
}

impl Wanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        Ok(Self {
            name: inputs::text(values, "name")?.to_owned(),
        })
    }

    pub fn facts(&self, look: &Look) -> Facts {
        let fact = |name: &str, value: String| (name.to_owned(), value.into());
        match look.pool(&self.name) {
            None => ["status", "free"]
                .map(|name| fact(name, "absent".to_owned()))
                .into(),
            Some(pool) => [
                fact("status", pool.status.clone()),
                fact("free", pool.free.unwrap_or_default().to_string()),
            ]
            .into(),
        }
    }

    pub fn apply(&self, look: &Look) -> Result<(), TrueNasError> {
        let name = &self.name;
        match look.pool(name) {
            Some(Pool {
                status,
                status_detail,
                ..
            }) => {
                let why = status_detail
                    .as_deref()
                    .unwrap_or("TrueNAS does not say why");
                Err(TrueNasError::Hopeless {
                    message: format!("pool `{name}` is {status}: {why}"),
                    hint: "TrueNAS shows under Storage which of its disks are at fault".to_owned(),
                })
            }
            None => {
                let names: Vec<&str> = look.pools.iter().map(|pool| pool.name.as_str()).collect();
                let there = match names.as_slice() {
                    [] => "it has none".to_owned(),
                    names => format!("it has {}", names.join(", ")),
                };
                Err(TrueNasError::Hopeless {
                    message: format!("TrueNAS has no pool `{name}`: {there}"),
                    hint: "make it in TrueNAS under Storage: Foundry overwrites no disks"
                        .to_owned(),
                })
            }
        }
    }
}
