//! `dpkg-query`: versions of installed packages. Does not know where packages come from.

use std::collections::HashMap;

use super::paths;
use super::wants::{ABSENT, Found, Plain, Wants, asked, fault, text};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

/// What is installed.
#[derive(Debug, Default)]
pub(super) struct Installed {
    /// Version by `name` and by `name:arch`.
    versions: HashMap<String, String>,
    /// Architecture of `dpkg` itself: that of the host.
    pub(super) native: Option<String>,
}

pub(super) fn want(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    let mut add = |item: &Value| {
        let name = text(item)?;
        if !is_name(&name) {
            return Err(format!("names {name:?}, which is no package's name"));
        }
        wants.packages.insert(name);
        Ok(())
    };
    match subject {
        Value::List(items) => items.iter().try_for_each(add),
        one => add(one),
    }
}

/// Debian policy 5.6.1, with an architecture after a colon. No patterns.
fn is_name(name: &str) -> bool {
    let word = |text: &str| {
        text.bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
            })
    };
    match name.split_once(':') {
        Some((name, arch)) => word(name) && word(arch),
        None => word(name),
    }
}

/// Asks for `dpkg` too, whose architecture is the host's.
pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    if wants.packages.is_empty() {
        return Ok(0);
    }
    out.push_str("__o package\n");
    let dpkg = "dpkg".to_owned();
    let names = wants.packages.iter().filter(|name| **name != dpkg);
    let format = "${Package}\\t${Architecture}\\t${db:Status-Status}\\t${Version}\\n";
    let command = format!("dpkg-query -W -f='{format}' --");
    let processes = paths::command(out, &command, std::iter::once(&dpkg).chain(names))?;
    out.push_str("__c package\n");
    Ok(processes)
}

pub(super) fn read(frames: &Frames) -> Result<Installed, Fault> {
    let section = frames.section("package")?;
    // Status 1 is a name that dpkg has never heard of, which it says on standard error.
    let out = String::from_utf8_lossy(section.done("dpkg-query", &[1])?);
    let unheard =
        |line: &str| line.contains("no packages found matching") || line.trim().is_empty();
    if let Some(line) = section.err.lines().find(|line| !unheard(line)) {
        return Err(fault(format!("`dpkg-query`: {line}")));
    }
    let mut installed = Installed::default();
    for line in out.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, arch, state, version] = fields[..] else {
            return Err(fault(format!("`dpkg-query` said {line:?}")));
        };
        if name == "dpkg" {
            installed.native = Some(arch.to_owned());
        }
        if state == "installed" {
            installed
                .versions
                .insert(format!("{name}:{arch}"), version.to_owned());
            // The host's own architecture comes first when a package is there for several.
            let native = installed
                .native
                .as_deref()
                .is_none_or(|native| native == arch);
            if native || arch == "all" || !installed.versions.contains_key(name) {
                installed
                    .versions
                    .insert(name.to_owned(), version.to_owned());
            }
        }
    }
    Ok(installed)
}

pub(super) fn facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let installed = found.packages.as_ref().map_err(Clone::clone)?;
    let Value::List(items) = subject else {
        let version = installed.versions.get(&asked(subject)?);
        return Ok(vec![(
            "version",
            version.map_or(ABSENT, String::as_str).to_owned(),
        )]);
    };
    let mut missing = Vec::new();
    for item in items {
        let name = asked(item)?;
        if !installed.versions.contains_key(&name) {
            missing.push(name);
        }
    }
    Ok(vec![("missing", missing.join(" "))])
}
