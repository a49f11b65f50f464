//! `bao.mount`: a secrets engine at a path. Never unmounts, which would delete what is in it.

use std::collections::{BTreeMap, HashMap};

use vaultrs::api;
use vaultrs::api::sys::requests::EnableEngineRequest;
use vaultrs::api::sys::responses::MountResponse;

use super::super::client::{BaoError, Client};
use super::super::endpoint::TuneMount;
use crate::catalog::Values;
use crate::probe::{Facts, Fault};
use crate::run::StepError;
use crate::target::group::senseless;
use crate::target::inputs::{self, wrong};

/// Its name.
pub const ACTION: &str = "bao.mount";

/// Finds the mount in the list of all.
pub fn facts(inputs: &Values, mounts: &HashMap<String, MountResponse>) -> Result<Facts, Fault> {
    let path = inputs::text(inputs, "path").map_err(senseless)?;
    let fact = |name: &str, value: String| (name.to_owned(), value.into());
    Ok(match mounts.get(&format!("{path}/")) {
        None => ["type", "options", "description", "accessor"]
            .map(|name| fact(name, "absent".to_owned()))
            .into(),
        Some(mount) => {
            let options: BTreeMap<_, _> = mount.options.iter().flatten().collect();
            [
                fact("type", mount.mount_type.clone()),
                fact("options", serde_json::json!(options).to_string()),
                fact("description", mount.description.clone()),
                fact("accessor", mount.accessor.clone()),
            ]
            .into()
        }
    })
}

/// Mounts it, or changes its options and description.
pub async fn apply(client: &Client, inputs: &Values) -> Result<(), StepError> {
    let path = inputs::text(inputs, "path").map_err(wrong)?;
    let kind = inputs::text(inputs, "type").map_err(wrong)?;
    let description = inputs::text(inputs, "description").map_err(wrong)?;
    let options: BTreeMap<String, String> = inputs::map(inputs, "options")
        .map_err(wrong)?
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mounts = vaultrs::sys::mount::list(client.api())
        .await
        .map_err(BaoError::from)?;
    match mounts.get(&format!("{path}/")) {
        None => vaultrs::sys::mount::enable(
            client.api(),
            path,
            kind,
            Some(
                EnableEngineRequest::builder()
                    .description(description)
                    .options(options.into_iter().collect::<HashMap<_, _>>()),
            ),
        )
        .await
        .map_err(BaoError::from)?,
        Some(mount) if mount.mount_type != kind => {
            return Err(StepError::Failed {
                message: format!("{path}/ is already mounted, as {}", mount.mount_type),
                output: String::new(),
                hint: Some(
                    "Foundry unmounts nothing: move it (`bao secrets move`) or choose another path"
                        .to_owned(),
                ),
                status: None,
            });
        }
        Some(_) => api::exec_with_empty(
            client.api(),
            TuneMount {
                path: path.to_owned(),
                description: description.to_owned(),
                options,
            },
        )
        .await
        .map_err(BaoError::from)?,
    }
    Ok(())
}
