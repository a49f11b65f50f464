//! Brings namespace labs up and takes them down. Knows the order of things; the parts know how.

use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use ipnet::IpNet;

use crate::lab::error::{file, system};
use crate::lab::image::{self, ADMIN, Image};
use crate::lab::lock::Lock;
use crate::lab::seed::{Names, Seed};
use crate::lab::{Blueprint, Driver, DriverKind, HostState, Lab, LabError, LabHost, LabName, keys};

use super::cgroup::HostCgroup;
use super::record::{HostFiles, Record, RecordHost, image_root, lab_directory, state};
use super::{launch, net, subnet};

/// inotify instances a booted systemd host holds, with room for what is installed in it.
const INOTIFY_PER_HOST: u64 = 16;

/// The driver that needs nothing but root on Linux.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Namespaces {
    home: PathBuf,
    launcher: PathBuf,
}

impl Namespaces {
    /// Returns the driver for the labs of `home`, if it works here.
    ///
    /// # Errors
    /// If the machine lacks root or iproute2, by name.
    pub(in crate::lab) fn new(home: &Path) -> Result<Self, LabError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::Missing {
                what: "root".into(),
                why: "the namespaces driver".into(),
                help: "run it with sudo, or use --driver docker".into(),
            });
        }
        crate::lab::command::run("ip", &["-Version"])?;
        super::cgroup::hierarchies()?;
        Ok(Self {
            home: home.to_owned(),
            launcher: std::env::current_exe().map_err(system("find this program's own file"))?,
        })
    }

    fn list_now(&self) -> Result<Vec<Lab>, LabError> {
        let mut labs = Vec::new();
        for record in Record::all()?.into_iter().filter(|r| r.home == self.home) {
            labs.push(self.look(&record)?);
        }
        Ok(labs)
    }

    fn look(&self, record: &Record) -> Result<Lab, LabError> {
        let hosts = record.hosts.iter().map(|host| {
            let running = HostCgroup::of(&record.lab, &host.name)?.init().is_some();
            Ok(LabHost {
                name: host.name.clone(),
                address: IpAddr::V4(host.address),
                port: 22,
                user: ADMIN.into(),
                host_key: host.host_key.clone(),
                state: if running {
                    HostState::Running
                } else {
                    HostState::Stopped
                },
            })
        });
        let hosts = hosts.collect::<Result<_, LabError>>()?;
        Ok(Lab::new(record.lab.clone(), DriverKind::Namespaces, hosts))
    }

    fn up_now(&self, blueprint: &Blueprint) -> Result<Lab, LabError> {
        let lock = lock(&blueprint.name)?;
        let record = match Record::load(&blueprint.name)? {
            Some(record) => self.own(record)?,
            None => self.found(blueprint)?,
        };
        net::make_bridge(&record)?;
        raise_inotify(record.hosts.len())?;
        let mut launches = Vec::new();
        for (index, host) in record.hosts.iter().enumerate() {
            let cgroup = HostCgroup::of(&record.lab, &host.name)?;
            if cgroup.init().is_none() {
                cgroup.kill_and_remove()?;
                net::connect(&record, index, host)?;
                launches.push(launch::start(
                    &self.launcher,
                    &record.lab,
                    &host.name,
                    &lock,
                )?);
            }
        }
        // All are waited for, so that none is still at work when the first failure is told.
        let ends: Vec<_> = launches.into_iter().map(launch::Launch::wait).collect();
        ends.into_iter().collect::<Result<(), _>>()?;
        self.look(&record)
    }

    /// Makes the record and the files of a new lab.
    fn found(&self, blueprint: &Blueprint) -> Result<Record, LabError> {
        unpack(&blueprint.image)?;
        let directory = lab_directory(&blueprint.name);
        keys::make_private(state())?;
        // One at a time picks a subnet; the record in its place takes it.
        let lock = Lock::wait(&state().join(".subnet.lock"), || {})?;
        let mut taken = net::routes()?;
        taken.extend(Record::all()?.iter().map(|r| IpNet::V4(r.subnet)));
        let subnet = subnet::free(&taken).ok_or_else(|| LabError::Missing {
            what: "a free subnet in 10.85.0.0/16 to 10.87.0.0/16".into(),
            why: "the lab's network".into(),
            help: "take labs down that you don't need: foundry lab down --all".into(),
        })?;
        let mut hosts = Vec::new();
        let mut host_keys = Vec::new();
        for (index, name) in blueprint.hosts.iter().enumerate() {
            let key = keys::generate(name.as_str())?;
            hosts.push(RecordHost {
                name: name.clone(),
                address: subnet::host(subnet, index).ok_or_else(|| LabError::Asked {
                    what: "the lab's subnet is full".into(),
                    help: "ask for fewer hosts".into(),
                })?,
                host_key: keys::public_text(&key)?,
            });
            host_keys.push(key);
        }
        let record = Record {
            lab: blueprint.name.clone(),
            home: self.home.clone(),
            subnet,
            image: blueprint.image.digest.clone(),
            hosts,
        };
        keys::make_private(&directory)?;
        record.save()?;
        drop(lock);
        let addresses: Vec<_> = record
            .hosts
            .iter()
            .map(|h| (h.name.clone(), IpAddr::V4(h.address)))
            .collect();
        let resolv = resolv_conf()?;
        for (host, host_key) in record.hosts.iter().zip(&host_keys) {
            let files = HostFiles::of(&record.lab, &host.name);
            files.make()?;
            let seed = Seed {
                host: &host.name,
                host_key,
                authorized_key: &blueprint.authorized_key,
                names: Some(Names {
                    hosts: &addresses,
                    resolv: &resolv,
                }),
            };
            keys::write_private(&files.seed(), &seed.tar()?)?;
        }
        Ok(record)
    }

    fn own(&self, record: Record) -> Result<Record, LabError> {
        if record.home == self.home {
            return Ok(record);
        }
        Err(LabError::Asked {
            what: format!(
                "the lab `{}` of this machine belongs to {}",
                record.lab,
                record.home.display()
            ),
            help: "give yours another name (--name)".into(),
        })
    }

    fn down_now(&self, lab: &LabName) -> Result<(), LabError> {
        let lock = lock(lab)?;
        if let Some(record) = Record::load(lab)? {
            remove(&self.own(record)?)?;
        }
        remove_directory(&lab_directory(lab))?;
        lock.forget()
    }
}

