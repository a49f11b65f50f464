//! `truenas.nfs-share`: a folder that is shared by NFS, with who may mount it and as whom. Known by its path.

use serde_json::{Value, json};

use super::super::client::{CHANGE, Client};
use super::super::error::TrueNasError;
use super::super::facts::{Compared, yes};
use super::super::look::{Look, Share};
use crate::catalog::Values;
use crate::probe::Facts;
use crate::target::inputs;

/// Its name.
pub const ACTION: &str = "truenas.nfs-share";

/// Name of its removal, which leaves the files.
pub const REMOVE: &str = "truenas.nfs-share-remove";

/// The share.
pub struct Wanted {
    pub path: String,
    comment: String,
    networks: Vec<String>,
    hosts: Vec<String>,
    security: Vec<String>,
    read_only: bool,
    /// `maproot_user`, `maproot_group`, `mapall_user`, `mapall_group`.
    maps: [String; 4],
}

const MAPS: [&str; 4] = [
    "maproot_user",
    "maproot_group",
    "mapall_user",
    "mapall_group",
];

impl Wanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        let text = |name: &str| inputs::text(values, name).map(str::to_owned);
        let list = |name: &str| {
            let items = inputs::list(values, name)?;
            Ok::<_, String>(items.into_iter().map(str::to_owned).collect())
        };
        let [root_user, root_group, all_user, all_group] = MAPS;
        Ok(Self {
            path: path(values)?,
            comment: text("comment")?,
            networks: list("networks")?,
            hosts: list("hosts")?,
            security: list("security")?,
            read_only: inputs::flag(values, "read_only")?,
            maps: [
                text(root_user)?,
                text(root_group)?,
                text(all_user)?,
                text(all_group)?,
            ],
        })
    }

    pub fn facts(&self, look: &Look) -> Facts {
        let found = look.share(&self.path);
        let compared =
            found.map_or_else(|| Compared::absent(&self.path), |found| self.compare(found));
        compared.into_facts()
    }

    fn compare(&self, found: &Share) -> Compared {
        let mut compared = Compared::default();
        compared.field("enabled", yes(found.enabled), "yes");
        compared.field("read_only", yes(found.ro), yes(self.read_only));
        compared.set("networks", &found.networks, &self.networks);
        compared.set("hosts", &found.hosts, &self.hosts);
        compared.set("security", &found.security, &self.security);
        let maps = [
            &found.maproot_user,
            &found.maproot_group,
            &found.mapall_user,
            &found.mapall_group,
        ];
        for ((name, found), wanted) in MAPS.into_iter().zip(maps).zip(&self.maps) {
            compared.field(name, found.as_deref().unwrap_or_default(), wanted);
        }
        if !self.comment.is_empty() {
            compared.field("comment", &found.comment, &self.comment);
        }
        compared
    }

    pub async fn apply(&self, client: &Client, look: &Look) -> Result<(), TrueNasError> {
        match look.share(&self.path) {
            Some(found) if self.compare(found).is_same() => Ok(()),
            Some(found) => {
                let params = json!([found.id, self.fields()]);
                client
                    .call("sharing.nfs.update", &params, CHANGE)
                    .await
                    .map(drop)
            }
            None => {
                let params = json!([self.fields()]);
                client
                    .call("sharing.nfs.create", &params, CHANGE)
                    .await
                    .map(drop)
            }
        }
    }

    fn fields(&self) -> Value {
        let mut fields = json!({
            "path": self.path,
            "networks": self.networks,
            "hosts": self.hosts,
            "security": self.security,
            "ro": self.read_only,
            "enabled": true,
        });
        for (name, who) in MAPS.into_iter().zip(&self.maps) {
            fields[name] = if who.is_empty() {
                Value::Null
            } else {
                json!(who)
            };
        }
        if !self.comment.is_empty() {
            fields["comment"] = json!(self.comment);
        }
        fields
    }
}

/// A share that is to go.
pub struct Unwanted {
    pub path: String,
}

impl Unwanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        Ok(Self {
            path: path(values)?,
        })
    }

    pub async fn apply(&self, client: &Client, look: &Look) -> Result<(), TrueNasError> {
        match look.share(&self.path) {
            None => Ok(()),
            Some(found) => {
                let params = json!([found.id]);
                client
                    .call("sharing.nfs.delete", &params, CHANGE)
                    .await
                    .map(drop)
            }
        }
    }
}

fn path(values: &Values) -> Result<String, String> {
    let path = inputs::text(values, "path")?.trim_end_matches('/');
    match path.strip_prefix("/mnt/") {
        Some(rest) if !rest.is_empty() => Ok(path.to_owned()),
        _ => Err(format!(
            "`{path}` is no folder of a pool, such as `/mnt/tank/volumes`"
        )),
    }
}
