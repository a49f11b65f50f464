//! Turns a process into a lab host, in two stages, since only a child can be process 1 of a new pid namespace: the
//! first enters the host's cgroups and namespaces and starts the second, which mounts the root and becomes `/sbin/init`.
//! Knows one host, and of its lab only the record.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, dup2_stdout, pivot_root, sethostname, setsid};

use crate::lab::error::{file, system};
use crate::lab::{LabError, LabName};

use super::cgroup::{Hierarchy, HostCgroup, hierarchies};
use super::net;
use super::record::{HostFiles, Record, VOLUMES, image_root};

/// The capabilities no lab host has: they would reach through to the machine's own clock, kernel and devices.
const DROPPED: &str = "-sys_time,-sys_module,-sys_rawio,-wake_alarm";

/// Devices every host sees, bound from the machine's own where it has them.
const DEVICES: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun",
];

/// Files of `/proc` that reach through to the machine: read-only in a host.
const READ_ONLY: &[&str] = &["sysrq-trigger", "irq", "bus"];

/// Becomes the launcher of `host` of `lab` (`second` is false) or the host's process 1 (`second` is true).
///
/// Returns when the host's init runs; the second stage never returns without an error.
///
/// # Errors
/// If the lab has no such host, or the kernel refuses something the host needs.
pub fn host_init(lab: &LabName, host: &LabName, second: bool) -> Result<(), LabError> {
    if !second {
        return first_stage(lab, host);
    }
    // The copy closes itself when init takes over: an end without words means that all went well.
    let words = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(system("copy a descriptor"))?;
    let error = second_stage(lab, host);
    let _ = File::from(words).write_all(error.to_string().as_bytes());
    Err(error)
}

fn first_stage(lab: &LabName, host: &LabName) -> Result<(), LabError> {
    let doing = |what: &str| format!("{what} for {host}");
    // The machine's own session, hang-ups and Ctrl-C are none of the host's business.
    setsid().map_err(system(doing("start a session")))?;
    umask(Mode::from_bits_truncate(0o022));
    HostCgroup::of(lab, host)?.enter()?;
    let namespace = Path::new("/run/netns").join(net::namespace(lab, host));
    let namespace = File::open(&namespace).map_err(file("open", namespace))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)
        .map_err(system(doing("enter the network namespace")))?;
    let fresh = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(fresh).map_err(system(doing("make namespaces")))?;
    let mut child = Command::new("/proc/self/exe")
        .args(["lab", "host-init", "--second", lab.as_str(), host.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(system(doing("start process 1")))?;
    let mut words = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut words)
            .map_err(system(doing("hear process 1")))?;
    }
    if words.is_empty() {
        return Ok(());
    }
    let _ = child.wait();
    Err(LabError::System {
        doing: doing("set up the root"),
        why: words,
    })
}

/// Sets the root up and becomes its init; returns only if something failed.
fn second_stage(lab: &LabName, host: &LabName) -> LabError {
    match set_up(lab, host) {
        Err(error) => error,
        Ok(()) => system("run /sbin/init")(
            Command::new("/usr/bin/setpriv")
                .args(["--bounding-set", DROPPED, "--", "/usr/local/sbin/lab-init"])
                .env_clear()
                .env("container", "foundry-lab")
                .env(
                    "PATH",
                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                )
                .env("TERM", "dumb")
                .exec(),
        ),
    }
}

fn set_up(lab: &LabName, host: &LabName) -> Result<(), LabError> {
    let record = Record::load(lab)?.ok_or_else(|| LabError::Asked {
        what: format!("there is no lab `{lab}`"),
        help: "see `foundry lab list`".into(),
    })?;
    let files = HostFiles::of(lab, host);
    let root = files.root();
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(file("open", "/dev/null"))?;
    // Nothing that is mounted from here on shows on the machine.
    propagate("/", MsFlags::MS_PRIVATE)?;
    mount_root(&files, &image_root(&record.image))?;
    unpack_seed(&files)?;
    for volume in VOLUMES {
        bind(&files.volume(volume), &root.join("var/lib").join(volume))?;
    }
    make_dev(&root.join("dev"))?;
    mount_kernel(&root)?;
    sethostname(host.as_str()).map_err(system("set the host name"))?;
    enter(&root)?;
    // Container runtimes inside expect to share mounts with their own children, as on any systemd machine.
    propagate("/", MsFlags::MS_SHARED)?;
    dup2_stdout(null).map_err(system("close the standard output"))
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
            what: format!("a real file system at {}", super::record::state().display()),
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
fn enter(root: &Path) -> Result<(), LabError> {
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(system(format!("make {} the root", root.display())))
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
