//! Reads a blob from an OCI registry, with a token if the registry asks for one. Knows nothing of charts.

use std::path::PathBuf;

use serde::Deserialize;

use crate::target::artifact;

/// Returns the address of a blob; `reference` is `oci://registry/path`.
///
/// # Errors
/// When it is no such reference.
pub fn blob(reference: &str, sha256: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{reference}` is no reference to a chart in a registry: `oci://registry/path/chart`"
        )
    };
    let (registry, path) = reference
        .strip_prefix("oci://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(wrong)?;
    let path = path.trim_end_matches('/');
    if registry.is_empty() || path.is_empty() {
        return Err(wrong());
    }
    Ok(format!(
        "https://{registry}/v2/{path}/blobs/sha256:{sha256}"
    ))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "access_token")]
    token: String,
}

/// Fetches a blob into the cache, and holds it to its digest.
///
/// # Errors
/// When it can't be had.
pub async fn fetch(url: &str, sha256: &str) -> Result<PathBuf, String> {
    let Some(challenge) = artifact::challenge(url).await else {
        return artifact::file(url, sha256, None).await;
    };
    let token_url = token_url(&challenge)
        .ok_or_else(|| format!("{url}: the registry asks for a login that Foundry has none for"))?;
    let answer = artifact::text(&token_url).await?;
    let answer: Answer =
        serde_json::from_str(&answer).map_err(|_| format!("{token_url} answers with no token"))?;
    artifact::file(url, sha256, Some(&answer.token.into())).await
}

/// Returns where to ask for a token, from what the registry says in `WWW-Authenticate`.
fn token_url(challenge: &str) -> Option<String> {
    let rest = challenge
        .strip_prefix("Bearer ")
        .or_else(|| challenge.strip_prefix("bearer "))?;
    let mut realm = None;
    let mut query = Vec::new();
    // Scopes hold commas, always within quotes.
    for part in rest.split("\",") {
        let (name, value) = part.trim().split_once('=')?;
        let value = value.trim_matches('"');
        match name.trim() {
            "realm" => realm = Some(value),
            name @ ("service" | "scope") => {
                let value = percent_encoding::utf8_percent_encode(
                    value,
                    percent_encoding::NON_ALPHANUMERIC,
                );
                query.push(format!("{name}={value}"));
            }
            _ => {}
        }
    }
    let realm = realm?;
    let joint = if realm.contains('?') { '&' } else { '?' };
    Some(format!("{realm}{joint}{}", query.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_challenges_are_read() {
        assert_eq!(
            blob("oci://ghcr.io/org/charts/zot", "ab").unwrap(),
            "https://ghcr.io/v2/org/charts/zot/blobs/sha256:ab"
        );
        assert!(blob("https://ghcr.io/x", "ab").is_err());
        assert!(blob("oci://ghcr.io", "ab").is_err());
        let challenge = "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:org/zot:pull,push\"";
        assert_eq!(
            token_url(challenge).unwrap(),
            "https://ghcr.io/token?service=ghcr%2Eio&scope=repository%3Aorg%2Fzot%3Apull%2Cpush"
        );
        assert_eq!(token_url("Basic realm=\"x\""), None);
    }
}
