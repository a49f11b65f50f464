//! Reads images and charts from OCI registries, by the distribution specification's addresses: through the mirrors, with a login
//! where one is asked for. What is read is kept raw, as its digest is of its very bytes. Pushes nothing.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::fetch::{self, Ask, FetchError};
use super::login::{self, Login};
use super::platform::Platform;
use super::source;
use crate::catalog::{ImageRef, is_digest};
use crate::config::Mirror;
use crate::secret::Secret;

/// Manifests that are understood: of one platform, and lists of them, in Docker's words and OCI's.
const ACCEPT: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    MANIFEST,
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// OCI's name for the manifest of one platform.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Longest manifest, in bytes: what registries take, by the distribution specification.
const LONGEST: usize = 4 << 20;

/// Longest config of an image that is read for its platform, in bytes.
const LONGEST_CONFIG: u64 = 8 << 20;

/// Conversations with registries: logins are remembered while it lives.
#[derive(Debug)]
pub struct Registry {
    mirrors: Vec<Mirror>,
    /// By the beginning of a repository's addresses.
    logins: Mutex<HashMap<String, Login>>,
}

/// What a manifest says of another content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// What it runs on, in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Returns the SHA-256 in hex.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap_or(&self.digest)
    }
}

/// A manifest, or a list of them.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What others would say of it.
    pub about: Descriptor,
    /// Its very bytes.
    pub text: Vec<u8>,
    /// Manifests of a list.
    manifests: Vec<Descriptor>,
    /// Config of an image.
    config: Option<Descriptor>,
    /// Layers of an image.
    layers: Vec<Descriptor>,
}

/// An image as a registry has it: its manifests here, its blobs yet to be fetched.
#[derive(Debug, Clone)]
pub struct Image {
    /// Which.
    pub reference: ImageRef,
    /// What the registry knows by the reference: a list, or the one platform's manifest.
    pub top: Manifest,
    /// The wanted platforms' manifests.
    pub platforms: Vec<(Platform, Manifest)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<serde_json::Value>>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: Vec<u8>) -> Result<Self, String> {
        let raw: Raw =
            serde_json::from_slice(&text).map_err(|error| format!("is no manifest: {error}"))?;
        if raw.schema_version != 2 {
            return Err(format!(
                "is a manifest of schema {}: push the image anew, with a client that is not ten years old",
                raw.schema_version
            ));
        }
        let list = raw.manifests.is_some();
        if !list && raw.config.is_none() {
            return Err("is neither a manifest nor a list of them".to_owned());
        }
        let media_type = raw.media_type.unwrap_or_else(|| {
            let implied = if list { ACCEPT[0] } else { MANIFEST };
            implied.to_owned()
        });
        // What a list says of signatures and the like need not be understood.
        let manifests = raw.manifests.unwrap_or_default().into_iter();
        let manifests = manifests.filter_map(|entry| serde_json::from_value(entry).ok());
        let manifest = Self {
            about: Descriptor {
                media_type,
                digest: format!("sha256:{}", hex::encode(Sha256::digest(&text))),
                size: text.len() as u64,
                platform: None,
            },
            manifests: manifests.collect(),
            config: raw.config,
            layers: raw.layers,
            text,
        };
        let wrong = {
            let mut all = manifest.manifests.iter().chain(manifest.blobs());
            all.find(|about| !is_digest(&about.digest)).cloned()
        };
        match wrong {
            Some(wrong) => Err(format!(
                "names a content by `{}`, which is no digest",
                wrong.digest
            )),
            None => Ok(manifest),
        }
    }

    /// Returns config and layers, each once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let mut seen = std::collections::HashSet::new();
        self.config
            .iter()
            .chain(&self.layers)
            .filter(move |blob| seen.insert(blob.digest.as_str()))
    }

    /// Returns the layers.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// Returns which manifest of a list is for `wanted`: the first that says just that, else the first that runs there.
    fn for_platform(&self, wanted: &Platform) -> Option<&Descriptor> {
        let of = |fits: &dyn Fn(&Platform) -> bool| {
            self.manifests
                .iter()
                .find(|entry| entry.platform.as_ref().is_some_and(fits))
        };
        of(&|platform| platform == wanted).or_else(|| of(&|platform| wanted.takes(platform)))
    }
}

impl Registry {
    /// Talks to registries through these mirrors.
    #[must_use]
    pub fn new(mirrors: &[Mirror]) -> Self {
        Self {
            mirrors: mirrors.to_vec(),
            logins: Mutex::default(),
        }
    }

    /// Returns the address of a manifest, as the registry has it.
    #[must_use]
    pub fn manifest_at(image: &ImageRef, key: &str) -> String {
        format!("{}manifests/{key}", image.base())
    }

    /// Returns the address of a blob, as the registry has it.
    #[must_use]
    pub fn blob_at(image: &ImageRef, digest: &str) -> String {
        format!("{}blobs/{digest}", image.base())
    }

