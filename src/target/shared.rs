//! `secret.shared`: one random secret in a root-only file on every host of a group, made by whoever comes first.
//! Does not know what the secret is for.

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::group::{self, Agreed, place};
use super::inputs;
use crate::catalog::Values;
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;

/// Makes and spreads a shared secret.
pub struct SharedSecret;

const MODE: &str = "0600";

impl ActionProbe for SharedSecret {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        Ok(group::questions("", inputs::text(inputs, "path")?))
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let path = inputs::text(inputs, "path").map_err(group::senseless)?;
        let answers = group::all(seen)?;
        let agreed = group::agree(&answers, "", path)?;
        let mut facts = Facts::new();
        facts.insert("without".into(), agreed.without.join(" ").into());
        facts.insert("exposed".into(), group::exposed(&answers, "", MODE).into());
        if let Some(value) = agreed.value {
            let value = value.expose().trim_end();
            // A digest: whoever may read it may try out what a weak secret is.
            facts.insert("id".into(), Fact::Secret(Secret::new(id(value))));
            facts.insert("value".into(), Fact::Secret(Secret::new(value.to_owned())));
        }
        Ok(facts)
    }
}

/// Names a secret: the first half of its SHA-256, in hex. It stays equal for as long as the secret does.
fn id(value: &str) -> String {
    hex::encode(&Sha256::digest(value.as_bytes())[..16])
}

impl Action for SharedSecret {
    fn name(&self) -> &'static str {
        "secret.shared"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let path = inputs::text(context.inputs, "path").map_err(inputs::wrong)?;
            let bytes = inputs::int(context.inputs, "bytes").map_err(inputs::wrong)?;
            // What this goes by is the last probe, in which every host answered: see `group::all`.
            let answers = group::all(context.seen).map_err(group::failed)?;
            let Agreed { value, .. } = group::agree(&answers, "", path).map_err(group::failed)?;
            let value = match value {
                Some(value) => Secret::new(value.expose().trim_end().to_owned()),
                None => {
                    (context.say)("no host has one: making it");
                    random(usize::try_from(bytes).unwrap_or(32).max(16))?
                }
            };
            place(context, &[(path, MODE, &value)], false).await
        })
    }
}

/// Returns `bytes` random bytes in hex.
///
/// # Errors
/// When this machine gives none.
pub(super) fn random(bytes: usize) -> Result<Secret<String>, StepError> {
    let mut raw = zeroize::Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut raw)
        .map_err(|error| inputs::wrong(format!("no random numbers from this machine: {error}")))?;
    Ok(Secret::new(hex::encode(&*raw)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{file, seen, values};
    use super::*;

    fn facts(seen: &[Seen]) -> Result<Facts, Fault> {
        SharedSecret.facts(&values(&[("path", "/k")]), seen)
    }

    #[test]
    fn nobody_has_it_and_all_answered() {
        let facts = facts(&[seen("a", file("", None)), seen("b", file("", None))]).unwrap();
        assert_eq!(facts["without"].value(), "a b");
        assert!(!facts.contains_key("value"));
    }

    #[test]
    fn one_has_it_and_the_others_get_the_same() {
        let facts = facts(&[seen("a", file("", None)), seen("b", file("", Some("beef")))]).unwrap();
        assert_eq!(facts["without"].value(), "a");
        assert_eq!(facts["value"].value(), "beef");
        assert!(matches!(facts["value"], Fact::Secret(_)));
        assert!(matches!(facts["id"], Fact::Secret(_)));
    }

    #[test]
    fn two_that_differ_are_a_fault_by_name_and_nothing_is_shown() {
        let fault = facts(&[
            seen("a", file("", Some("beef"))),
            seen("b", file("", Some("dead"))),
        ])
        .unwrap_err();
        assert!(!fault.not_yet);
        assert!(fault.message.contains("a and b"), "{}", fault.message);
        assert!(!fault.message.contains("beef"), "{}", fault.message);
    }

    #[test]
    fn one_that_does_not_answer_is_a_fault_never_a_new_secret() {
        let silent = Seen {
            answer: Err(Fault {
                message: "no route".into(),
                not_yet: false,
            }),
            ..seen("b", Facts::new())
        };
        let fault = facts(&[seen("a", file("", None)), silent]).unwrap_err();
        assert_eq!(fault.message, "b: no route");
    }

    #[test]
    fn a_wide_mode_is_named() {
        let mut open = file("", Some("beef"));
        open.insert("mode".into(), "0644".into());
        let facts = facts(&[seen("a", open)]).unwrap();
        assert_eq!(facts["exposed"].value(), "a");
    }
}
