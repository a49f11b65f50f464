//! `truenas.dataset`: a dataset with its quota and properties. One is deleted only where the step names it a second time.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::client::{CHANGE, Client};
use super::super::error::TrueNasError;
use super::super::facts::Compared;
use super::super::look::{Look, Wants};
use super::Say;
use crate::catalog::{Values, parse_size};
use crate::probe::Facts;
use crate::target::inputs;

/// Its name.
pub const ACTION: &str = "truenas.dataset";

/// Name of its removal.
pub const REMOVE: &str = "truenas.dataset-remove";

/// What a property is set to so that it is as the parent's.
const INHERIT: &str = "INHERIT";

/// The smallest quota that TrueNAS takes.
const LEAST_QUOTA: u64 = 1 << 30;

/// The dataset.
pub struct Wanted {
    path: String,
    quota: u64,
    comment: String,
    properties: BTreeMap<String, String>,
}

impl Wanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        let path = path(values)?;
        let quota = parse_size(inputs::text(values, "quota")?)?;
        if quota != 0 && quota < LEAST_QUOTA {
            return Err(format!(
                "the quota of {path} is below 1Gi, the least that TrueNAS takes"
            ));
        }
        let properties = inputs::map(values, "properties")?;
        Ok(Self {
            path,
            quota,
            comment: inputs::text(values, "comment")?.to_owned(),
            properties: properties
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_ascii_uppercase()))
                .collect(),
        })
    }

    pub fn want(&self, wants: &mut Wants) {
        wants.datasets.insert(self.path.clone());
        wants
            .properties
            .extend(["quota", "used", "available"].map(str::to_owned));
        wants.properties.extend(self.properties.keys().cloned());
    }

    pub fn facts(&self, look: &Look) -> Facts {
        let (compared, mountpoint) = match look.dataset(&self.path) {
            None => (Compared::absent(&self.path), "absent"),
            Some(found) => (
                self.compare(found),
                found["mountpoint"].as_str().unwrap_or("absent"),
            ),
        };
        let mut facts = compared.into_facts();
        facts.insert("mountpoint".to_owned(), mountpoint.into());
        facts
    }

    fn compare(&self, found: &Value) -> Compared {
        let mut compared = Compared::default();
        compared.field("type", text(&found["type"]), "FILESYSTEM");
        let quota = found["quota"]["parsed"].as_u64().unwrap_or_default();
        compared.field("quota", &quota.to_string(), &self.quota.to_string());
        if !self.comment.is_empty() {
            compared.field("comments", text(&found["comments"]["value"]), &self.comment);
        }
        for (name, wanted) in &self.properties {
            let there = &found[name.as_str()];
            let value = if wanted == INHERIT && text(&there["source"]) != "LOCAL" {
                INHERIT.to_owned()
            } else {
                text(&there["value"]).to_ascii_uppercase()
            };
            compared.field(name, &value, wanted);
        }
        compared
    }

    pub async fn apply(&self, client: &Client, look: &Look) -> Result<(), TrueNasError> {
        let mut fields = self.fields();
        match look.dataset(&self.path) {
            Some(found) if text(&found["type"]) != "FILESYSTEM" => Err(TrueNasError::Hopeless {
                message: format!(
                    "{} is there already, as a {}",
                    self.path,
                    text(&found["type"])
                ),
                hint: "Foundry turns nothing into something else: choose another path".to_owned(),
            }),
            Some(found) if self.compare(found).is_same() => Ok(()),
            Some(_) => {
                let params = json!([self.path, fields]);
                client
                    .call("pool.dataset.update", &params, CHANGE)
                    .await
                    .map(drop)
            }
            None => {
                fields.insert("name".to_owned(), json!(self.path));
                fields.insert("type".to_owned(), json!("FILESYSTEM"));
                fields.insert("create_ancestors".to_owned(), json!(true));
                let params = json!([fields]);
                client
                    .call("pool.dataset.create", &params, CHANGE)
                    .await
                    .map(drop)
            }
        }
    }

    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("quota".to_owned(), json!(self.quota));
        if !self.comment.is_empty() {
            fields.insert("comments".to_owned(), json!(self.comment));
        }
        for (name, value) in &self.properties {
            // `copies` and the like are numbers; a record's size is a text such as `128K`.
            let value = value
                .parse::<u64>()
                .map_or_else(|_| json!(value), |number| json!(number));
            fields.insert(name.clone(), value);
        }
        fields
    }
}

/// A dataset that is to go.
pub struct Unwanted {
    path: String,
    erase: String,
}

impl Unwanted {
    pub fn read(values: &Values) -> Result<Self, String> {
        Ok(Self {
            path: path(values)?,
            erase: inputs::text(values, "erase")?.to_owned(),
        })
    }

    pub fn want(&self, wants: &mut Wants) {
        wants.datasets.insert(self.path.clone());
        wants.properties.insert("used".to_owned());
    }

    pub async fn apply(
        &self,
        client: &Client,
        look: &Look,
        say: Say<'_>,
    ) -> Result<(), TrueNasError> {
        let path = &self.path;
        let Some(found) = look.dataset(path) else {
            return Ok(());
        };
        let used = found["used"]["parsed"].as_u64().unwrap_or_default();
        if self.erase != *path {
            return Err(TrueNasError::Hopeless {
                message: format!("dataset {path} stays, with the {used} bytes in it"),
                hint: format!(
                    "Foundry deletes no data unasked: `erase: {path}` has it deleted with everything below it"
                ),
            });
        }
        say(&format!(
            "deleting {path}, {used} bytes, with everything below it"
        ));
        let params = json!([path, { "recursive": true }]);
        client
            .call("pool.dataset.delete", &params, CHANGE)
            .await
            .map(drop)
    }
}

fn path(values: &Values) -> Result<String, String> {
    let path = inputs::text(values, "path")?;
    let parts: Vec<&str> = path.split('/').collect();
    // A pool itself is no dataset of anybody's: its properties are those of all.
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(format!("`{path}` is no dataset, such as `tank/volumes`"));
    }
    Ok(path.to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