    /// Returns the login for what is at `url`.
    async fn login(&self, image: &ImageRef, url: &str) -> Result<Option<Secret<String>>, String> {
        if url.starts_with("file://") {
            return Ok(None);
        }
        let place = source::rewrite(&image.base(), &self.mirrors);
        // Held meanwhile, so that the many blobs of an image ask for one token.
        let mut logins = self.logins.lock().await;
        if let Some(login) = logins.get(&place).filter(|login| login.is_good()) {
            return Ok(login.words.clone());
        }
        let login = login::login(url).await?;
        let words = login.words.clone();
        logins.insert(place, login);
        Ok(words)
    }

    /// Reads a manifest by a tag or a digest, and holds it to the digest.
    ///
    /// # Errors
    /// When it can't be had, or is another.
    pub async fn manifest(&self, image: &ImageRef, key: &str) -> Result<Manifest, String> {
        let url = source::rewrite(&Self::manifest_at(image, key), &self.mirrors);
        let login = self.login(image, &url).await?;
        let ask = Ask {
            accept: ACCEPT,
            login: login.as_ref(),
            ..Ask::default()
        };
        let text = fetch::bytes(&url, ask, LONGEST)
            .await
            .map_err(|error| explained(&url, &error))?;
        let manifest = Manifest::parse(text).map_err(|why| format!("{url} {why}"))?;
        if is_digest(key) && manifest.about.digest != key {
            return Err(format!(
                "{url} has {}, wanted {key}: the registry or somebody on the way gives another one; nothing of it was taken",
                manifest.about.digest
            ));
        }
        Ok(manifest)
    }

    /// Returns the file of a blob, verified.
    ///
    /// # Errors
    /// When it can't be had, or is another.
    pub async fn blob(&self, image: &ImageRef, blob: &Descriptor) -> Result<PathBuf, String> {
        if let Some(path) = fetch::cached(blob.hex()).await {
            return Ok(path);
        }
        let url = source::rewrite(&Self::blob_at(image, &blob.digest), &self.mirrors);
        let login = self.login(image, &url).await?;
        fetch::sized(&url, blob.hex(), login.as_ref(), blob.size)
            .await
            .map_err(|error| explained(&url, &error))
    }

    /// Reads the manifests of an image that these platforms need.
    ///
    /// # Errors
    /// When they can't be had, or a platform has none.
    pub async fn image(&self, reference: &ImageRef, wanted: &[Platform]) -> Result<Image, String> {
        let top = match self.manifest(reference, reference.key()).await {
            Ok(top) => top,
            Err(why) => return Err(self.gone(reference, why).await),
        };
        let mut platforms = Vec::new();
        if top.config.is_some() {
            let own = self.platform_of(reference, &top).await?;
            for platform in wanted {
                if !platform.takes(&own) {
                    return Err(format!(
                        "{reference} has nothing for {platform}, only for {own}"
                    ));
                }
                platforms.push((platform.clone(), top.clone()));
            }
        } else {
            for platform in wanted {
                let found = top.for_platform(platform).ok_or_else(|| {
                    let known = top
                        .manifests
                        .iter()
                        .filter_map(|entry| entry.platform.as_ref());
                    let known: std::collections::BTreeSet<String> = known
                        .map(ToString::to_string)
                        .filter(|name| name != "unknown/unknown")
                        .collect();
                    let known: Vec<String> = known.into_iter().collect();
                    format!(
                        "{reference} has nothing for {platform}, only for {}",
                        known.join(", ")
                    )
                })?;
                let manifest = self.manifest(reference, &found.digest).await?;
                platforms.push((platform.clone(), manifest));
            }
        }
        Ok(Image {
            reference: reference.clone(),
            top,
            platforms,
        })
    }

    /// Words why an image can't be had; of one that is known by its digest, what its tag is now.
    async fn gone(&self, reference: &ImageRef, why: String) -> String {
        let (Some(digest), Some(tag)) = (&reference.digest, &reference.tag) else {
            return why;
        };
        if !why.contains("404") {
            return why;
        }
        match self.manifest(reference, tag).await {
            Ok(now) if now.about.digest != *digest => format!(
                "{why}: the tag `{tag}` is {} now, pinned is {digest}; find out who moved it before `foundry stack pin --update --accept` takes the new one",
                now.about.digest
            ),
            _ => why,
        }
    }

    /// Returns what an image that is in no list runs on, which its config says.
    async fn platform_of(&self, image: &ImageRef, manifest: &Manifest) -> Result<Platform, String> {
        let config = manifest.config.as_ref().ok_or("it has no config")?;
        let path = self.blob(image, config).await?;
        let text = super::read_again(&path, config.hex(), LONGEST_CONFIG).await?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("the config of {image} says no platform: {error}"))
    }
}

