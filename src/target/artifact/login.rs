//! Logins at registries: what a registry asks for (`WWW-Authenticate`), Docker's config for who one is, a token for the rest of
//! the conversation. Pulls nothing.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError as NoCredential, DockerCredential};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::fetch::{self, Ask};
use crate::secret::Secret;

/// Longest answer to a question for a token, in bytes.
const LONGEST: usize = 1 << 20;

/// Longest that Docker's credential helper may take.
const HELPER: Duration = Duration::from_secs(30);

/// How long a token is good that doesn't say: the distribution specification's figure, in seconds.
const LIFETIME: u64 = 60;

/// What to say in `Authorization`, and until when. Without words, nobody asked for a login.
#[derive(Debug, Clone)]
pub struct Login {
    pub words: Option<Secret<String>>,
    pub until: Option<Instant>,
}

impl Login {
    /// Returns whether it is still good, with some time to begin a download.
    pub fn is_good(&self) -> bool {
        self.until
            .is_none_or(|until| until > Instant::now() + Duration::from_secs(10))
    }
}

/// Logs in for what is at `url`, if whoever answers there wants that.
///
/// # Errors
/// When there is no way to.
pub async fn login(url: &str) -> Result<Login, String> {
    let nobody = Login {
        words: None,
        until: None,
    };
    let Some(challenge) = fetch::challenge(url).await else {
        return Ok(nobody);
    };
    let host = host(url);
    let known = {
        let host = host.to_owned();
        let asking = tokio::task::spawn_blocking({
            let host = host.clone();
            move || credential(&host)
        });
        // Docker's config may name a program that is asked for it.
        tokio::time::timeout(HELPER, asking)
            .await
            .map_err(|_| {
                format!(
                    "the Docker config's credential helper for {host} gave no answer within {} s",
                    HELPER.as_secs()
                )
            })?
            .map_err(|error| error.to_string())??
    };
    if scheme(&challenge).eq_ignore_ascii_case("basic") {
        return match known {
            Some(DockerCredential::UsernamePassword(name, password)) => Ok(Login {
                words: Some(basic(&name, &password)),
                until: None,
            }),
            _ => Err(format!(
                "{host} wants a name and a password: `docker login {host}`, or write them into ~/.docker/config.json"
            )),
        };
    }
    let wanted = Wanted::read(&challenge)
        .ok_or_else(|| format!("{host} wants a login that Foundry does not know: {challenge}"))?;
    if known.is_some() && url.starts_with("https://") && !wanted.realm.starts_with("https://") {
        return Err(format!(
            "{host} asks for a password in the clear, at {}",
            wanted.realm
        ));
    }
    let answer = match &known {
        None => fetch::bytes(&wanted.url(), Ask::default(), LONGEST).await,
        Some(DockerCredential::UsernamePassword(name, password)) => {
            let words = basic(name, password);
            let ask = Ask {
                login: Some(&words),
                ..Ask::default()
            };
            fetch::bytes(&wanted.url(), ask, LONGEST).await
        }
        Some(DockerCredential::IdentityToken(token)) => {
            let form = wanted.refresh(token);
            let ask = Ask {
                form: Some(&form),
                ..Ask::default()
            };
            fetch::bytes(&wanted.realm, ask, LONGEST).await
        }
    };
    let answer = answer.map_err(|error| format!("no token for {host}: {error}"))?;
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| format!("{} answers with no token", wanted.realm))?;
    let token = answer
        .token
        .or(answer.access_token)
        .ok_or_else(|| format!("{} answers with no token", wanted.realm))?;
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(LIFETIME).clamp(1, 86_400));
    Ok(Login {
        words: Some(Secret::new(format!("Bearer {token}"))),
        until: Some(Instant::now() + lifetime),
    })
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn basic(name: &str, password: &str) -> Secret<String> {
    Secret::new(format!(
        "Basic {}",
        STANDARD.encode(format!("{name}:{password}"))
    ))
}

/// Returns the host of an address, with its port if that is written.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Returns what Docker's config says of a registry, if it says anything.
fn credential(host: &str) -> Result<Option<DockerCredential>, String> {
    // Docker Hub has gone by this name there since the first version of its protocol.
    let server = match host {
        "registry-1.docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(name, _)) if name.is_empty() => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(
            NoCredential::NoCredentialConfigured
            | NoCredential::ConfigNotFound
            | NoCredential::ConfigReadError,
        ) => Ok(None),
        // Helpers that keep nothing for this registry fail; then the registry is asked as anybody.
        Err(NoCredential::HelperFailure { .. }) => Ok(None),
        Err(error) => Err(format!("the Docker config's login for {host}: {error}")),
    }
}

fn scheme(challenge: &str) -> &str {
    challenge.split_whitespace().next().unwrap_or_default()
}

/// Where to ask for a token, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Wanted {
    fn read(challenge: &str) -> Option<Self> {
        if !scheme(challenge).eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut wanted = Self {
            realm: String::new(),
            service: None,
            scope: None,
        };
        // Scopes hold commas, always within quotes.
        for part in challenge.split_once(' ')?.1.split("\",") {
            let (name, value) = part.trim().split_once('=')?;
            let value = value.trim_matches('"').to_owned();
            match name.trim() {
                "realm" => wanted.realm = value,
                "service" => wanted.service = Some(value),
                "scope" => wanted.scope = Some(value),
                _ => {}
            }
        }
        (wanted.realm.starts_with("https://") || wanted.realm.starts_with("http://"))
            .then_some(wanted)
    }

    fn query(&self) -> String {
        let pairs = [("service", &self.service), ("scope", &self.scope)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| {
            let value = utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC);
            Some(format!("{name}={value}"))
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    fn url(&self) -> String {
        let joint = if self.realm.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.realm, self.query())
    }

    /// Returns the form that asks for a token by one that was had before.
    fn refresh(&self, token: &str) -> Secret<String> {
        let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
        Secret::new(format!(
            "grant_type=refresh_token&client_id=foundry&refresh_token={token}&{}",
            self.query()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_asks_for_is_read() {
        let challenge = "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:org/zot:pull,push\"";
        let wanted = Wanted::read(challenge).unwrap();
        assert_eq!(
            wanted.url(),
            "https://ghcr.io/token?service=ghcr%2Eio&scope=repository%3Aorg%2Fzot%3Apull%2Cpush"
        );
        let bare = Wanted::read("bearer realm=\"http://127.0.0.1/t?a=b\"").unwrap();
        assert_eq!(bare.url(), "http://127.0.0.1/t?a=b&");
        assert_eq!(Wanted::read("Basic realm=\"x\""), None);
        assert_eq!(Wanted::read("Bearer realm=\"file:///etc/passwd\""), None);
        assert_eq!(Wanted::read("Bearer"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        let words = basic("me", "hunter2");
        assert_eq!(words.expose(), "Basic bWU6aHVudGVyMg==");
        let login = Login {
            words: Some(words),
            until: None,
        };
        assert!(!format!("{login:?}").contains("bWU6"));
        assert_eq!(host("https://reg.example:5000/v2/a/"), "reg.example:5000");
    }
}
