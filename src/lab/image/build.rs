//! Builds an image with mmdebstrap, or debootstrap where that is what there is, and keeps it in the cache.
//! Knows no driver.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::lab::command;
use crate::lab::error::{file, system};
use crate::lab::lock::Lock;
use crate::lab::{LabError, Place, Progress};

use super::Image;
use super::recipe::{Recipe, SCRIPTS};

/// How hard the archive is squeezed: zstd's own default, a third of the size in about a second.
const ZSTD_LEVEL: i32 = 3;

/// The start of a build directory's name.
const BUILD_PREFIX: &str = ".build-";

/// Returns the image of this machine's recipe, built first if the cache has none. Blocks: a build takes a minute.
///
/// # Errors
/// If the machine has neither mmdebstrap nor debootstrap, the packages cannot be had, or the cache cannot be written.
pub(in crate::lab) fn ensure(place: &Place, tell: &dyn Fn(Progress)) -> Result<Image, LabError> {
    let recipe = Recipe::of_machine()?;
    let digest = recipe.digest();
    let cache = place.images();
    let archive = cache.join(format!("debian-{}-{digest}.tar.zst", recipe.suite));
    let image = Image { digest, archive };
    if image.archive.is_file() {
        return Ok(image);
    }
    // Two builds at once would be one for nothing; what the one before us built is then there.
    let _lock = Lock::wait(&cache.join("image.lock"), || tell(Progress::ImageWait))?;
    if image.archive.is_file() {
        return Ok(image);
    }
    remove_leftovers(&cache)?;
    tell(Progress::ImageBuild {
        suite: recipe.suite.clone(),
    });
    let work = tempfile::Builder::new()
        .prefix(BUILD_PREFIX)
        .tempdir_in(&cache)
        .map_err(file("make a directory in", &cache))?;
    // A build in mmdebstrap's unshare mode works as another user below this directory.
    set_mode(work.path(), 0o755)?;
    let tar = work.path().join("root.tar");
    build(&recipe, work.path(), &tar)?;
    let squeezed = work.path().join("root.tar.zst");
    squeeze(&tar, &squeezed)?;
    std::fs::rename(&squeezed, &image.archive).map_err(file("write", &image.archive))?;
    Ok(image)
}

/// Removes what killed builds left in the cache. The caller holds the lock: no build is under way.
fn remove_leftovers(cache: &Path) -> Result<(), LabError> {
    for entry in std::fs::read_dir(cache).map_err(file("list", cache))? {
        let entry = entry.map_err(file("list", cache))?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(BUILD_PREFIX)
        {
            std::fs::remove_dir_all(entry.path()).map_err(file("remove", entry.path()))?;
        }
    }
    Ok(())
}

fn build(recipe: &Recipe, work: &Path, tar: &Path) -> Result<(), LabError> {
    for (name, text) in SCRIPTS {
        write(&work.join(name), text)?;
        set_mode(&work.join(name), 0o755)?;
    }
    let setup = work.join(SCRIPTS[0].0);
    if command::find("mmdebstrap").is_some() {
        with_mmdebstrap(recipe, work, &setup, tar)
    } else if command::find("debootstrap").is_some() {
        with_debootstrap(recipe, work, &setup, tar)
    } else {
        Err(LabError::Missing {
            what: "the program `mmdebstrap`".into(),
            why: "making the hosts' image from Debian's packages".into(),
            help: "install it: apt-get install mmdebstrap".into(),
        })
    }
}

fn with_mmdebstrap(recipe: &Recipe, work: &Path, setup: &Path, tar: &Path) -> Result<(), LabError> {
    let settings = work.join("apt.conf");
    write(&settings, &recipe.apt_settings)?;
    let mut args = vec![
        "--quiet".to_owned(),
        "--variant=minbase".into(),
        "--format=tar".into(),
        format!("--include={}", Recipe::packages()),
        format!("--aptopt={}", settings.display()),
        format!("--customize-hook={}", setup.display()),
        recipe.suite.clone(),
        tar.display().to_string(),
    ];
    for (n, (text, extension)) in recipe.sources.iter().enumerate() {
        let path = work.join(format!("{n}.{extension}"));
        write(&path, text)?;
        args.push(path.display().to_string());
    }
    command::run("mmdebstrap", &args).map(drop)
}

fn with_debootstrap(
    recipe: &Recipe,
    work: &Path,
    setup: &Path,
    tar: &Path,
) -> Result<(), LabError> {
    let root = work.join("root");
    let include = format!("--include={}", Recipe::packages());
    let shown = root.display().to_string();
    command::run(
        "debootstrap",
        &["--variant=minbase", &include, &recipe.suite, &shown],
    )?;
    for (n, (text, extension)) in recipe.sources.iter().enumerate() {
        write(
            &root.join(format!("etc/apt/sources.list.d/lab{n}.{extension}")),
            text,
        )?;
    }
    if !recipe.sources.is_empty() {
        write(&root.join("etc/apt/sources.list"), "")?;
    }
    write(&root.join("etc/apt/apt.conf.d/99lab"), &recipe.apt_settings)?;
    command::run(&setup.display().to_string(), &[&shown])?;
    let target = tar.display().to_string();
    command::run(
        "tar",
        &[
            "--create",
            "--numeric-owner",
            "--xattrs",
            "--one-file-system",
            "--exclude=./dev/*",
            "--file",
            &target,
            "-C",
            &shown,
            ".",
        ],
    )
    .map(drop)
}

fn squeeze(tar: &Path, archive: &Path) -> Result<(), LabError> {
    let from = File::open(tar).map_err(file("read", tar))?;
    let to = File::create(archive).map_err(file("write", archive))?;
    zstd::stream::copy_encode(BufReader::new(from), &to, ZSTD_LEVEL)
        .and_then(|()| to.sync_all())
        .map_err(file("write", archive))
}

/// Returns a reader of the image's plain tar.
///
/// # Errors
/// If the archive cannot be read.
pub(in crate::lab) fn open(image: &Image) -> Result<impl io::Read + Send + use<>, LabError> {
    let archive = File::open(&image.archive).map_err(file("read", &image.archive))?;
    zstd::Decoder::new(archive).map_err(system(format!("unpack {}", image.archive.display())))
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    std::fs::write(path, text).map_err(file("write", path))
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<(), LabError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(file("set the mode of", path))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> Result<(), LabError> {
    Ok(())
}
