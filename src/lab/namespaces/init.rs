//! Turns processes into a lab host. A supervisor enters the host's network and starts process 1 of a new pid namespace,
//! which mounts the root and becomes Debian's init; a host that reboots is started again, one that powers off is not.
//! Knows one host, and of its lab only the record.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{close, dup2_stdin, dup2_stdout, sethostname, setsid};

use crate::lab::error::{file, system};
use crate::lab::{LabError, LabName};

use super::cgroup::{HostCgroup, Part};
use super::launch::UP;
use super::record::{HostFiles, Record, image_root};
use super::{mounts, net};

/// The capabilities no lab host has: they would reach through to the machine's own clock, kernel and devices.
const DROPPED: &str = "-sys_time,-sys_module,-sys_rawio,-wake_alarm";

/// Becomes the supervisor of `host` of `lab` (`second` is false) or the host's process 1 (`second` is true).
///
/// Process 1 says on its standard output what went wrong, or nothing; the supervisor that, or [`UP`]. The supervisor
/// returns when the host is powered off, process 1 only if it could not become init.
///
/// # Errors
/// If the lab has no such host, or the kernel refuses something the host needs.
pub fn host_init(lab: &LabName, host: &LabName, second: bool) -> Result<(), LabError> {
    // The copy is closed by the exec that makes init of process 1: an end without words means that all went well.
    let words = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(system("copy a descriptor"))?;
    let done = if second {
        become_init(lab, host).map(|never| match never {})
    } else {
        start(lab, host)
    };
    match done {
        Ok((init, own)) => {
            drop(words);
            supervise(lab, host, init, &own)
        }
        Err(error) => {
            let _ = File::from(words).write_all(error.to_string().as_bytes());
            Err(error)
        }
    }
}

/// Starts the host's system and says so. Returns its process 1 and the pid namespace it was started from.
fn start(lab: &LabName, host: &LabName) -> Result<(Child, File), LabError> {
    // The machine's own session, hang-ups and Ctrl-C are none of the host's business, nor are its starter's files.
    setsid().map_err(system("start a session"))?;
    close_inherited()?;
    umask(Mode::from_bits_truncate(0o022));
    HostCgroup::of(lab, host)?.enter(Part::Supervisor)?;
    let namespace = Path::new("/run/netns").join(net::namespace(lab, host));
    let namespace = File::open(&namespace).map_err(file("open", namespace))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(system("enter the network namespace"))?;
    let own = File::open("/proc/self/ns/pid").map_err(file("open", "/proc/self/ns/pid"))?;
    let init = boot(lab, host)?;
    let mut out = std::io::stdout();
    out.write_all(UP.as_bytes())
        .and_then(|()| out.flush())
        .map_err(system("report"))?;
    // Ends the report, and gives back the lock that came on the standard input.
    let null = null()?;
    dup2_stdout(&null)
        .and_then(|()| dup2_stdin(&null))
        .map_err(system("let go of the starter"))?;
    Ok((init, own))
}

/// Starts the host's system again as often as it reboots; returns when it is powered off.
fn supervise(lab: &LabName, host: &LabName, mut init: Child, own: &File) -> Result<(), LabError> {
    loop {
        let end = init.wait().map_err(system("wait for the host"))?;
        // The kernel's words for "reboot" when process 1 of a pid namespace asks for it.
        if end.signal() != Some(Signal::SIGHUP as i32) {
            return Ok(());
        }
        // The next pid namespace is a child of ours, not of the one that just ended.
        setns(own, CloneFlags::CLONE_NEWPID).map_err(system("return to the machine"))?;
        init = boot(lab, host)?;
    }
}

/// Closes what the starter had open and not marked for closing: a host would hold it as long as it runs.
fn close_inherited() -> Result<(), LabError> {
    let directory = "/proc/self/fdinfo";
    let entries = std::fs::read_dir(directory).map_err(file("list", directory))?;
    let numbers: Vec<RawFd> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|n| *n > 2) {
        let info = std::fs::read_to_string(format!("{directory}/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
        // Ours are all marked: the standard library opens nothing else.
        if flags.is_some_and(|flags| flags & OFlag::O_CLOEXEC.bits() == 0) {
            close(number).map_err(system("close an inherited file"))?;
        }
    }
    Ok(())
}

/// Starts process 1 of a new pid namespace and waits until it is the host's init.
fn boot(lab: &LabName, host: &LabName) -> Result<Child, LabError> {
    unshare(CloneFlags::CLONE_NEWPID).map_err(system("make a pid namespace"))?;
    let mut init = Command::new("/proc/self/exe")
        .args(["lab", "host-init", "--second", lab.as_str(), host.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(system("start process 1"))?;
    let mut words = String::new();
    if let Some(mut pipe) = init.stdout.take() {
        pipe.read_to_string(&mut words)
            .map_err(system("hear process 1"))?;
    }
    if words.is_empty() {
        return Ok(init);
    }
    let _ = init.wait();
    Err(LabError::System {
        doing: "set the root up".into(),
        why: words,
    })
}

/// Sets the root up and becomes its init; returns only if something failed.
fn become_init(lab: &LabName, host: &LabName) -> Result<Infallible, LabError> {
    set_up(lab, host)?;
    let refusal = Command::new("/usr/bin/setpriv")
        .args(["--bounding-set", DROPPED, "--", "/usr/local/sbin/lab-init"])
        .env_clear()
        .env("container", "foundry-lab")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("TERM", "dumb")
        .exec();
    Err(system("run init")(refusal))
}

fn set_up(lab: &LabName, host: &LabName) -> Result<(), LabError> {
    let record = Record::load(lab)?.ok_or_else(|| LabError::Asked {
        what: format!("there is no lab `{lab}`"),
        help: "see `foundry lab list`".into(),
    })?;
    let null = null()?;
    // In this order: the cgroup namespace begins at the cgroup it is made in.
    HostCgroup::of(lab, host)?.enter(Part::System)?;
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).map_err(system("make namespaces"))?;
    let files = HostFiles::of(lab, host);
    mounts::mount_all(&files, &image_root(&record.image))?;
    sethostname(host.as_str()).map_err(system("set the host name"))?;
    mounts::enter(&files.root())?;
    dup2_stdout(null).map_err(system("close the standard output"))
}

fn null() -> Result<OwnedFd, LabError> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(file("open", "/dev/null"))
}
