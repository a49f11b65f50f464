//! The commands of a lab, from what a user asks for to hosts that answer: the order of things for either driver.
//! Prints nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use russh::keys::PrivateKey;

use crate::secret::Secret;

use super::error::{file, system};
use super::lock::Lock;
use super::{
    Blueprint, Driver, Lab, LabError, LabName, LabState, Place, Wanted, config_file, driver, image,
    keys, ready,
};

/// What `lab up` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another command works on the same lab; this one waits for it.
    LabWait,
    /// Another command builds the image; this one waits for it.
    ImageWait,
    /// The image is being built from the packages of this Debian release: about a minute, once.
    ImageBuild {
        /// The release.
        suite: String,
    },
    /// What a killed `lab up` left is being removed.
    CleanUp,
    /// The hosts are being started.
    Start {
        /// How many.
        hosts: usize,
    },
    /// The hosts were started and boot.
    Boot,
}

/// How long the parts of `lab up` took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Finding or building the image.
    pub image: Duration,
    /// Making the hosts' network and starting their systems.
    pub start: Duration,
    /// From there until all had booted and answered over SSH.
    pub boot: Duration,
}

/// What `lab up` made.
#[derive(Debug, Clone)]
pub struct Up {
    /// The lab.
    pub lab: Lab,
    /// How long it took.
    pub times: Times,
    /// Hosts whose systemd reports a failed unit.
    pub degraded: Vec<LabName>,
}

