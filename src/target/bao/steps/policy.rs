//! `bao.policy`: an ACL policy. Does not know what its rules allow.

use super::super::client::{BaoError, Client};
use crate::catalog::Values;
use crate::probe::{Facts, Fault};
use crate::run::StepError;
use crate::target::group::senseless;
use crate::target::inputs::{self, wrong};

/// Its name.
pub const ACTION: &str = "bao.policy";

/// Reads the policy.
pub async fn facts(client: &Client, inputs: &Values) -> Result<Facts, Fault> {
    let name = inputs::text(inputs, "name").map_err(senseless)?;
    let rules = match vaultrs::sys::policy::read(client.api(), name)
        .await
        .map_err(BaoError::from)
    {
        Ok(policy) => policy.rules.trim().to_owned(),
        Err(BaoError::Api { status: 404, .. }) => "absent".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok([("policy".to_owned(), rules.into())].into())
}

/// Writes the policy.
pub async fn apply(client: &Client, inputs: &Values) -> Result<(), StepError> {
    let name = inputs::text(inputs, "name").map_err(wrong)?;
    let rules = inputs::text(inputs, "policy").map_err(wrong)?;
    vaultrs::sys::policy::set(client.api(), name, rules)
        .await
        .map_err(BaoError::from)?;
    Ok(())
}
