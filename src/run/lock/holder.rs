//! Who holds a lock, as text and back, and what to make of it. Pure but for [`Controller::here`].

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::graph::Shard;

/// The machine that Foundry runs on, as far as processes can be told apart there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// Host name, boot id and process namespace: only where all are the same does a process id mean the same process.
    pub machine: String,
    /// `user@host name`, for people.
    pub who: String,
    /// This process.
    pub pid: u32,
    /// When this process began, in the kernel's ticks since boot: tells it from a later one of the same number.
    pub born: String,
}

impl Controller {
    /// Returns this machine and process.
    #[must_use]
    pub fn here() -> Self {
        let word = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .ok()
        };
        let variable = |names: [&str; 3]| names.iter().find_map(|name| std::env::var(name).ok());
        let name = word("/proc/sys/kernel/hostname")
            .or_else(|| variable(["HOSTNAME", "HOST", "COMPUTERNAME"]))
            .unwrap_or_else(|| "somewhere".to_owned());
        let user =
            variable(["USER", "LOGNAME", "USERNAME"]).unwrap_or_else(|| "somebody".to_owned());
        let boot = word("/proc/sys/kernel/random/boot_id");
        let space = fs::read_link("/proc/self/ns/pid")
            .map(|link| link.display().to_string())
            .ok();
        let pid = std::process::id();
        let machine = match (boot, space) {
            (Some(boot), Some(space)) => format!("{name}/{boot}/{space}"),
            // Without these no process of there can be told to be gone: an empty machine is like no other.
            _ => String::new(),
        };
        Self {
            machine,
            who: format!("{user}@{name}"),
            pid,
            born: match born(pid) {
                Some(Birth::At(born)) => born,
                Some(Birth::Dead) | None => String::new(),
            },
        }
    }

    /// Returns whether the process that `holder` names is of this machine and no longer there.
    ///
    /// That `/proc` does not show a process says nothing: it may be hidden from this user (`hidepid`). The kernel is asked.
    #[must_use]
    pub fn knows_gone(&self, holder: &Holder) -> bool {
        !self.machine.is_empty()
            && self.machine == holder.machine
            && match born(holder.pid) {
                Some(Birth::At(born)) => born != holder.born,
                Some(Birth::Dead) => true,
                None => is_no_process(holder.pid),
            }
    }
}

/// What `/proc` shows of a process.
enum Birth {
    /// It began then.
    At(String),
    /// It has ended, and nobody has asked yet how.
    Dead,
}

/// Returns whether there is no process of that number, whatever `/proc` shows. A signal that is none reaches every process
/// or is refused; only of a number without a process does the kernel say that there is none.
#[cfg(target_os = "linux")]
fn is_no_process(pid: u32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return false;
    };
    kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

/// Returns false: nothing is known of processes here.
#[cfg(not(target_os = "linux"))]
fn is_no_process(_: u32) -> bool {
    false
}

/// Returns when the process began, if it is shown.
fn born(pid: u32) -> Option<Birth> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are counted from the state, the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.clone().next(), Some("Z" | "X")) {
        return Some(Birth::Dead);
    }
    fields.nth(19).map(|born| Birth::At(born.to_owned()))
}

/// A run that several processes make together, and one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Party {
    /// What they call their run: the same for all of them, and unlike that of any other run.
    pub generation: String,
    /// Which of them.
    #[serde(serialize_with = "written")]
    pub shard: Shard,
}

fn written<S: serde::Serializer>(shard: &Shard, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(shard)
}

impl Party {
    /// Returns the token that all of them hold the lock by.
    #[must_use]
    pub fn token(&self) -> String {
        let digest = blake3::derive_key(
            "foundry 2026 generation of a run",
            self.generation.as_bytes(),
        );
        format!("g{}", hex::encode(&digest[..16]))
    }

    /// Returns the end of the name of this one's file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}of{}", self.shard.number(), self.shard.count())
    }
}

/// What the lock's file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Names this holding, unlike any other.
    pub token: String,
    /// The run.
    pub run: String,
    /// `user@host name`.
    pub who: String,
    /// See [`Controller::machine`].
    pub machine: String,
    /// Process id there.
    pub pid: u32,
    /// See [`Controller::born`].
    pub born: String,
    /// The command line.
    pub command: String,
    /// When it was taken, RFC 3339 in UTC by the holder's clock.
    pub started: String,
    /// With whom it is shared.
    pub party: Option<Party>,
}

impl Holder {
    /// Returns it as lines of `name value`.
    #[must_use]
    pub fn encode(&self) -> String {
        let pid = self.pid.to_string();
        let mut text = String::new();
        for (name, value) in [
            ("token", &self.token),
            ("run", &self.run),
            ("who", &self.who),
            ("machine", &self.machine),
            ("pid", &pid),
            ("born", &self.born),
            ("command", &self.command),
            ("started", &self.started),
        ] {
            line(&mut text, name, value);
        }
        if let Some(party) = &self.party {
            line(&mut text, "generation", &party.generation);
            line(&mut text, "shard", &party.shard.to_string());
        }
        text
    }

