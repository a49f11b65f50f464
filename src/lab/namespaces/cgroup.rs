//! The cgroups of lab hosts, on machines with cgroup v2, v1, or both: made, entered, asked who is in them, emptied.
//! Knows nothing else of a host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::error::file;
use crate::lab::{LabError, LabName};

/// The directory of all labs in every hierarchy.
const TOP: &str = "foundry-lab";

/// How long killed processes may take to be gone. The kernel needs milliseconds, a disk that hangs more.
const DEATH: Duration = Duration::from_secs(20);

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The mount options that mount it again, for v1; none for v2.
    pub(super) v1_options: Option<String>,
}

/// Returns the hierarchies mounted below `/sys/fs/cgroup`.
///
/// # Errors
/// If there is none: no systemd runs without.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>, LabError> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let found = parse(&text);
    if found.is_empty() {
        return Err(LabError::Missing {
            what: "a cgroup file system at /sys/fs/cgroup".into(),
            why: "systemd in a lab host".into(),
            help: "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup".into(),
        });
    }
    Ok(found)
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mount = before.split(' ').nth(4).unwrap_or_default();
        let mut after = after.split(' ');
        let (kind, options) = (
            after.next().unwrap_or_default(),
            after.nth(1).unwrap_or_default(),
        );
        if !mount.starts_with("/sys/fs/cgroup") || !matches!(kind, "cgroup" | "cgroup2") {
            continue;
        }
        let v1_options = (kind == "cgroup").then(|| {
            let of_hierarchy = options.split(',').filter(|o| !matches!(*o, "rw" | "ro"));
            let listed = of_hierarchy
                .filter(|o| !o.starts_with("release_agent"))
                .collect::<Vec<_>>()
                .join(",");
            if listed.starts_with("name=") {
                format!("none,{listed}")
            } else {
                listed
            }
        });
        let hierarchy = Hierarchy {
            mount: mount.into(),
            v1_options,
        };
        if !found.iter().any(|h| h.mount == hierarchy.mount) {
            found.push(hierarchy);
        }
    }
    found
}

/// The two parts of a host's cgroups. Apart, since on v2 a cgroup that hands controllers down has no processes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Who starts the host's system again when it reboots.
    Supervisor,
    /// The host's system.
    System,
}

/// The cgroups of one host.
#[derive(Debug)]
pub(super) struct HostCgroup {
    directories: Vec<(Hierarchy, PathBuf)>,
}

impl HostCgroup {
    /// Returns the cgroups of `host` of `lab`, whether they exist or not.
    ///
    /// # Errors
    /// If the machine has no cgroups.
    pub(super) fn of(lab: &LabName, host: &LabName) -> Result<Self, LabError> {
        let directories = hierarchies()?
            .into_iter()
            .map(|h| {
                let directory = h.mount.join(TOP).join(lab.as_str()).join(host.as_str());
                (h, directory)
            })
            .collect();
        Ok(Self { directories })
    }

