//! The JSON Schema of the written events. Does not know where it is published.

use super::model::{Event, VERSION};

/// Returns the JSON Schema of one line of the event log.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Event).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "title".to_owned(),
            format!("Foundry event, version {VERSION}").into(),
        );
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_in_the_schema() {
        let text = schema().to_string();
        for kind in [
            "run-started",
            "host-probed",
            "planned",
            "step-finished",
            "lock-waiting",
            "run-finished",
        ] {
            assert!(text.contains(&format!("\"{kind}\"")), "{kind}");
        }
        assert!(text.contains("version 1"));
    }
}
