//! `tls.ca`: the same certificate authority in root-only files on every host of a group. Made once, renewed with
//! its own key. Does not know what it signs.

use std::time::SystemTime;

use futures::future::BoxFuture;

use super::{issue, look};
use crate::catalog::{Collector, Value, Values};
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;
use crate::target::group::{self, Answer, fact};
use crate::target::inputs;

/// Makes, renews and spreads an authority.
pub struct Authority;

const KEY_MODE: &str = "0600";
const CERT_MODE: &str = "0644";

/// What the hosts hold of an authority.
struct Held {
    key: Option<Secret<String>>,
    cert: Option<String>,
    /// SHA-256 of the certificate's file, in hex.
    sha256: Option<String>,
    without: Vec<String>,
}

impl Authority {
    fn paths(inputs: &Values) -> Result<(String, String), String> {
        let folder = inputs::text(inputs, "path")?.trim_end_matches('/');
        let (cert, key) = (
            inputs::text(inputs, "cert_name")?,
            inputs::text(inputs, "key_name")?,
        );
        Ok((format!("{folder}/{cert}"), format!("{folder}/{key}")))
    }

    /// Folds what the hosts hold. Keys must agree. Of certificates for that key the one that lasts longest counts: a
    /// renewal that was cut off leaves the older ones behind on some hosts.
    fn held(inputs: &Values, answers: &[Answer<'_>]) -> Result<Held, Fault> {
        let (cert_path, key_path) = Self::paths(inputs).map_err(group::senseless)?;
        let key = group::agree(answers, "key", &key_path)?;
        let mut best: Option<(i64, &str, &str)> = None;
        for (name, facts) in answers {
            if fact(facts, "cert", "kind") != "file" {
                continue;
            }
            let pem = fact(facts, "cert", "content");
            let Some(key) = &key.value else {
                return Err(Fault {
                    message: format!(
                        "{name} holds {cert_path}, but no host holds its key {key_path}: put the key back, or move the certificate away to have a new authority made"
                    ),
                    not_yet: false,
                });
            };
            let end = look::read(pem, |cert| {
                look::matches(cert, key.expose()).then(|| look::end(cert))
            });
            match end {
                Some(Some(end)) if best.is_none_or(|(longest, ..)| end > longest) => {
                    best = Some((end, pem, fact(facts, "cert", "sha256")));
                }
                Some(Some(_)) => {}
                Some(None) | None => {
                    return Err(Fault {
                        message: format!(
                            "{cert_path} on {name} is no certificate of the key {key_path}: move the wrong one away by hand"
                        ),
                        not_yet: false,
                    });
                }
            }
        }
        let cert = best.map(|(_, pem, _)| pem.to_owned());
        let sha256 = best.map(|(.., sha256)| sha256.to_owned());
        let mut without = key.without;
        for (name, facts) in answers {
            let same = cert.as_deref().is_some_and(|cert| {
                fact(facts, "cert", "kind") == "file"
                    && fact(facts, "cert", "content").trim_end() == cert.trim_end()
            });
            if !same && !without.iter().any(|other| other == name) {
                without.push((*name).to_owned());
            }
        }
        Ok(Held {
            key: key.value,
            cert,
            sha256,
            without,
        })
    }

    fn facts_at(inputs: &Values, seen: &[Seen], now: SystemTime) -> Result<Facts, Fault> {
        let answers = group::all(seen)?;
        let held = Self::held(inputs, &answers)?;
        let mut facts = Facts::new();
        facts.insert("without".into(), held.without.join(" ").into());
        facts.insert(
            "exposed".into(),
            group::exposed(&answers, "key", KEY_MODE).into(),
        );
        let told = held.cert.as_deref().and_then(|pem| {
            look::read(pem, |cert| {
                (look::life(cert, now), look::days_left(cert, now))
            })
        });
        let (life, days) = told.map_or(("absent", "absent".to_owned()), |(life, days)| {
            (life.word(), days.to_string())
        });
        facts.insert("life".into(), life.into());
        facts.insert("days_left".into(), days.into());
        if let Some(sha256) = held.sha256 {
            facts.insert("sha256".into(), Fact::Text(sha256));
        }
        if let Some(cert) = held.cert {
            facts.insert("cert".into(), Fact::Text(cert));
        }
        if let Some(key) = held.key {
            facts.insert("key".into(), Fact::Secret(key));
        }
        Ok(facts)
    }
}

impl ActionProbe for Authority {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        let (cert, key) = Self::paths(inputs)?;
        let mut questions = group::questions("cert", &cert);
        questions.push(Question {
            collector: Collector::Digest,
            prefix: "cert".to_owned(),
            subject: Value::Text(cert),
            secret: false,
        });
        questions.extend(group::questions("key", &key));
        Ok(questions)
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        Self::facts_at(inputs, seen, SystemTime::now())
    }
}

