//! `tls.cert`: a host's certificate, signed by an authority that is given as an input. Does not know who serves it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;

use super::{issue, look};
use crate::catalog::{Collector, Value, Values};
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;
use crate::target::group::{self, fact};
use crate::target::inputs;
use crate::target::script::Script;

/// Issues and renews a host's certificate.
pub struct Certificate;

impl Certificate {
    fn facts_at(inputs: &Values, seen: &[Seen], now: SystemTime) -> Result<Facts, Fault> {
        let answers = group::all(seen)?;
        let Some(&(_, told)) = answers.first() else {
            return Err(group::senseless("a certificate is for one host".to_owned()));
        };
        let wanted = inputs::list(inputs, "names").map_err(group::senseless)?;
        let ca = inputs::text(inputs, "ca_cert").map_err(group::senseless)?;
        let mut facts = Facts::new();
        for file in ["cert", "key"] {
            for name in ["owner", "mode"] {
                facts.insert(format!("{file}.{name}"), fact(told, file, name).into());
            }
        }
        let key = fact(told, "key", "content");
        facts.insert("cert_text".to_owned(), fact(told, "cert", "content").into());
        facts.insert(
            "key_text".to_owned(),
            Fact::Secret(Secret::new(key.to_owned())),
        );
        let read = look::read(fact(told, "cert", "content"), |cert| {
            let ours = look::read(ca, |ca| look::signed_by(cert, ca)).unwrap_or(false);
            let names = look::names(cert);
            [
                ("issuer", if ours { "ours" } else { "another" }.to_owned()),
                ("names", as_wanted(&names, &wanted)),
                (
                    "key_matches",
                    if look::matches(cert, key) {
                        "yes"
                    } else {
                        "no"
                    }
                    .to_owned(),
                ),
                ("life", look::life(cert, now).word().to_owned()),
                ("days_left", look::days_left(cert, now).to_string()),
            ]
        });
        match read {
            Some(read) => {
                facts.extend(read.map(|(name, value)| (name.to_owned(), Fact::Text(value))));
            }
            None => {
                for name in ["issuer", "names", "key_matches", "life", "days_left"] {
                    facts.insert(name.to_owned(), "absent".into());
                }
            }
        }
        Ok(facts)
    }
}

/// Returns the names as the config writes them if they are the same ones (`::1` may be written in several ways), else as
/// the certificate does.
fn as_wanted(found: &[String], wanted: &[&str]) -> String {
    let plain = |name: &str| {
        name.parse::<IpAddr>()
            .map_or_else(|_| name.to_owned(), |ip| ip.to_string())
    };
    let same = wanted
        .iter()
        .map(|name| plain(name))
        .collect::<BTreeSet<_>>()
        == found.iter().cloned().collect();
    if same {
        let written: BTreeSet<&str> = wanted.iter().copied().collect();
        written.into_iter().collect::<Vec<_>>().join(" ")
    } else {
        found.join(" ")
    }
}

impl ActionProbe for Certificate {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        let mut questions = Vec::new();
        for file in ["cert", "key"] {
            let path = inputs::text(inputs, file)?;
            for collector in [Collector::Stat, Collector::Content] {
                questions.push(Question {
                    collector,
                    prefix: file.to_owned(),
                    subject: Value::Text(path.to_owned()),
                    secret: file == "key" && collector == Collector::Content,
                });
            }
        }
        Ok(questions)
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        Self::facts_at(inputs, seen, SystemTime::now())
    }
}

