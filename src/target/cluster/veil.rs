//! Which values of objects may be shown: never those of a Secret, nor any that holds a secret Foundry knows. Compares nothing.

use base64::Engine as _;
use serde_json::Value;

use super::compare::Difference;
use super::object::Object;
use crate::probe::{Fact, Place};
use crate::secret::Masker;

/// What is not set.
const UNSET: &str = "not set";

/// Decides what may be shown.
#[derive(Clone, Copy)]
pub struct Veil<'a>(pub &'a Masker);

impl Veil<'_> {
    /// Words a difference of an object, showing only what may be.
    #[must_use]
    pub fn place(&self, object: &Object, difference: Difference) -> Place {
        let hidden = (object.is_secret() && !difference.path.starts_with("metadata."))
            || [&difference.found, &difference.wanted]
                .into_iter()
                .flatten()
                .any(|value| self.holds_secret(value));
        let fact = |value: Option<Value>| match value {
            None | Some(Value::Null) => Fact::from(UNSET),
            Some(_) if hidden => Fact::Secret(String::new().into()),
            Some(Value::String(text)) => Fact::Text(text),
            Some(other) => Fact::Text(other.to_string()),
        };
        Place {
            name: format!("{} {}", object.title(), difference.path),
            found: fact(difference.found),
            wanted: fact(difference.wanted),
        }
    }

    fn holds_secret(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_secret(text),
            Value::Array(list) => list.iter().any(|one| self.holds_secret(one)),
            Value::Object(map) => map.values().any(|one| self.holds_secret(one)),
            _ => false,
        }
    }

    fn is_secret(&self, text: &str) -> bool {
        if self.0.mask(text) != text {
            return true;
        }
        let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(text.trim()) else {
            return false;
        };
        let decoded = String::from_utf8_lossy(&decoded);
        self.0.mask(&decoded) != decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::target::cluster::object::parse;
    use serde_json::json;

    #[test]
    fn secrets_are_never_shown() {
        let secret = Secret::new("hunter2-hunter2".to_owned());
        let masker = Masker::new([&secret]);
        let veil = Veil(&masker);
        let object = |kind: &str| {
            parse(
                &format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: x}}}}"),
                "",
            )
            .unwrap()
            .remove(0)
        };
        let place = |kind: &str, path: &str, found: Value, wanted: Value| {
            let difference = Difference {
                path: path.to_owned(),
                found: Some(found),
                wanted: Some(wanted),
            };
            veil.place(&object(kind), difference)
        };
        let hidden = |place: &Place| matches!(place.found, Fact::Secret(_));
        let coded = base64::engine::general_purpose::STANDARD.encode("a: hunter2-hunter2");
        let open = place("ConfigMap", "data.a", json!("x"), json!("y"));
        assert!(!hidden(&open));
        assert_eq!(open.name, "ConfigMap/x data.a");
        for place in [
            place("Secret", "data.a", json!("eA=="), json!("eQ==")),
            // What was there before may be the secret of before.
            place(
                "ConfigMap",
                "data.a",
                json!("old"),
                json!("hunter2-hunter2"),
            ),
            place("ConfigMap", "data.a", json!("old"), json!(coded)),
            place(
                "ConfigMap",
                "data",
                json!({}),
                json!({ "a": "x hunter2-hunter2 y" }),
            ),
        ] {
            assert!(hidden(&place), "{}", place.name);
        }
    }
}