impl Action for Authority {
    fn name(&self) -> &'static str {
        "tls.ca"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let (cert_path, key_path) = Self::paths(context.inputs).map_err(inputs::wrong)?;
            let name = inputs::text(context.inputs, "name").map_err(inputs::wrong)?;
            let days = inputs::int(context.inputs, "days").map_err(inputs::wrong)?;
            let answers = group::all(context.seen).map_err(group::failed)?;
            let held = Self::held(context.inputs, &answers).map_err(group::failed)?;
            let now = SystemTime::now();
            let good = held.cert.as_deref().is_some_and(|pem| {
                look::read(pem, |cert| look::life(cert, now)) == Some(look::Life::Good)
            });
            let (cert, key) = match (held.cert, held.key) {
                (Some(cert), Some(key)) if good => (cert, key),
                (cert, key) => {
                    (context.say)(match (&cert, &key) {
                        (_, None) => "no host has an authority: making it",
                        (None, Some(_)) => "making the certificate for the key that is there",
                        (Some(_), Some(_)) => "renewing its certificate",
                    });
                    let pair = issue::authority(name, key.as_ref(), days, now)
                        .map_err(|error| inputs::wrong(format!("making {name}: {error}")))?;
                    (pair.cert, pair.key)
                }
            };
            // The key first: a certificate without key would be a riddle for the next run.
            group::place(context, &[(&key_path, KEY_MODE, &key)], false).await?;
            group::place(
                context,
                &[(&cert_path, CERT_MODE, &Secret::new(cert))],
                true,
            )
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::target::fixture::{file, seen, values};

    fn day(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + day * 86_400)
    }

    fn host(name: &str, cert: Option<&str>, key: Option<&str>) -> Seen {
        let mut facts = file("cert", cert);
        facts.extend(file("key", key));
        seen(name, facts)
    }

    fn facts(seen: &[Seen], now: SystemTime) -> Result<Facts, Fault> {
        let inputs = [
            ("path", "/ca"),
            ("cert_name", "ca.pem"),
            ("key_name", "ca.key"),
        ];
        Authority::facts_at(&values(&inputs), seen, now)
    }

    #[test]
    fn nobody_has_it() {
        let facts = facts(&[host("a", None, None), host("b", None, None)], day(0)).unwrap();
        assert_eq!(facts["without"].value(), "a b");
        assert_eq!(facts["life"].value(), "absent");
    }

    #[test]
    fn it_is_spread_from_the_one_that_has_it_and_the_key_is_secret() {
        let ca = issue::authority("lab", None, 90, day(0)).unwrap();
        let facts = facts(
            &[
                host("a", None, None),
                host("b", Some(&ca.cert), Some(ca.key.expose())),
            ],
            day(1),
        )
        .unwrap();
        assert_eq!(facts["without"].value(), "a");
        assert_eq!(facts["life"].value(), "good");
        assert_eq!(facts["cert"].value(), ca.cert);
        assert!(matches!(facts["key"], Fact::Secret(_)));
    }

    #[test]
    fn a_renewal_cut_off_goes_on_with_the_newer_certificate() {
        let old = issue::authority("lab", None, 90, day(0)).unwrap();
        let new = issue::authority("lab", Some(&old.key), 90, day(70)).unwrap();
        assert_eq!(old.key.expose(), new.key.expose());
        let key = old.key.expose();
        let facts = facts(
            &[
                host("a", Some(&old.cert), Some(key)),
                host("b", Some(&new.cert), Some(key)),
            ],
            day(71),
        )
        .unwrap();
        assert_eq!(facts["without"].value(), "a");
        assert_eq!(facts["cert"].value(), new.cert);
    }

    #[test]
    fn what_can_not_be_told_is_a_fault() {
        let one = issue::authority("lab", None, 90, day(0)).unwrap();
        let two = issue::authority("lab", None, 90, day(0)).unwrap();
        let (first, second) = (one.key.expose().as_str(), two.key.expose().as_str());
        let table: [(&str, &[Seen]); 3] = [
            (
                "hold different",
                &[
                    host("a", Some(&one.cert), Some(first)),
                    host("b", Some(&two.cert), Some(second)),
                ],
            ),
            ("no host holds its key", &[host("a", Some(&one.cert), None)]),
            (
                "no certificate of the key",
                &[host("a", Some(&one.cert), Some(second))],
            ),
        ];
        for (words, seen) in table {
            let fault = facts(seen, day(1)).unwrap_err();
            assert!(fault.message.contains(words), "{}", fault.message);
            assert!(!fault.not_yet);
        }
    }

    #[test]
    fn it_is_renewed_in_its_last_third() {
        let ca = issue::authority("lab", None, 90, day(0)).unwrap();
        for (now, life) in [(0, "good"), (59, "good"), (61, "short"), (91, "over")] {
            let facts = facts(
                &[host("a", Some(&ca.cert), Some(ca.key.expose()))],
                day(now),
            );
            assert_eq!(facts.unwrap()["life"].value(), life, "day {now}");
        }
    }
}
