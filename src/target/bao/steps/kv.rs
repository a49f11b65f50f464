//! `bao.kv`: values at a path of a KV v2 engine. Leaves keys that it was not told of.

use std::collections::BTreeMap;

use super::super::client::Client;
use super::super::kv::{read, write};
use crate::catalog::Values;
use crate::probe::{Facts, Fault};
use crate::run::StepError;
use crate::target::group::senseless;
use crate::target::inputs::{self, wrong};

/// Its name.
pub const ACTION: &str = "bao.kv";

/// Names the keys whose values differ; never a value.
pub async fn facts(client: &Client, inputs: &Values) -> Result<Facts, Fault> {
    let mount = inputs::text(inputs, "mount").map_err(senseless)?;
    let path = inputs::text(inputs, "path").map_err(senseless)?;
    let wanted = inputs::map(inputs, "data").map_err(senseless)?;
    let differs = match read(client, mount, path).await? {
        None => "absent".to_owned(),
        Some(found) => {
            let names: Vec<&str> = wanted
                .iter()
                .filter(|(name, value)| {
                    found.values.get(**name).and_then(|found| found.as_str()) != Some(**value)
                })
                .map(|(name, _)| *name)
                .collect();
            names.join(" ")
        }
    };
    Ok([("differs".to_owned(), differs.into())].into())
}

/// Writes the values beside what else is there.
pub async fn apply(client: &Client, inputs: &Values) -> Result<(), StepError> {
    let mount = inputs::text(inputs, "mount").map_err(wrong)?;
    let path = inputs::text(inputs, "path").map_err(wrong)?;
    let wanted: BTreeMap<String, serde_json::Value> = inputs::map(inputs, "data")
        .map_err(wrong)?
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    write(client, mount, path, &wanted).await?;
    Ok(())
}