impl Driver for Namespaces {
    fn kind(&self) -> DriverKind {
        DriverKind::Namespaces
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lab>, LabError>> {
        let driver = self.clone();
        Box::pin(blocking(move || driver.list_now()))
    }

    fn up<'a>(&'a self, blueprint: &'a Blueprint) -> BoxFuture<'a, Result<Lab, LabError>> {
        let (driver, blueprint) = (self.clone(), blueprint.clone());
        Box::pin(blocking(move || driver.up_now(&blueprint)))
    }

    fn down<'a>(&'a self, lab: &'a LabName) -> BoxFuture<'a, Result<(), LabError>> {
        let (driver, lab) = (self.clone(), lab.clone());
        Box::pin(blocking(move || driver.down_now(&lab)))
    }
}

/// Kills what runs of the lab and removes its network.
fn remove(record: &Record) -> Result<(), LabError> {
    for host in &record.hosts {
        HostCgroup::of(&record.lab, &host.name)?.kill_and_remove()?;
    }
    net::remove(record)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(system("finish the driver's work"))?
}

/// Takes the lab for this command, after the supervisors that an earlier one started have come to their end or their host.
fn lock(lab: &LabName) -> Result<Lock, LabError> {
    let locks = state().join(".locks");
    keys::make_private(&locks)?;
    Lock::wait(&locks.join(lab.as_str()), || {})
}

/// Unpacks the image where overlays can lie on it, once.
fn unpack(image: &Image) -> Result<(), LabError> {
    let root = image_root(&image.digest);
    if root.is_dir() {
        return Ok(());
    }
    let images = root.parent().unwrap_or(state()).to_owned();
    keys::make_private(&images)?;
    let _lock = Lock::wait(&images.join(".lock"), || {})?;
    if root.is_dir() {
        return Ok(());
    }
    let fresh = images.join(format!(".{}", image.digest));
    remove_directory(&fresh)?;
    std::fs::create_dir(&fresh).map_err(file("make", &fresh))?;
    unpack_tar(image::open(image)?, &fresh)?;
    std::fs::rename(&fresh, &root).map_err(file("write", root))
}

fn unpack_tar(tar: impl Read, into: &Path) -> Result<(), LabError> {
    let mut archive = tar::Archive::new(tar);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries().map_err(system("read the image"))? {
        let mut entry = entry.map_err(system("read the image"))?;
        let path = entry.path().map_err(system("read the image"))?.into_owned();
        let device = entry.header().entry_type();
        if device.is_character_special() || device.is_block_special() {
            continue;
        }
        entry
            .unpack_in(into)
            .map_err(file("unpack", into.join(path)))?;
    }
    Ok(())
}

/// Returns the machine's name servers as a host can use them.
fn resolv_conf() -> Result<String, LabError> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(file("read", path));
    let own = read("/etc/resolv.conf").unwrap_or_default();
    // systemd-resolved listens where no host can reach it; it writes the real servers beside it.
    if own.contains("nameserver 127.0.0.53") {
        return read("/run/systemd/resolve/resolv.conf");
    }
    Ok(own)
}

/// Raises the kernel's limit of inotify instances where the hosts would exceed it.
fn raise_inotify(hosts: usize) -> Result<(), LabError> {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let text = std::fs::read_to_string(path).map_err(file("read", path))?;
    let others: usize = Record::all()?.iter().map(|r| r.hosts.len()).sum();
    let needed = 128 + INOTIFY_PER_HOST * (others.max(hosts) as u64);
    if text.trim().parse().is_ok_and(|now: u64| now < needed) {
        std::fs::write(path, needed.to_string()).map_err(file("raise", path))?;
    }
    Ok(())
}

fn remove_directory(directory: &Path) -> Result<(), LabError> {
    match std::fs::remove_dir_all(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(file("remove", directory)(e)),
        _ => Ok(()),
    }
}
