//! The `bao` program of this machine, and a mirror of its release made of it, so that hosts of tests get a real OpenBAO
//! where its release page can't be reached. Installs nothing (`./test` does).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The release that `./test` installs.
const VERSION: &str = "2.7.2";

/// Returns the `bao` program, or says why the test can't run.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the test's output is to know"
)]
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(cache().map(|cache| cache.join("foundry/tools/bin")))
        .map(|folder| folder.join("bao"))
        .find(|program| program.exists());
    if found.is_none() {
        eprintln!("SKIPPED: there is no `bao` (./test installs it)");
    }
    found
}

fn cache() -> Option<PathBuf> {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

/// Returns a folder laid out as the release page is (`v2.7.2/openbao_2.7.2_linux_amd64.tar.gz`, `v2.7.2/checksums.txt`),
/// made of [`program`] by the first test that asks.
pub fn mirror() -> Option<PathBuf> {
    let program = program()?;
    let mirror = cache()?.join("foundry/test-mirror");
    let folder = mirror.join(format!("v{VERSION}"));
    if folder.join("checksums.txt").exists() {
        return Some(mirror);
    }
    fs::create_dir_all(&mirror).unwrap();
    // Whole or not at all: tests of other processes may be at the same.
    let new = tempfile::tempdir_in(&mirror).unwrap();
    let asset = asset();
    pack(&program, &new.path().join(&asset));
    let digest = Sha256::digest(fs::read(new.path().join(&asset)).unwrap());
    let line = format!("{}  {asset}\n", hex::encode(digest));
    fs::write(new.path().join("checksums.txt"), line).unwrap();
    // Another was quicker: its files are as good.
    if fs::rename(new.path(), &folder).is_ok() {
        let _ = new.keep();
    }
    assert!(folder.join("checksums.txt").exists());
    Some(mirror)
}

/// Returns the name of the release's archive for this machine.
pub fn asset() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("openbao_{VERSION}_linux_{arch}.tar.gz")
}

fn pack(program: &Path, archive: &Path) {
    let gzip =
        flate2::write::GzEncoder::new(File::create(archive).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    tar.append_path_with_name(program, "bao").unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}
