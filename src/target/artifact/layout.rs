//! OCI image layouts: images as an archive that container runtimes import, and the index of a folder of images. The same images
//! make the same bytes. Reads blobs from files, asks no registry.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::registry::{Descriptor, Manifest};
use super::store::Checked;

/// Marks a folder or archive as a layout.
pub const MARK: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");

/// Name of a layout's index.
pub const INDEX: &str = "index.json";

/// Returns the index of a layout: each image's descriptor under each of its names. containerd and Docker's tools look at the
/// one annotation, all others at the other.
#[must_use]
pub fn index(images: &[(Vec<String>, Descriptor)]) -> Value {
    let entries = images.iter().flat_map(|(names, about)| {
        names.iter().map(move |name| {
            let mut entry = json!(about);
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            });
            entry
        })
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries.collect::<Vec<_>>(),
    })
}

/// Writes one platform's image as an archive; `blobs` are the files of its blobs by digest.
///
/// # Errors
/// When a blob can't be read or the archive can't be written.
pub fn archive(
    names: Vec<String>,
    manifest: &Manifest,
    blobs: &BTreeMap<String, PathBuf>,
    into: impl Write,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(into);
    append(&mut tar, MARK.0, MARK.1.len() as u64, MARK.1.as_bytes())?;
    let index = index(&[(names, manifest.about.clone())]).to_string();
    append(&mut tar, INDEX, index.len() as u64, index.as_bytes())?;
    let place = |hex: &str| format!("blobs/sha256/{hex}");
    let own = place(manifest.about.hex());
    append(&mut tar, &own, manifest.about.size, &*manifest.text)?;
    for blob in manifest.blobs() {
        let path = blobs
            .get(&blob.digest)
            .ok_or_else(|| io::Error::other(format!("{} was never fetched", blob.digest)))?;
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        // Verified when it was fetched, by its name since.
        let file = Checked::new(file, blob.hex());
        append(&mut tar, &place(blob.hex()), size, file).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    tar.into_inner()?.flush()
}

/// Adds a file with nothing in its header that differs from one making to the next.
///
/// # Errors
/// When it can't be written.
pub fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn an_archive_is_a_layout_and_always_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut blobs = BTreeMap::new();
        let mut blob = |text: &str| {
            let hex = hex::encode(Sha256::digest(text));
            let path = folder.path().join(&hex);
            std::fs::write(&path, text).unwrap();
            blobs.insert(format!("sha256:{hex}"), path);
            json!({ "mediaType": "x", "digest": format!("sha256:{hex}"), "size": text.len() })
        };
        let text = json!({ "schemaVersion": 2, "config": blob("config"), "layers": [blob("a"), blob("b"), blob("a")] });
        let manifest = Manifest::parse(text.to_string().into_bytes()).unwrap();
        let make = || {
            let mut bytes = Vec::new();
            let names = vec!["docker.io/library/a:1".to_owned()];
            archive(names, &manifest, &blobs, &mut bytes).unwrap();
            bytes
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let mut files = BTreeMap::new();
        for member in tar::Archive::new(&*bytes).entries().unwrap() {
            let mut member = member.unwrap();
            let name = member.path().unwrap().to_str().unwrap().to_owned();
            let mut text = Vec::new();
            member.read_to_end(&mut text).unwrap();
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hex::encode(Sha256::digest(&text)), hex);
            }
            assert!(files.insert(name, text).is_none());
        }
        assert_eq!(files.len(), 2 + 1 + 3);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], manifest.about.digest);
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "docker.io/library/a:1"
        );
        let (digest, path) = blobs.first_key_value().unwrap();
        std::fs::write(path, "B").unwrap();
        let changed = archive(Vec::new(), &manifest, &blobs, io::sink());
        let changed = changed.unwrap_err().to_string();
        assert!(changed.contains(&digest[7..]), "{changed}");
        blobs.clear();
        let missing = archive(Vec::new(), &manifest, &blobs, io::sink());
        assert!(missing.unwrap_err().to_string().contains("never fetched"));
    }
}
