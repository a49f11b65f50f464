//! JSON-RPC 2.0 as TrueNAS' middleware speaks it: requests, answers with its errors, notifications. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::TrueNasError;

/// What the server sent.
#[derive(Debug)]
pub enum Received {
    /// The answer to a request.
    Answer {
        /// Which one.
        id: u64,
        /// What came of it.
        result: Result<Value, RpcError>,
    },
    /// Something in a collection that was subscribed to has changed.
    Changed {
        /// `core.get_jobs`.
        collection: String,
        /// What it is now.
        fields: Value,
    },
    /// Nothing that matters here.
    Other,
}

/// An error of JSON-RPC.
#[derive(Debug, Clone, Deserialize)]
pub struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<ErrorData>,
}

/// What the middleware adds: its traceback is left out, it may quote what was sent.
#[derive(Debug, Clone, Deserialize)]
struct ErrorData {
    errname: Option<String>,
    reason: Option<String>,
    extra: Option<Value>,
}

/// Returns the text of a request.
#[must_use]
pub fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// Reads what the server sent; `None` when it is no JSON-RPC.
#[must_use]
pub fn read(text: &str) -> Option<Received> {
    let mut message: Value = serde_json::from_str(text).ok()?;
    if let Some(id) = message["id"].as_u64() {
        let result = match message.get_mut("error") {
            Some(error) if !error.is_null() => Err(serde_json::from_value(error.take()).ok()?),
            _ => Ok(message["result"].take()),
        };
        return Some(Received::Answer { id, result });
    }
    let update = message["method"] == "collection_update";
    let params = &mut message["params"];
    Some(match params["collection"].as_str() {
        Some(collection) if update => Received::Changed {
            collection: collection.to_owned(),
            fields: params["fields"].take(),
        },
        _ => Received::Other,
    })
}

impl RpcError {
    /// Returns it as what came of calling `method`.
    #[must_use]
    pub fn of(self, method: &str) -> TrueNasError {
        let (mut errname, mut words) = (None, self.message);
        if let Some(data) = self.data {
            errname = data.errname;
            let reason = data.reason.unwrap_or_default();
            let fields = data.extra.as_ref().map(fields).unwrap_or_default();
            if !fields.is_empty() {
                words = fields;
            } else if !reason.trim().is_empty() {
                words = reason.trim().to_owned();
            }
        }
        let words = match &errname {
            Some(name) if !words.contains(name.as_str()) => format!("[{name}] {words}"),
            _ => words,
        };
        TrueNasError::Refused {
            method: method.to_owned(),
            code: self.code,
            errname,
            words,
        }
    }
}

/// Words the list of a validation's complaints: `[attribute, message, errno]` each.
fn fields(extra: &Value) -> String {
    let each = extra.as_array().into_iter().flatten().filter_map(|one| {
        let words = one.get(1)?.as_str()?;
        Some(match one.get(0).and_then(Value::as_str) {
            Some(attribute) if !attribute.is_empty() => format!("{attribute}: {words}"),
            _ => words.to_owned(),
        })
    });
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: &Value) -> String {
        let text = json!({ "jsonrpc": "2.0", "id": 7, "error": error }).to_string();
        match read(&text) {
            Some(Received::Answer { id: 7, result }) => result.unwrap_err().of("a.b").to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_are_worded_as_the_middleware_words_them() {
        let invalid = json!({ "code": -32602, "message": "Invalid params", "data": {
            "error": 22, "errname": "EINVAL", "reason": "[EINVAL] x.name: taken\n",
            "trace": { "formatted": "secret" },
            "extra": [["x.name", "taken", 22], ["x.quota", "too small", 22], [null, "no", 22]],
        }});
        let call = json!({ "code": -32001, "message": "Method call error", "data": {
            "error": 2, "errname": "ENOENT", "reason": "[ENOENT] no such pool", "extra": null,
        }});
        let bare = json!({ "code": -32601, "message": "Method does not exist" });
        insta::assert_snapshot!([words(&invalid), words(&call), words(&bare)].join("\n"), @r"
        TrueNAS answers a.b: [EINVAL] x.name: taken; x.quota: too small; no
        TrueNAS answers a.b: [ENOENT] no such pool
        TrueNAS answers a.b: Method does not exist
        ");
    }

    #[test]
    fn answers_and_notifications_are_told_apart() {
        let answer = read(r#"{"jsonrpc":"2.0","id":3,"result":[1]}"#);
        assert!(
            matches!(answer, Some(Received::Answer { id: 3, result: Ok(value) }) if value == json!([1]))
        );
        let nothing = read(r#"{"jsonrpc":"2.0","id":4,"result":null,"error":null}"#);
        assert!(matches!(
            nothing,
            Some(Received::Answer {
                id: 4,
                result: Ok(Value::Null)
            })
        ));
        let change = json!({ "jsonrpc": "2.0", "method": "collection_update", "params": {
            "msg": "changed", "collection": "core.get_jobs", "id": 5, "fields": { "id": 5 } } });
        assert!(matches!(read(&change.to_string()),
            Some(Received::Changed { collection, fields }) if collection == "core.get_jobs" && fields["id"] == 5));
        assert!(matches!(
            read(r#"{"method":"notify_unsubscribed","params":{"collection":"x"}}"#),
            Some(Received::Other)
        ));
        assert!(read("no").is_none());
    }
}
