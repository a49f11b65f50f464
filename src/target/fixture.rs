//! Facts and inputs for the unit tests of built-in actions.

use std::sync::Arc;

use crate::catalog::{Value, Values};
use crate::config::HostId;
use crate::probe::{Fact, Facts, Seen};

/// Returns inputs of text.
pub fn values(pairs: &[(&str, &str)]) -> Values {
    pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned())))
        .collect()
}

/// Returns a certificate that its own key signed, and the key, both in PEM.
pub fn pem_pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Returns what a host named `name` answered.
pub fn seen(name: &str, facts: Facts) -> Seen {
    Seen {
        host: HostId(0),
        name: Arc::from(name),
        answer: Ok(Arc::new(facts)),
    }
}

/// Returns facts by name.
pub fn facts(pairs: &[(&str, &str)]) -> Facts {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Fact::from(*value)))
        .collect()
}

/// Returns what the `stat` and `content` collectors say of a root-only file.
pub fn file(prefix: &str, content: Option<&str>) -> Facts {
    let name = |name: &str| {
        if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        }
    };
    match content {
        None => [
            (name("kind"), Fact::from("absent")),
            (name("content"), Fact::from("absent")),
        ]
        .into(),
        Some(text) => [
            (name("kind"), Fact::from("file")),
            (name("size"), Fact::from(text.len().to_string())),
            (name("mode"), Fact::from("0600")),
            (name("owner"), Fact::from("root:root")),
            (name("content"), Fact::from(text)),
        ]
        .into(),
    }
}
