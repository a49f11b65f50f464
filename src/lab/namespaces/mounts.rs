//! Mounts what a host's root is made of: the overlay, devices, kernel file systems, cgroups. Runs in the host's own
//! mount namespace; knows no processes.

use std::fs::{self, File};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use crate::lab::LabError;
use crate::lab::error::{file, system};

use super::cgroup::{Hierarchy, hierarchies};
use super::record::{HostFiles, VOLUMES, state};

/// Devices every host sees, bound from the machine's own where it has them.
const DEVICES: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun",
];

/// Files of `/proc` that reach through to the machine: read-only in a host.
const READ_ONLY: &[&str] = &["sysrq-trigger", "irq", "bus"];

/// Mounts the whole root of a host on `image`. Nothing of it shows on the machine.
///
/// # Errors
/// If the kernel refuses a mount, or the host's own files cannot be unpacked.
pub(super) fn mount_all(files: &HostFiles, image: &Path) -> Result<(), LabError> {
    let root = files.root();
    propagate("/", MsFlags::MS_PRIVATE)?;
    mount_root(files, image)?;
    unpack_seed(files)?;
    for volume in VOLUMES {
        bind(&files.volume(volume), &root.join("var/lib").join(volume))?;
    }
    make_dev(&root.join("dev"))?;
    mount_kernel(&root)
}

fn mount_root(files: &HostFiles, image: &Path) -> Result<(), LabError> {
    let root = files.root();
    let (lower, upper, work) = (image.display(), files.upper(), files.work());
    let options = format!(
        "lowerdir={lower},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|errno| match errno {
        nix::Error::ENODEV => LabError::Missing {
            what: "overlayfs in its kernel".into(),
            why: "the namespaces driver".into(),
            help: "load it (modprobe overlay), or use --driver docker".into(),
        },
        nix::Error::EINVAL => LabError::Missing {
            what: format!("a real file system at {}", state().display()),
            why: "overlayfs".into(),
            help: "mount an ext4 or xfs there: an overlay cannot lie on an overlay".into(),
        },
        other => system(format!("mount an overlay on {}", root.display()))(other),
    })
}

/// Unpacks the host's own files, once: afterwards they are the host's to change.
fn unpack_seed(files: &HostFiles) -> Result<(), LabError> {
    let path = files.seed();
    if !path.exists() {
        return Ok(());
    }
    let mut archive = tar::Archive::new(File::open(&path).map_err(file("read", &path))?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive
        .unpack(files.root())
        .map_err(file("unpack", &path))?;
    fs::remove_file(&path).map_err(file("remove", path))
}

fn make_dev(dev: &Path) -> Result<(), LabError> {
    filesystem("tmpfs", dev, MsFlags::MS_NOSUID, "mode=0755,size=4m")?;
    for name in DEVICES {
        let (from, to) = (Path::new("/dev").join(name), dev.join(name));
        if from.exists() {
            make_parent(&to)?;
            File::create(&to).map_err(file("make", &to))?;
            bind(&from, &to)?;
        }
    }
    filesystem(
        "devpts",
        &dev.join("pts"),
        MsFlags::MS_NOSUID,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )?;
    filesystem(
        "tmpfs",
        &dev.join("shm"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=1777",
    )?;
    filesystem("mqueue", &dev.join("mqueue"), MsFlags::empty(), "")?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (target, name) in links {
        let link = dev.join(name);
        std::os::unix::fs::symlink(target, &link).map_err(file("make", link))?;
    }
    Ok(())
}

fn mount_kernel(root: &Path) -> Result<(), LabError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = root.join("proc");
    filesystem("proc", &proc, plain, "")?;
    for name in READ_ONLY {
        let path = proc.join(name);
        if path.exists() {
            bind(&path, &path)?;
            read_only(&path)?;
        }
    }
    let sys = root.join("sys");
    filesystem("sysfs", &sys, plain | MsFlags::MS_RDONLY, "")?;
    mount_cgroups(&sys.join("fs/cgroup"), &hierarchies()?)?;
    filesystem(
        "tmpfs",
        &root.join("run"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=0755",
    )
}

fn mount_cgroups(at: &Path, hierarchies: &[Hierarchy]) -> Result<(), LabError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let top = Path::new("/sys/fs/cgroup");
    if !hierarchies.iter().any(|h| h.mount == top) {
        filesystem("tmpfs", at, plain, "mode=0755")?;
    }
    for hierarchy in hierarchies {
        let below = hierarchy.mount.strip_prefix(top).unwrap_or(Path::new(""));
        let target = if below.as_os_str().is_empty() {
            at.to_owned()
        } else {
            at.join(below)
        };
        match &hierarchy.v1_options {
            Some(options) => filesystem("cgroup", &target, plain, options)?,
            None => filesystem("cgroup2", &target, plain, "")?,
        }
    }
    Ok(())
}

/// Makes `root` the root and lets go of the old one.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn enter(root: &Path) -> Result<(), LabError> {
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(system(format!("make {} the root", root.display())))?;
    // Container runtimes inside expect to share mounts with their own children, as on any systemd machine.
    propagate("/", MsFlags::MS_SHARED)
}

fn filesystem(kind: &str, at: &Path, flags: MsFlags, options: &str) -> Result<(), LabError> {
    make_directory(at)?;
    let options = (!options.is_empty()).then_some(options);
    mount(Some(kind), at, Some(kind), flags, options)
        .map_err(system(format!("mount {kind} on {}", at.display())))
}

fn bind(from: &Path, to: &Path) -> Result<(), LabError> {
    if from.is_dir() {
        make_directory(to)?;
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(system(format!(
        "bind {} to {}",
        from.display(),
        to.display()
    )))
}

fn read_only(path: &Path) -> Result<(), LabError> {
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .map_err(system(format!("make {} read-only", path.display())))
}

fn propagate(at: &str, kind: MsFlags) -> Result<(), LabError> {
    mount(
        None::<&str>,
        at,
        None::<&str>,
        MsFlags::MS_REC | kind,
        None::<&str>,
    )
    .map_err(system(format!("set how {at} shares its mounts")))
}

fn make_parent(path: &Path) -> Result<(), LabError> {
    path.parent().map_or(Ok(()), make_directory)
}

fn make_directory(path: &Path) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(file("make", path))
}