/// Words a refusal with what to do about it.
fn explained(url: &str, error: &FetchError) -> String {
    let refused = matches!(
        error,
        FetchError::Unreachable { message, .. } if message.contains("401") || message.contains("403")
    );
    if refused {
        let host = login::host(url);
        return format!(
            "{error} (there is no such image, or it wants a login: `docker login {host}`)"
        );
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    fn list(entries: &[(&str, &str)]) -> Manifest {
        let entries: Vec<serde_json::Value> = entries
            .iter()
            .map(|(platform, byte)| {
                let mut parts = platform.split('/');
                let mut about = serde_json::json!({ "os": parts.next(), "architecture": parts.next() });
                if let Some(variant) = parts.next() {
                    about["variant"] = variant.into();
                }
                serde_json::json!({ "mediaType": MANIFEST, "digest": hex(byte), "size": 7, "platform": about })
            })
            .collect();
        let text = serde_json::json!({ "schemaVersion": 2, "manifests": entries });
        Manifest::parse(text.to_string().into_bytes()).unwrap()
    }

    #[test]
    fn a_list_gives_the_manifest_of_a_platform() {
        let list = list(&[
            ("unknown/unknown", "00"),
            ("linux/arm/v6", "06"),
            ("linux/arm/v7", "07"),
            ("linux/amd64", "64"),
            ("linux/arm64/v8", "a8"),
        ]);
        assert_eq!(list.about.media_type, ACCEPT[0]);
        let found = |text: &str| {
            let platform: Platform = text.parse().unwrap();
            list.for_platform(&platform)
                .map(|entry| entry.digest.clone())
        };
        assert_eq!(found("linux/amd64"), Some(hex("64")));
        assert_eq!(found("linux/arm64"), Some(hex("a8")));
        assert_eq!(found("linux/arm/v7"), Some(hex("07")));
        assert_eq!(found("linux/riscv64"), None);
    }

    #[test]
    fn a_manifest_has_the_digest_of_its_bytes_and_each_blob_once() {
        let blob =
            |byte: &str| serde_json::json!({ "mediaType": "x", "digest": hex(byte), "size": 1 });
        let text = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": blob("cc"),
            "layers": [blob("aa"), blob("bb"), blob("aa")],
        })
        .to_string();
        let manifest = Manifest::parse(text.clone().into_bytes()).unwrap();
        let wanted = format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())));
        assert_eq!(manifest.about.digest, wanted);
        let blobs: Vec<&str> = manifest.blobs().map(|blob| blob.digest.as_str()).collect();
        assert_eq!(blobs, [hex("cc"), hex("aa"), hex("bb")]);
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_shown_from_then_on() {
        use wiremock::matchers::{header, method, path, query_param};
        use wiremock::{Mock, MockServer, ResponseTemplate};

        let server = MockServer::start().await;
        let challenge = format!(
            "Bearer realm=\"{}/token\",service=\"reg\",scope=\"repository:team/web:pull\"",
            server.uri()
        );
        let text = br#"{ "schemaVersion": 2, "manifests": [] }"#;
        for what in ["manifests/1", "manifests/2"] {
            Mock::given(method("GET"))
                .and(path(format!("/v2/team/web/{what}")))
                .and(header("Authorization", "Bearer the-token"))
                .respond_with(ResponseTemplate::new(200).set_body_bytes(text.as_slice()))
                .expect(1)
                .mount(&server)
                .await;
        }
        Mock::given(method("GET"))
            .and(path("/token"))
            .and(query_param("scope", "repository:team/web:pull"))
            .respond_with(
                ResponseTemplate::new(200)
                    .set_body_string(r#"{ "token": "the-token", "expires_in": 300 }"#),
            )
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(method("HEAD"))
            .respond_with(
                ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge.as_str()),
            )
            .expect(1)
            .mount(&server)
            .await;
        let registry = Registry::new(&[Mirror {
            prefix: "https://reg.example/".to_owned(),
            url: format!("{}/", server.uri()),
            digests: crate::config::MirrorDigests::Pinned,
        }]);
        let image = ImageRef::parse("reg.example/team/web:1").unwrap();
        for key in ["1", "2"] {
            let manifest = registry.manifest(&image, key).await.unwrap();
            assert_eq!(manifest.text, text);
        }
        // What is asked for by its digest must have it.
        let other = hex("ab");
        Mock::given(path(format!("/v2/team/web/manifests/{other}")))
            .respond_with(ResponseTemplate::new(200).set_body_bytes(text.as_slice()))
            .mount(&server)
            .await;
        let error = registry.manifest(&image, &other).await.unwrap_err();
        assert!(error.contains("gives another one"), "{error}");
    }

    #[test]
    fn what_is_no_manifest_is_said() {
        let evil = r#"{ "schemaVersion": 2, "config": { "mediaType": "x", "digest": "sha256:../../etc/passwd", "size": 1 } }"#;
        for (text, why) in [
            ("<html>", "is no manifest"),
            ("{}", "schema 0"),
            (r#"{ "schemaVersion": 1 }"#, "schema 1"),
            (r#"{ "schemaVersion": 2 }"#, "neither"),
            (evil, "is no digest"),
        ] {
            let error = Manifest::parse(text.as_bytes().to_vec()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
