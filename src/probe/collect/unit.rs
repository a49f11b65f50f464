//! `systemctl show`: state of units, and whether a unit's main process started after files last changed. Does not know
//! what a unit is for.

use std::collections::HashMap;

use indexmap::IndexSet;
use jiff::civil::DateTime;

use super::paths;
use super::stat::of;
use super::wants::{ABSENT, Found, Plain, Wants, asked, fault, field, text, yes};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

/// Properties by name, of each unit asked for by the name it was asked with.
pub(super) type Units = HashMap<String, HashMap<String, String>>;

const PROPERTIES: &str = "Id,Names,LoadState,UnitFileState,ActiveState,SubState,NeedDaemonReload,\
                          ExecMainStartTimestamp,InactiveExitTimestamp";

const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".timer",
    ".target",
    ".mount",
    ".automount",
    ".path",
    ".slice",
    ".scope",
    ".swap",
    ".device",
];

pub(super) fn want(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.units.insert(unit(subject)?);
    Ok(())
}

pub(super) fn want_fresh(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    let unit = unit(field(subject, "unit")?)?;
    let paths = watched(subject)?;
    wants.units.insert(unit);
    for path in paths {
        wants.stat.insert(path.clone());
        wants.follow.insert(path);
    }
    Ok(())
}

/// Returns the full name of the unit that `subject` is. No patterns.
fn unit(subject: &Value) -> Result<String, String> {
    let name = text(subject)?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@\\".contains(&byte);
    if name.starts_with('-') || name.len() > 255 || !name.bytes().all(fine) {
        return Err(format!("names {name:?}, which is no unit's name"));
    }
    let full = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    Ok(if full {
        name
    } else {
        format!("{name}.service")
    })
}

fn watched(subject: &Value) -> Result<Vec<String>, String> {
    match field(subject, "paths")? {
        Value::List(items) => items.iter().map(paths::path).collect(),
        Value::Null => Ok(Vec::new()),
        one => Ok(vec![paths::path(one)?]),
    }
}

/// Times come with microseconds and, by `TZ`, in UTC.
pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    if wants.units.is_empty() {
        return Ok(0);
    }
    out.push_str("__o unit\n");
    let command =
        format!("TZ=UTC0 systemctl show --no-pager --timestamp=us --property={PROPERTIES} --");
    let processes = paths::command(out, &command, &wants.units)?;
    out.push_str("__c unit\n");
    Ok(processes)
}

pub(super) fn read(asked: &IndexSet<String>, frames: &Frames) -> Result<Units, Fault> {
    let out = frames.section("unit")?.done("systemctl", &[])?;
    let out = String::from_utf8_lossy(out);
    let blocks: Vec<HashMap<String, String>> = out
        .split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let pairs = block.lines().filter_map(|line| line.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        })
        .collect();
    // One block per unit, in the order asked; the names prove it.
    if blocks.len() != asked.len() {
        let (asked, found) = (asked.len(), blocks.len());
        return Err(fault(format!(
            "`systemctl` was asked for {asked} units and answered {found}"
        )));
    }
    let mut units = HashMap::new();
    for (name, block) in asked.iter().zip(blocks) {
        let is = |property: &str| {
            block
                .get(property)
                .is_some_and(|names| names.split(' ').any(|one| one == name))
        };
        if !is("Id") && !is("Names") {
            return Err(fault(format!(
                "`systemctl` answered for another unit than {name}"
            )));
        }
        units.insert(name.clone(), block);
    }
    Ok(units)
}

fn of_unit<'a>(found: &'a Found, name: &str) -> Result<&'a HashMap<String, String>, Fault> {
    let units = found.units.as_ref().map_err(Clone::clone)?;
    units
        .get(name)
        .ok_or_else(|| fault(format!("{name} was not asked for")))
}

pub(super) fn facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    asked(subject)?;
    let block = of_unit(found, &unit(subject).map_err(fault)?)?;
    let get = |name: &str| block.get(name).map_or("", String::as_str);
    let gone = get("LoadState") == "not-found";
    let or_absent = |value: &str, absent: bool| {
        if absent || value.is_empty() {
            ABSENT.to_owned()
        } else {
            value.to_owned()
        }
    };
    // A unit whose file is gone may still run.
    let off = gone && get("ActiveState") == "inactive";
    let started = match started(block)? {
        Some(micros) => micros.div_euclid(1_000_000).to_string(),
        None => ABSENT.to_owned(),
    };
    Ok(vec![
        ("load", or_absent(get("LoadState"), gone)),
        ("enabled", or_absent(get("UnitFileState"), gone)),
        ("active", or_absent(get("ActiveState"), off)),
        ("sub", or_absent(get("SubState"), off)),
        ("needs_reload", or_absent(get("NeedDaemonReload"), gone)),
        ("started", started),
    ])
}

/// Returns when the main process started (or, for what has none, the unit itself), in microseconds since the epoch.
fn started(block: &HashMap<String, String>) -> Result<Option<i64>, Fault> {
    let property = ["ExecMainStartTimestamp", "InactiveExitTimestamp"]
        .into_iter()
        .find_map(|name| block.get(name));
    match property
        .map(|text| text.trim())
        .filter(|text| !text.is_empty() && *text != "n/a")
    {
        None => Ok(None),
        Some(text) => micros(text)
            .map(Some)
            .ok_or_else(|| fault(format!("`systemctl` gave the time {text:?}"))),
    }
}

/// Reads `Sun 2026-11-22 20:30:11.123456 UTC`.
fn micros(text: &str) -> Option<i64> {
    let rest = text.split_once(' ')?.1.strip_suffix(" UTC")?;
    let time: DateTime = rest.replace(' ', "T").parse().ok()?;
    let stamp = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(stamp.as_microsecond())
}

/// A file's time is that of the kernel's last tick, which lies at most this many microseconds back (100 ticks a second
/// are the fewest that a kernel is built with). A file that changed within a tick before the start may have changed
/// after it, and counts as newer: a restart too many, not a forgotten one.
const TICK: i128 = 10_000;

/// Compares the start with each path's own time and that of what it leads to. A path that isn't there changed nothing.
pub(super) fn fresh_facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let name = unit(field(subject, "unit").map_err(fault)?).map_err(fault)?;
    let block = of_unit(found, &name)?;
    if block
        .get("LoadState")
        .is_some_and(|load| load == "not-found")
    {
        return Ok(vec![
            ("fresh", ABSENT.to_owned()),
            ("newer", ABSENT.to_owned()),
        ]);
    }
    let started = started(block)?;
    let mut newer = Vec::new();
    for path in watched(subject).map_err(fault)? {
        let own = of(&found.stat, &path)?.map(|stat| stat.mtime);
        let followed = of(&found.follow, &path)?.map(|stat| stat.mtime);
        let changed = own.max(followed);
        let stale = match (started, changed) {
            (Some(started), Some(changed)) => i128::from(started) < changed.div_euclid(1000) + TICK,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if stale {
            newer.push(path);
        }
    }
    let fresh = started.is_some() && newer.is_empty();
    Ok(vec![("fresh", yes(fresh)), ("newer", newer.join(" "))])
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(
            micros("Thu 1970-01-01 00:00:01.000002 UTC"),
            Some(1_000_002)
        );
        assert_eq!(
            micros("Sun 2026-11-22 20:30:11 UTC"),
            Some(1_795_379_411_000_000)
        );
        assert_eq!(micros("Sun 2026-11-22 20:30:11 CET"), None);
    }
}