/// Brings a lab up: makes it anew, finishes one that was stopped, or finds it up already.
///
/// # Errors
/// If the machine lacks something, the name is taken by another lab, the config file is the user's own, or a host
/// does not boot.
pub async fn up(
    place: &Place,
    wanted: &Wanted,
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Up, LabError> {
    wanted.check()?;
    let config = place.config(&wanted.name);
    config_file::check(&config)?;
    let _lock = lock(place, &wanted.name, tell)?;
    let driver = take(place, wanted, tell).await?;
    let key = Arc::new(keys::load_or_generate(
        &place.identity(&wanted.name),
        &format!("foundry-lab-{}", wanted.name),
    )?);

    let begin = Instant::now();
    let image = tokio::task::block_in_place(|| image::ensure(place, tell))?;
    let imaged = Instant::now();
    tell(Progress::Start {
        hosts: wanted.hosts.len(),
    });
    let lab = driver
        .up(&Blueprint {
            name: wanted.name.clone(),
            hosts: wanted.hosts.clone(),
            authorized_key: keys::public_text(&key)?,
            image,
        })
        .await?;
    let started = Instant::now();
    tell(Progress::Boot);
    let words = try_join_all(lab.hosts.iter().map(|host| ready::booted(host, &key))).await?;
    let times = Times {
        image: imaged - begin,
        start: started - imaged,
        boot: started.elapsed(),
    };
    if wanted.password_login {
        give_password(place, &lab, &key).await?;
    }
    write_known_hosts(place, &lab)?;
    config_file::write(&config, &lab, &place.identity_in_config(&lab.name))?;
    let mark = place.finished(&lab.name);
    std::fs::write(&mark, "").map_err(file("write", &mark))?;
    let degraded = lab
        .hosts
        .iter()
        .zip(&words)
        .filter(|(_, word)| *word == "degraded");
    Ok(Up {
        degraded: degraded.map(|(host, _)| host.name.clone()).collect(),
        lab,
        times,
    })
}

/// Builds the hosts' image if this machine has none yet, so that labs come up fast from then on. Blocks.
///
/// # Errors
/// If the machine lacks what builds it, or the packages cannot be had.
pub fn build_image(place: &Place, tell: &dyn Fn(Progress)) -> Result<PathBuf, LabError> {
    Ok(image::ensure(place, tell)?.archive)
}

/// Returns the labs of this user on this machine.
///
/// # Errors
/// If a driver that works here cannot say what it runs.
pub async fn list(place: &Place) -> Result<Vec<Lab>, LabError> {
    let mut labs = Vec::new();
    for driver in driver::all(place).await {
        labs.extend(
            driver
                .list()
                .await?
                .into_iter()
                .map(|lab| judged(place, lab)),
        );
    }
    labs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(labs)
}

/// Removes a lab: its hosts, network and keys, and its config unless the user changed that. Returns whether a config is left.
///
/// # Errors
/// If something of the lab cannot be removed; running it again goes on.
pub async fn down(
    place: &Place,
    name: &LabName,
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> Result<bool, LabError> {
    let lock = lock(place, name, tell)?;
    // Not finished any more, from the first thing on that goes.
    remove_file(&place.finished(name))?;
    for driver in driver::all(place).await {
        driver.down(name).await?;
    }
    let keys = place.keys(name);
    match std::fs::remove_dir_all(&keys) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(file("remove", keys)(e)),
        _ => {}
    }
    let config_left = config_file::remove_if_unchanged(&place.config(name), name)?;
    lock.forget()?;
    Ok(config_left)
}

fn lock(place: &Place, name: &LabName, tell: &dyn Fn(Progress)) -> Result<Lock, LabError> {
    tokio::task::block_in_place(|| Lock::wait(&place.lock(name), || tell(Progress::LabWait)))
}

/// Returns the driver for the wanted lab, after what was left of a killed `lab up` is removed.
async fn take(
    place: &Place,
    wanted: &Wanted,
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Box<dyn Driver>, LabError> {
    for driver in driver::all(place).await {
        let Some(lab) = driver
            .list()
            .await?
            .into_iter()
            .find(|lab| lab.name == wanted.name)
        else {
            continue;
        };
        let lab = judged(place, lab);
        if lab.state == LabState::Unfinished {
            tell(Progress::CleanUp);
            driver.down(&wanted.name).await?;
            continue;
        }
        let same_hosts = lab.hosts.iter().map(|h| &h.name).eq(&wanted.hosts);
        if same_hosts && wanted.driver.is_none_or(|kind| kind == lab.driver) {
            return Ok(driver);
        }
        let names: Vec<&str> = lab.hosts.iter().map(|h| h.name.as_str()).collect();
        return Err(LabError::Asked {
            what: format!(
                "the lab `{}` is there already, with driver {} and hosts {}",
                lab.name,
                lab.driver,
                names.join(", ")
            ),
            help: format!(
                "run `foundry lab down {}` first, or choose another --name",
                lab.name
            ),
        });
    }
    driver::choose(place, wanted.driver).await
}

/// Returns the lab with the state that only its finishing mark tells.
fn judged(place: &Place, mut lab: Lab) -> Lab {
    if !place.finished(&lab.name).exists() {
        lab.state = LabState::Unfinished;
    }
    lab
}

async fn give_password(place: &Place, lab: &Lab, key: &Arc<PrivateKey>) -> Result<(), LabError> {
    let path = place.password(&lab.name);
    let password = match std::fs::read_to_string(&path) {
        Ok(text) => Secret::new(text.trim().to_owned()),
        Err(_) => keys::password()?,
    };
    keys::write_private(&path, password.expose().as_bytes())?;
    let made = lab
        .hosts
        .iter()
        .map(|host| ready::make_password_user(host, key, &password));
    try_join_all(made).await?;
    Ok(())
}

/// Pins the host keys for the system's ssh.
fn write_known_hosts(place: &Place, lab: &Lab) -> Result<(), LabError> {
    let lines: String = lab
        .hosts
        .iter()
        .map(|h| match h.port {
            22 => format!("{} {}\n", h.address, h.host_key),
            port => format!("[{}]:{port} {}\n", h.address, h.host_key),
        })
        .collect();
    keys::write_private(&place.known_hosts(&lab.name), lines.as_bytes())
}

fn remove_file(path: &Path) -> Result<(), LabError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(system("forget the lab")(e)),
        _ => Ok(()),
    }
}
