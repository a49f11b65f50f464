//! `bao.random`: a random secret at a path of a KV v2 engine, made once and then left alone. Does not know what it is for.

use std::collections::BTreeMap;

use super::super::client::Client;
use super::super::kv::{read, write};
use crate::catalog::Values;
use crate::probe::{Fact, Facts, Fault};
use crate::run::StepError;
use crate::secret::Secret;
use crate::target::group::senseless;
use crate::target::inputs::{self, wrong};
use crate::target::shared::random;

/// Its name.
pub const ACTION: &str = "bao.random";

/// Fewest random bytes that make a secret.
const LEAST: usize = 16;

/// Reads it.
pub async fn facts(client: &Client, inputs: &Values) -> Result<Facts, Fault> {
    let mount = inputs::text(inputs, "mount").map_err(senseless)?;
    let path = inputs::text(inputs, "path").map_err(senseless)?;
    let key = inputs::text(inputs, "key").map_err(senseless)?;
    let kept = read(client, mount, path).await?;
    let value = kept
        .as_ref()
        .and_then(|kept| kept.values.get(key)?.as_str());
    Ok(match value {
        None | Some("") => [("present".to_owned(), "no".into())].into(),
        Some(value) => [
            ("present".to_owned(), "yes".into()),
            (
                "value".to_owned(),
                Fact::Secret(Secret::new(value.to_owned())),
            ),
        ]
        .into(),
    })
}

/// Makes it, where there is none yet: a secret that services were set up with must not change under them.
pub async fn apply(client: &Client, inputs: &Values) -> Result<(), StepError> {
    let mount = inputs::text(inputs, "mount").map_err(wrong)?;
    let path = inputs::text(inputs, "path").map_err(wrong)?;
    let key = inputs::text(inputs, "key").map_err(wrong)?;
    let bytes = inputs::int(inputs, "bytes").map_err(wrong)?;
    let there = facts(client, inputs)
        .await
        .map_err(|fault| wrong(fault.message))?;
    if there.contains_key("value") {
        return Ok(());
    }
    let secret = random(usize::try_from(bytes).unwrap_or(LEAST).max(LEAST))?;
    let values = BTreeMap::from([(key.to_owned(), secret.expose().as_str().into())]);
    write(client, mount, path, &values).await?;
    Ok(())
}
