//! `getent`: users and groups, whatever they are kept in. Does not know passwords.

use std::collections::HashMap;

use super::paths;
use super::wants::{ABSENT, Found, Plain, Wants, asked, fault, text, yes};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::{Frames, keeping};
use crate::probe::shell::ShellError;

/// One line of `passwd`.
#[derive(Debug)]
pub(super) struct User {
    uid: String,
    gid: String,
    home: String,
    shell: String,
}

/// One line of `group`.
#[derive(Debug)]
pub(super) struct Group {
    gid: String,
    members: Vec<String>,
}

pub(super) fn want_user(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.users.insert(name(subject)?);
    wants.groups = true;
    Ok(())
}

pub(super) fn want_group(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    name(subject)?;
    wants.groups = true;
    Ok(())
}

/// A name, not a number: `getent` would look that up as an id.
fn name(subject: &Value) -> Result<String, String> {
    let name = text(subject)?;
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    if number || name.starts_with('-') || name.contains([':', ',', '\n', '\0', ' ']) {
        return Err(format!("names {name:?}, which is no account's name"));
    }
    Ok(name)
}

/// Reads all groups at once: a user's groups are those that list it.
pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    let mut processes = 0;
    if !wants.users.is_empty() {
        out.push_str("__o passwd\n");
        processes += paths::command(out, "getent passwd --", &wants.users)?;
        out.push_str("__c passwd\n");
    }
    if wants.groups {
        out.push_str("__o group\n");
        keeping(out, "getent group", None);
        out.push_str("__c group\n");
        processes += 1;
    }
    Ok(processes)
}

/// Splits lines of colons. Status 2 is a name that there isn't.
fn rows(frames: &Frames, name: &str) -> Result<Vec<Vec<String>>, Fault> {
    let out = String::from_utf8_lossy(frames.section(name)?.done("getent", &[2])?).into_owned();
    Ok(out
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect())
}

pub(super) fn read_users(frames: &Frames) -> Result<HashMap<String, User>, Fault> {
    let mut users = HashMap::new();
    for row in rows(frames, "passwd")? {
        let [name, _, uid, gid, _, home, shell] = <[String; 7]>::try_from(row)
            .map_err(|row| fault(format!("`getent passwd` said {:?}", row.join(":"))))?;
        users.insert(
            name,
            User {
                uid,
                gid,
                home,
                shell,
            },
        );
    }
    Ok(users)
}

pub(super) fn read_groups(frames: &Frames) -> Result<HashMap<String, Group>, Fault> {
    let mut groups = HashMap::new();
    for row in rows(frames, "group")? {
        let [name, _, gid, members] = <[String; 4]>::try_from(row)
            .map_err(|row| fault(format!("`getent group` said {:?}", row.join(":"))))?;
        let mut members: Vec<String> = members
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        members.sort();
        groups.insert(name, Group { gid, members });
    }
    Ok(groups)
}

/// `groups` are the supplementary ones; the primary one is `gid` and, by name, `group`.
pub(super) fn user_facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let users = found.users.as_ref().map_err(Clone::clone)?;
    let groups = found.groups.as_ref().map_err(Clone::clone)?;
    let name = asked(subject)?;
    let names = ["uid", "gid", "group", "home", "shell", "groups"];
    let Some(user) = users.get(&name) else {
        return Ok(names.map(|name| (name, ABSENT.to_owned())).into());
    };
    let primary = groups.iter().find(|(_, group)| group.gid == user.gid);
    let mut of: Vec<&str> = groups
        .iter()
        .filter(|(_, group)| group.members.contains(&name))
        .map(|(name, _)| name.as_str())
        .collect();
    of.sort_unstable();
    let values = [
        user.uid.clone(),
        user.gid.clone(),
        primary.map_or_else(|| user.gid.clone(), |(name, _)| name.clone()),
        user.home.clone(),
        user.shell.clone(),
        of.join(","),
    ];
    Ok(names.into_iter().zip(values).collect())
}

pub(super) fn group_facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let groups = found.groups.as_ref().map_err(Clone::clone)?;
    let names = ["exists", "gid", "members"];
    let values = match groups.get(&asked(subject)?) {
        Some(group) => [yes(true), group.gid.clone(), group.members.join(",")],
        None => names.map(|_| ABSENT.to_owned()),
    };
    Ok(names.into_iter().zip(values).collect())
}