impl Action for Certificate {
    fn name(&self) -> &'static str {
        "tls.cert"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let read = |name| inputs::text(context.inputs, name).map_err(inputs::wrong);
            let (cert, key) = (read("cert")?, read("key")?);
            let (owner, mode) = (read("owner")?, read("mode")?);
            let names = inputs::list(context.inputs, "names").map_err(inputs::wrong)?;
            let days = inputs::int(context.inputs, "days").map_err(inputs::wrong)?;
            let ca_key = inputs::secret(context.inputs, "ca_key").map_err(inputs::wrong)?;
            let told = |name: &str| context.facts.get(name).map(Fact::value);
            // A wrong mode or owner is mended without making a new certificate.
            let good = [("issuer", "ours"), ("key_matches", "yes"), ("life", "good")]
                .iter()
                .all(|&(name, wanted)| told(name) == Some(wanted))
                && told("names") == Some(as_wanted(&sorted(&names), &names).as_str());
            let pair = if good {
                None
            } else {
                let pair =
                    issue::certificate(read("ca_cert")?, &ca_key, &names, days, SystemTime::now())
                        .map_err(|error| inputs::wrong(format!("making it: {error}")))?;
                Some(pair)
            };
            let (cert_text, key_text) = pair.as_ref().map_or(("", ""), |pair| {
                (pair.cert.as_str(), pair.key.expose().as_str())
            });
            for &host in context.hosts {
                let writer = context.writers.writer(host).await?;
                Script::new(
                    include_str!("certificate.sh"),
                    Duration::from_secs(60),
                    &[
                        ("cert", cert),
                        ("key", key),
                        ("owner", owner),
                        ("mode", mode),
                        ("cert_text", cert_text),
                        ("key_text", key_text),
                    ],
                )
                .run(&*writer)
                .await?;
            }
            Ok(())
        })
    }
}

fn sorted(names: &[&str]) -> Vec<String> {
    let set: BTreeSet<String> = names
        .iter()
        .map(|name| {
            name.parse::<IpAddr>()
                .map_or_else(|_| (*name).to_owned(), |ip| ip.to_string())
        })
        .collect();
    set.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::{facts, file, seen};

    fn day(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + day * 86_400)
    }

    fn inputs(ca: &str) -> Values {
        let names = ["bao-1.example", "10.0.0.1", "0:0::1", "bao-1.example"];
        [
            ("ca_cert".to_owned(), Value::Text(ca.to_owned())),
            (
                "names".to_owned(),
                Value::List(names.map(|name| Value::Text(name.to_owned())).into()),
            ),
        ]
        .into_iter()
        .collect()
    }

    fn told(inputs: &Values, cert: Option<&str>, key: Option<&str>, now: SystemTime) -> Facts {
        let mut facts = file("cert", cert);
        facts.extend(file("key", key));
        Certificate::facts_at(inputs, &[seen("bao-1", facts)], now).unwrap()
    }

    #[test]
    fn what_is_issued_is_as_wanted_for_two_thirds_of_its_life() {
        let ca = issue::authority("lab", None, 3650, day(0)).unwrap();
        let inputs = inputs(&ca.cert);
        let names = inputs::list(&inputs, "names").unwrap();
        let pair = issue::certificate(&ca.cert, &ca.key, &names, 90, day(0)).unwrap();
        for (now, life) in [(1, "good"), (59, "good"), (61, "short"), (90, "over")] {
            let found = told(&inputs, Some(&pair.cert), Some(pair.key.expose()), day(now));
            assert_eq!(found["issuer"].value(), "ours");
            assert_eq!(found["key_matches"].value(), "yes");
            assert_eq!(found["names"].value(), "0:0::1 10.0.0.1 bao-1.example");
            assert_eq!(found["life"].value(), life, "day {now}");
        }
    }

    #[test]
    fn another_authority_of_the_same_name_is_not_ours() {
        let ours = issue::authority("lab", None, 3650, day(0)).unwrap();
        let other = issue::authority("lab", None, 3650, day(0)).unwrap();
        let pair = issue::certificate(&other.cert, &other.key, &["a"], 90, day(0)).unwrap();
        let found = told(
            &inputs(&ours.cert),
            Some(&pair.cert),
            Some(other.key.expose()),
            day(1),
        );
        assert_eq!(found["issuer"].value(), "another");
        assert_eq!(found["key_matches"].value(), "no");
        assert_eq!(found["names"].value(), "a");
    }

    #[test]
    fn what_is_not_there_or_no_certificate_is_absent() {
        let ca = issue::authority("lab", None, 3650, day(0)).unwrap();
        for cert in [None, Some("garbage")] {
            let found = told(&inputs(&ca.cert), cert, None, day(1));
            assert_eq!(found["issuer"].value(), "absent");
            assert_eq!(found["life"].value(), "absent");
        }
        assert_eq!(
            told(&inputs(&ca.cert), None, None, day(1))["cert.mode"].value(),
            facts(&[("x", "absent")])["x"].value()
        );
    }
}
