//! `stat`: what kind of thing a path is, whose, how large, how old. Does not know its content.

use std::collections::HashMap;

use indexmap::IndexSet;

use super::paths::{self, PathAnswers};
use super::wants::{ABSENT, Found, Plain, Wants, asked, fault};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

/// One inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    mode: u32,
    owner: String,
    pub(super) size: u64,
    /// Nanoseconds since the epoch.
    pub(super) mtime: i128,
    link: String,
}

impl Stat {
    pub(super) fn kind(&self) -> &'static str {
        match self.mode & 0o170_000 {
            0o100_000 => "file",
            0o040_000 => "directory",
            0o120_000 => "symlink",
            _ => "other",
        }
    }
}

/// Name, mode, numbers and names of owner, size, time, and where a link leads, each ended by NUL.
const FORMAT: &str = "'%n\\0%f\\0%u\\0%g\\0%U\\0%G\\0%s\\0%.9Y\\0%N\\0'";

pub(super) fn want(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.stat.insert(paths::path(subject)?);
    Ok(())
}

pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    let mut processes = 0;
    for (name, option, paths) in [("stat", "", &wants.stat), ("follow", "-L ", &wants.follow)] {
        if paths.is_empty() {
            continue;
        }
        out.push_str(&format!("__o {name}\n"));
        let command = format!("QUOTING_STYLE=literal stat {option}--printf={FORMAT} --");
        processes += paths::command(out, &command, paths)?;
        out.push_str(&format!("__c {name}\n"));
    }
    Ok(processes)
}

pub(super) fn read(asked: &IndexSet<String>, frames: &Frames, section: &str) -> PathAnswers<Stat> {
    paths::answers(asked, frames, section, "stat", |out| {
        let mut fields = out.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut found = HashMap::new();
        loop {
            let Some(name) = fields.next().filter(|name| !name.is_empty()) else {
                return Ok(found);
            };
            let mut next = || fields.next().ok_or_else(|| fault("`stat` was cut short"));
            let (mode, uid, gid, user, group, size, mtime, link) = (
                next()?,
                next()?,
                next()?,
                next()?,
                next()?,
                next()?,
                next()?,
                next()?,
            );
            let known = |name: &str, number: &str| {
                if name == "UNKNOWN" {
                    number.to_owned()
                } else {
                    name.to_owned()
                }
            };
            let stat = (|| {
                Some(Stat {
                    mode: u32::from_str_radix(&mode, 16).ok()?,
                    owner: format!("{}:{}", known(&user, &uid), known(&group, &gid)),
                    size: size.parse().ok()?,
                    mtime: nanoseconds(&mtime)?,
                    link: link
                        .strip_prefix(&format!("{name} -> "))
                        .unwrap_or_default()
                        .to_owned(),
                })
            })();
            let stat = stat.ok_or_else(|| fault(format!("`stat` of {name} can't be read")))?;
            found.insert(name.into_owned(), stat);
        }
    })
}

/// Reads seconds with nine decimals.
fn nanoseconds(text: &str) -> Option<i128> {
    let (seconds, fraction) = text.split_once('.')?;
    if fraction.len() != 9 {
        return None;
    }
    let whole: i128 = seconds.parse().ok()?;
    let fraction: i128 = fraction.parse().ok()?;
    Some(
        whole * 1_000_000_000
            + if seconds.starts_with('-') {
                -fraction
            } else {
                fraction
            },
    )
}

pub(super) fn facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let path = paths::path(subject).map_err(fault)?;
    let names = ["kind", "mode", "owner", "size", "mtime", "link"];
    let Some(stat) = of(&found.stat, &path)? else {
        return Ok(names.map(|name| (name, ABSENT.to_owned())).into());
    };
    let link = if stat.link.is_empty() {
        ABSENT
    } else {
        &stat.link
    };
    let values = [
        stat.kind().to_owned(),
        format!("{:04o}", stat.mode & 0o7777),
        stat.owner.clone(),
        stat.size.to_string(),
        stat.mtime.div_euclid(1_000_000_000).to_string(),
        link.to_owned(),
    ];
    Ok(names.into_iter().zip(values).collect())
}

/// Returns the answer of one path.
pub(super) fn of<'a, T>(answers: &'a PathAnswers<T>, path: &str) -> Result<Option<&'a T>, Fault> {
    match answers.get(path) {
        Some(Ok(answer)) => Ok(answer.as_ref()),
        Some(Err(fault)) => Err(fault.clone()),
        None => Err(fault(format!("{path} was not asked for"))),
    }
}

/// Returns the one path that `subject` names.
pub(super) fn path_of(subject: &Value) -> Result<String, Fault> {
    asked(subject)?;
    paths::path(subject).map_err(fault)
}
