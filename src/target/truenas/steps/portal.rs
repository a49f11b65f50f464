//! `truenas.iscsi-portal`: iSCSI is listened for on these addresses. Takes over a portal that there is, and makes one where
//! there is none. Targets and extents are the driver's business.

use std::net::IpAddr;

use serde_json::json;

use super::super::client::{CHANGE, Client};
use super::super::error::TrueNasError;
use super::super::facts::Compared;
use super::super::look::{Look, Portal};
use crate::catalog::Values;
use crate::probe::Facts;
use crate::target::inputs;

/// Its name.
pub const ACTION: &str = "truenas.iscsi-portal";

/// The portal.
pub struct Wanted {
    addresses: Vec<String>,
    comment: String,
}

impl Wanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        let addresses: Vec<String> = inputs::list(values, "addresses")?
            .into_iter()
            .map(str::to_owned)
            .collect();
        if let Some(wrong) = addresses.iter().find(|one| one.parse::<IpAddr>().is_err()) {
            return Err(format!(
                "`{wrong}` is no IP address, and a portal listens on nothing else"
            ));
        }
        if addresses.is_empty() {
            return Err("a portal needs an address: `0.0.0.0` is all of them".to_owned());
        }
        Ok(Self {
            addresses,
            comment: inputs::text(values, "comment")?.to_owned(),
        })
    }

    /// Returns the portal that listens there, else the one that is Foundry's.
    fn find<'a>(&self, look: &'a Look) -> Option<&'a Portal> {
        let serves = look.portals.iter().find(|portal| self.is_served_by(portal));
        serves.or_else(|| {
            look.portals
                .iter()
                .find(|portal| portal.comment == self.comment)
        })
    }

    fn is_served_by(&self, portal: &Portal) -> bool {
        self.addresses.iter().all(|wanted| {
            let all = if wanted.contains(':') {
                "::"
            } else {
                "0.0.0.0"
            };
            portal
                .listen
                .iter()
                .any(|listen| listen.ip == *wanted || listen.ip == all)
        })
    }

    pub fn facts(&self, look: &Look) -> Facts {
        let found = self.find(look);
        let mut compared = Compared::default();
        match found {
            None => compared = Compared::absent("portal"),
            Some(portal) if self.is_served_by(portal) => {}
            Some(portal) => {
                let found: Vec<&str> = portal.listen.iter().map(|one| one.ip.as_str()).collect();
                compared.set("addresses", &found, &self.addresses);
            }
        }
        let mut facts = compared.into_facts();
        let id = found.map_or_else(|| "absent".to_owned(), |portal| portal.id.to_string());
        facts.insert("id".to_owned(), id.into());
        facts
    }

    pub async fn apply(&self, client: &Client, look: &Look) -> Result<(), TrueNasError> {
        let listen: Vec<_> = self
            .addresses
            .iter()
            .map(|ip| json!({ "ip": ip }))
            .collect();
        match self.find(look) {
            Some(portal) if self.is_served_by(portal) => Ok(()),
            Some(portal) => {
                let params = json!([portal.id, { "listen": listen }]);
                client
                    .call("iscsi.portal.update", &params, CHANGE)
                    .await
                    .map(drop)
            }
            None => {
                let params = json!([{ "listen": listen, "comment": self.comment }]);
                client
                    .call("iscsi.portal.create", &params, CHANGE)
                    .await
                    .map(drop)
            }
        }
    }
}