    /// Makes the cgroups of `part` and moves this process into them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn enter(&self, part: Part) -> Result<(), LabError> {
        for (hierarchy, directory) in &self.directories {
            let directory = directory.join(match part {
                Part::Supervisor => "supervisor",
                Part::System => "system",
            });
            enter_one(&directory, || prepare(hierarchy, &directory))?;
        }
        Ok(())
    }

    /// Returns the processes in the cgroups, zombies left out.
    pub(super) fn processes(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for (_, directory) in &self.directories {
            walk(directory, &mut |directory| {
                let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                found.extend(
                    text.lines()
                        .filter_map(|line| line.parse().ok())
                        .map(Pid::from_raw),
                );
            });
        }
        found.sort();
        found.dedup();
        // 0 is a process of a pid namespace outside of ours: none we could have started.
        found.retain(|pid| pid.as_raw() > 0 && depth(*pid).is_some());
        found
    }

    /// Returns the host's init: process 1 of a pid namespace right below ours.
    pub(super) fn init(&self) -> Option<Pid> {
        let own = depth(Pid::this())?.len();
        self.processes().into_iter().find(|pid| {
            depth(*pid).is_some_and(|ids| ids.len() == own + 1 && ids.last() == Some(&1))
        })
    }

    /// Kills every process in the cgroups, waits until all are gone and removes the cgroups.
    ///
    /// # Errors
    /// If a process cannot be killed or a cgroup not be removed.
    pub(super) fn kill_and_remove(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + DEATH;
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            for pid in &processes {
                // Gone meanwhile is what we want.
                let _ = kill(*pid, Signal::SIGKILL);
            }
            if Instant::now() > deadline {
                return Err(LabError::System {
                    doing: format!("kill the processes {processes:?}"),
                    why: format!("they are still there after {DEATH:?}"),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for (hierarchy, directory) in &self.directories {
            remove(directory, deadline)?;
            // The lab's and then all labs' directory, if this was the last: a cgroup with children stays.
            let lab = directory.parent().unwrap_or(&hierarchy.mount);
            let _ = fs::remove_dir(lab);
            let _ = fs::remove_dir(hierarchy.mount.join(TOP));
        }
        Ok(())
    }
}

/// Hands the controllers down to `directory`, as far as the machine allows: hosts run without limits too.
fn prepare(hierarchy: &Hierarchy, directory: &Path) {
    let below: Vec<&Path> = directory
        .ancestors()
        .take_while(|p| p.starts_with(&hierarchy.mount))
        .collect();
    for pair in below.iter().rev().collect::<Vec<_>>().windows(2) {
        let (parent, child) = (pair[0], pair[1]);
        if hierarchy.v1_options.is_some() {
            // A new cpuset is empty on v1, and nothing can enter it then.
            for name in ["cpuset.cpus", "cpuset.mems"] {
                let own = fs::read_to_string(child.join(name));
                if own.is_ok_and(|text| text.trim().is_empty()) {
                    let inherited = fs::read_to_string(parent.join(name)).unwrap_or_default();
                    let _ = fs::write(child.join(name), inherited);
                }
            }
        } else {
            let controllers =
                fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
            for controller in controllers.split_whitespace() {
                let _ = fs::write(
                    parent.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                );
            }
        }
    }
}

/// Calls `visit` for `directory` and all below it, children first; does nothing where there is none.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
    visit(directory);
}

fn remove(directory: &Path, deadline: Instant) -> Result<(), LabError> {
    loop {
        let mut last = None;
        walk(directory, &mut |d| last = fs::remove_dir(d).err());
        match last {
            None => return Ok(()),
            Some(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that is gone for /proc can hold its cgroup for a moment longer.
            Some(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Some(e) => return Err(file("remove", directory)(e)),
        }
    }
}

/// Returns the ids of a process in its pid namespaces, ours first; none if it is gone or a zombie.
fn depth(pid: Pid) -> Option<Vec<u32>> {
    ids(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn ids(status: &str) -> Option<Vec<u32>> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    if field("State:")?.trim_start().starts_with(['Z', 'X']) {
        return None;
    }
    field("NSpid:")?
        .split_whitespace()
        .map(|id| id.parse().ok())
        .collect()
}

/// Makes a cgroup and enters it. Whoever takes another lab down at this moment removes what is empty, parents of this one
/// included: then it is made again.
fn enter_one(directory: &Path, prepare: impl Fn()) -> Result<(), LabError> {
    let mut left = 20;
    loop {
        let made = fs::create_dir_all(directory).and_then(|()| {
            prepare();
            // 0 is the writer itself, whatever its id in which pid namespace.
            fs::write(directory.join("cgroup.procs"), "0")
        });
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound && left > 0 => left -= 1,
            made => return made.map_err(file("enter", directory)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_v2_v1_and_both() {
        let v2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            parse(v2),
            [Hierarchy {
                mount: "/sys/fs/cgroup".into(),
                v1_options: None
            }]
        );
        let both = "1 0 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            2 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            3 1 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            4 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            5 1 0:5 / /mnt/cg rw - cgroup2 cgroup2 rw\n";
        let options: Vec<_> = parse(both).into_iter().map(|h| h.v1_options).collect();
        assert_eq!(
            options,
            [
                Some("cpu,cpuacct".to_owned()),
                Some("none,name=systemd".to_owned()),
                None
            ]
        );
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_zombie_is_no_process() {
        assert_eq!(
            ids("State:\tS (sleeping)\nNSpid:\t812\t1\n"),
            Some(vec![812, 1])
        );
        assert_eq!(ids("State:\tZ (zombie)\nNSpid:\t812\t1\n"), None);
        assert_eq!(
            depth(Pid::this()).unwrap().first(),
            Some(&std::process::id())
        );
    }
}
