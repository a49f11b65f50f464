//! What a step would download, for those who fetch it ahead of time. Installs nothing and knows no host.

use std::path::PathBuf;

use super::fetch::{self, FetchError};
use super::source::{self, Source, Wanted};
use crate::catalog::Values;
use crate::config::{Mirror, MirrorDigests};
use crate::target::inputs;

/// Something to be fetched, and what it is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Address, as recipes write it.
    pub upstream: String,
    /// Address that it is really fetched from, mirrors taken into account.
    pub from: String,
    /// Whose digest it is held to.
    pub digests: MirrorDigests,
    /// What it must be.
    pub held_to: HeldTo,
    /// Whether it is a text with Kubernetes objects.
    pub is_manifest: bool,
}

/// What a download is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldTo {
    /// This SHA-256, in hex.
    Sha256(String),
    /// What a checksum file says of it.
    Listed {
        /// The checksum file's address, as recipes write it.
        upstream: String,
        /// The address that it is really read from.
        from: String,
    },
}

/// Returns what a step with this action fetches for an architecture: nothing for actions that fetch nothing.
///
/// # Errors
/// When the inputs make no sense, or there is no download for the architecture.
pub fn downloads(
    action: &str,
    inputs: &Values,
    arch: &str,
    mirrors: &[Mirror],
) -> Result<Vec<Download>, String> {
    if action == super::MANIFEST {
        let upstream = inputs::text(inputs, "url")?.to_owned();
        return Ok(vec![Download {
            from: super::mirrored(&upstream, mirrors),
            upstream,
            // A manifest is held to its pin wherever it comes from.
            digests: MirrorDigests::Pinned,
            held_to: HeldTo::Sha256(inputs::text(inputs, "sha256")?.to_ascii_lowercase()),
            is_manifest: true,
        }]);
    }
    if action != super::INSTALL {
        return Ok(Vec::new());
    }
    let urls = inputs::map(inputs, "url")?;
    let checksums = inputs::map(inputs, "checksums")?;
    let checksums = checksums.get(arch).copied().unwrap_or_default();
    let Source { url, digest } = source::choose(
        arch,
        &urls,
        &inputs::map(inputs, "sha256")?,
        checksums,
        mirrors,
    )?;
    let (digests, held_to) = match digest {
        Wanted::Pinned(sha256) => {
            let upstream = urls[arch];
            let mirror = mirrors
                .iter()
                .find(|mirror| upstream.starts_with(mirror.prefix.as_str()));
            let digests = mirror.map_or(MirrorDigests::Pinned, |mirror| mirror.digests);
            (digests, HeldTo::Sha256(sha256))
        }
        Wanted::Listed {
            checksums: from,
            mirror,
        } => {
            let digests = if mirror {
                MirrorDigests::Mirror
            } else {
                MirrorDigests::Pinned
            };
            let upstream = checksums.to_owned();
            (digests, HeldTo::Listed { upstream, from })
        }
    };
    Ok(vec![Download {
        upstream: urls[arch].to_owned(),
        from: url,
        digests,
        held_to,
        is_manifest: false,
    }])
}

/// A download that is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The verified file.
    pub file: PathBuf,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// The checksum file that said so, if one did: its address as recipes write it, and its text.
    pub listed_in: Option<(String, String)>,
}

impl Download {
    /// Fetches it, unless the cache has it, and holds it to its digest.
    ///
    /// # Errors
    /// When it can't be had, or is another file than it should be.
    pub async fn fetch(&self) -> Result<Fetched, FetchError> {
        let (sha256, listed_in) = match &self.held_to {
            HeldTo::Sha256(sha256) => (sha256.clone(), None),
            HeldTo::Listed { upstream, from } => {
                let text = fetch::text(from, fetch::CHECKSUMS).await?;
                let name = source::file_name(&self.from);
                let sha256 =
                    source::listed(&text, name).ok_or_else(|| FetchError::Unreachable {
                        url: from.clone(),
                        message: format!("says nothing of {name}"),
                    })?;
                (sha256, Some((upstream.clone(), text)))
            }
        };
        Ok(Fetched {
            file: fetch::file(&self.from, &sha256, None).await?,
            sha256,
            listed_in,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Value;

    fn values(pin: &str) -> Values {
        let map =
            |value: &str| Value::Map([("amd64".to_owned(), Value::Text(value.to_owned()))].into());
        [
            ("url".to_owned(), map("https://up.example/v1/tool.tar.gz")),
            (
                "sha256".to_owned(),
                if pin.is_empty() {
                    Value::Map([].into())
                } else {
                    map(pin)
                },
            ),
            ("checksums".to_owned(), map("https://up.example/v1/sums")),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_step_tells_what_it_would_fetch_and_from_where() {
        let mirrors = [Mirror {
            prefix: "https://up.example/".to_owned(),
            url: "file:///srv/".to_owned(),
            digests: MirrorDigests::Pinned,
        }];
        let found = downloads("artifact.install", &values("ab"), "amd64", &mirrors).unwrap();
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(one.upstream, "https://up.example/v1/tool.tar.gz");
        assert_eq!(one.from, "file:///srv/v1/tool.tar.gz");
        assert_eq!(one.held_to, HeldTo::Sha256("ab".to_owned()));
        let found = downloads("artifact.install", &values(""), "amd64", &mirrors).unwrap();
        assert_eq!(
            found[0].held_to,
            HeldTo::Listed {
                upstream: "https://up.example/v1/sums".to_owned(),
                from: "file:///srv/v1/sums".to_owned()
            }
        );
        assert_eq!(
            downloads("bao.kv", &values(""), "amd64", &mirrors).unwrap(),
            []
        );
        assert!(downloads("artifact.install", &values(""), "riscv64", &mirrors).is_err());
    }
}