    /// Returns what a lock that is shared says: of the one who took it first, but held by all of its party, none of whose
    /// processes alone can be gone.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            token: self
                .party
                .as_ref()
                .map_or_else(|| self.token.clone(), Party::token),
            machine: if self.party.is_some() {
                String::new()
            } else {
                self.machine.clone()
            },
            ..self.clone()
        }
    }

    /// Reads what [`Self::encode`] wrote; `None` if it is not that.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.map(ToOwned::to_owned)
        };
        Some(Self {
            token: value("token").filter(|token| !token.is_empty())?,
            run: value("run")?,
            who: value("who")?,
            machine: value("machine")?,
            pid: value("pid")?.parse().ok()?,
            born: value("born")?,
            command: value("command")?,
            started: value("started")?,
            party: match (value("generation"), value("shard")) {
                (Some(generation), Some(shard)) => Some(Party {
                    generation,
                    shard: shard.parse().ok()?,
                }),
                _ => None,
            },
        })
    }

    /// Returns it in words.
    #[must_use]
    pub fn words(&self) -> String {
        let part = self.party.as_ref().map_or_else(String::new, |party| {
            format!(" (shard {} of run {})", party.shard, party.generation)
        });
        format!(
            "{} (process {}) runs `{}`{part} since {}",
            self.who, self.pid, self.command, self.started
        )
    }
}

/// Adds a line of `name value`; what can't stand in a line becomes a blank.
fn line(text: &mut String, name: &str, value: &str) {
    let value: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let _ = writeln!(text, "{name} {value}");
}

/// A lock that somebody holds or held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Who; `None` if the file is garbled.
    pub holder: Option<Holder>,
    /// Seconds since the last sign of life, by the host that the lock is on.
    pub age: i64,
    /// The number of the holding; 0 if an older Foundry holds it.
    pub number: u64,
    /// Shards that have given a sign of life within the lease, where several hold it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<String>,
}

/// What to make of a lock that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The lease is good.
    Held,
    /// The lease has ended.
    Expired,
    /// The lease is good, but the holder was a process of this machine and is no more.
    Gone,
}

impl Found {
    /// Returns what to make of it on `here`.
    #[must_use]
    pub fn standing(&self, here: &Controller, lease: Duration) -> Standing {
        let lease = i64::try_from(lease.as_secs()).unwrap_or(i64::MAX);
        if self.age >= lease || self.age < -lease {
            Standing::Expired
        } else if self
            .holder
            .as_ref()
            .is_some_and(|holder| here.knows_gone(holder))
        {
            Standing::Gone
        } else {
            Standing::Held
        }
    }

    /// Returns the seconds until the lease ends, unless it is renewed.
    #[must_use]
    pub fn lease_left(&self, lease: Duration) -> u64 {
        lease
            .as_secs()
            .saturating_sub(u64::try_from(self.age).unwrap_or(0))
    }

    /// Returns who holds it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        self.holder.as_ref().map_or_else(
            || "somebody whose name is garbled".to_owned(),
            Holder::words,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::lock::LEASE;

    fn holder() -> Holder {
        Holder {
            token: "00ff".to_owned(),
            run: "20261122-201455-ab12".to_owned(),
            who: "ada@desk".to_owned(),
            machine: "desk/b00t/pid:[1]".to_owned(),
            pid: 4711,
            born: "123".to_owned(),
            command: "foundry build stack".to_owned(),
            started: "2026-11-22T20:14:55Z".to_owned(),
            party: None,
        }
    }

    #[test]
    fn a_holder_is_text_and_back() {
        assert_eq!(Holder::decode(&holder().encode()), Some(holder()));
        let mut odd = holder();
        odd.command = "foundry build 'a\nb\0c'\ntoken 1".to_owned();
        let back = Holder::decode(&odd.encode()).unwrap();
        assert_eq!(back.token, "00ff");
        assert_eq!(back.command, "foundry build 'a b c' token 1");
        let shared = Holder {
            party: Some(Party {
                generation: "4711".to_owned(),
                shard: "2/3".parse().unwrap(),
            }),
            ..holder()
        };
        assert_eq!(Holder::decode(&shared.encode()), Some(shared.clone()));
        assert!(shared.words().contains("(shard 2/3 of run 4711)"));
        assert_eq!(shared.shared().machine, "");
        for garbled in [
            "",
            "token 1",
            "lock",
            &holder().encode().replace("4711", "x"),
        ] {
            assert_eq!(Holder::decode(garbled), None, "{garbled}");
        }
    }

    #[test]
    fn standing_is_by_age_and_by_what_is_known_here() {
        let here = Controller::here();
        let mine = Holder {
            machine: here.machine.clone(),
            pid: here.pid,
            born: here.born.clone(),
            ..holder()
        };
        let reused = Holder {
            born: "1".to_owned(),
            ..mine.clone()
        };
        let ended = {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            Holder {
                pid: child.id(),
                ..mine.clone()
            }
        };
        let cases = [
            (Some(holder()), 0, Standing::Held),
            (Some(holder()), 59, Standing::Held),
            (Some(holder()), 60, Standing::Expired),
            // The host's clock went back by an hour.
            (Some(holder()), -3600, Standing::Expired),
            (Some(holder()), -5, Standing::Held),
            (Some(mine), 1, Standing::Held),
            (Some(reused), 1, Standing::Gone),
            (Some(ended), 1, Standing::Gone),
            (None, 1, Standing::Held),
            (None, 61, Standing::Expired),
        ];
        for (holder, age, wanted) in cases {
            let found = Found {
                holder,
                age,
                number: 0,
                shards: Vec::new(),
            };
            assert_eq!(found.standing(&here, LEASE), wanted, "{found:?}");
        }
    }

    #[test]
    fn where_nothing_is_known_of_processes_nobody_is_gone() {
        let mut here = Controller::here();
        here.machine.clear();
        let nowhere = Holder {
            machine: String::new(),
            born: "1".to_owned(),
            ..holder()
        };
        assert!(!here.knows_gone(&nowhere));
    }
}
