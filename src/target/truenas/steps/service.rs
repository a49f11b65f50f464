//! `truenas.service`: a system service of TrueNAS runs, and starts with the machine. Stops none.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::client::{CHANGE, Client};
use super::super::error::TrueNasError;
use super::super::facts::yes;
use super::super::look::Look;
use super::Say;
use crate::catalog::Values;
use crate::probe::Facts;
use crate::target::inputs;

/// Its name.
pub const ACTION: &str = "truenas.service";

/// Longest that a service may take to start, as TrueNAS is told; the job is waited for somewhat longer.
const START: Duration = Duration::from_secs(120);

/// What a service that runs is.
const RUNNING: &str = "RUNNING";

/// The service.
pub struct Wanted {
    pub name: String,
}

impl Wanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        Ok(Self {
            name: inputs::text(values, "name")?.to_owned(),
        })
    }

    pub fn facts(&self, look: &Look) -> Facts {
        let fact = |name: &str, value: &str| (name.to_owned(), value.into());
        match look.service(&self.name) {
            None => ["state", "enabled"].map(|name| fact(name, "absent")).into(),
            Some(found) => [
                fact("state", &found.state),
                fact("enabled", yes(found.enable)),
            ]
            .into(),
        }
    }

    pub async fn apply(
        &self,
        client: &Client,
        look: &Look,
        say: Say<'_>,
    ) -> Result<(), TrueNasError> {
        let name = &self.name;
        let Some(found) = look.service(name) else {
            return Err(TrueNasError::Hopeless {
                message: format!("TrueNAS has no service `{name}`"),
                hint: "NFS is `nfs`, iSCSI `iscsitarget`, SMB `cifs`".to_owned(),
            });
        };
        if !found.enable {
            let params = json!([name, { "enable": true }]);
            client.call("service.update", &params, CHANGE).await?;
        }
        if found.state == RUNNING {
            return Ok(());
        }
        let options = json!({ "silent": false, "timeout": START.as_secs() });
        let params = json!(["START", name, options]);
        let limit = START + Duration::from_secs(60);
        match client.job("service.control", &params, limit, say).await? {
            Value::Bool(false) => Err(TrueNasError::Hopeless {
                message: format!("TrueNAS could not start its service `{name}`"),
                hint: "TrueNAS shows why under System › Services, and in its alerts".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}
