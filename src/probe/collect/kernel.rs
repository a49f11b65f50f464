//! Kernel settings and modules, from `/proc/sys` and `/sys/module`. Does not know what is configured for the next boot.

use std::collections::HashMap;

use indexmap::IndexSet;

use super::paths::{self, PathAnswers};
use super::stat::of;
use super::wants::{ABSENT, Found, Plain, Wants, asked, fault, text, yes};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

pub(super) fn want_sysctl(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.sysctls.insert(key(subject)?);
    Ok(())
}

/// Returns the file of a key. As with `sysctl`, dots and slashes change places unless a slash comes first.
fn key(subject: &Value) -> Result<String, String> {
    let key = text(subject)?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_:@".contains(&byte);
    if !key.bytes().all(fine) || key.split(['.', '/']).any(str::is_empty) {
        return Err(format!("is {key:?}, which is no kernel setting"));
    }
    let slash_first = key
        .find(['.', '/'])
        .is_some_and(|at| key[at..].starts_with('/'));
    let path = if slash_first {
        key
    } else {
        key.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    Ok(format!("/proc/sys/{path}"))
}

pub(super) fn want_module(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.modules.insert(module(subject)?);
    Ok(())
}

/// The kernel spells modules with underscores.
fn module(subject: &Value) -> Result<String, String> {
    let name = text(subject)?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        Ok(name.replace('-', "_"))
    } else {
        Err(format!("is {name:?}, which is no module's name"))
    }
}

/// Settings need a real reader: the kernel answers a number only to the first read, and a shell reads byte by byte.
/// Modules are seen by the shell itself; only those that it does not see are looked for among the built-in ones.
const MODULES: &str = r#"__k() {
__x=
for __p do if [ -d "/sys/module/$__p" ]; then printf '%s yes\n' "$__p"; else __x="$__x $__p"; fi; done
[ "$__x" ] || return 0
IFS= read -r __r </proc/sys/kernel/osrelease
[ -f "/lib/modules/$__r/modules.builtin" ] || { for __p in $__x; do printf '%s no\n' "$__p"; done; return 0; }
exec awk -v x="$__x" 'BEGIN { n = split(x, w, " ") } { sub(/.*\//, ""); sub(/\.ko.*/, ""); gsub(/-/, "_"); b[$0] = 1 }
END { for (i = 1; i <= n; i++) print w[i], (w[i] in b) ? "yes" : "no" }' "/lib/modules/$__r/modules.builtin"
}
"#;

pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    let mut processes = 0;
    if !wants.sysctls.is_empty() {
        out.push_str("__o sysctl\n");
        processes += paths::command(out, "grep -H '' --", &wants.sysctls)?;
        out.push_str("__c sysctl\n");
    }
    if !wants.modules.is_empty() {
        out.push_str(MODULES);
        out.push_str("__o module\n");
        processes += paths::command(out, "__k", &wants.modules)?;
        out.push_str("__c module\n");
    }
    Ok(processes)
}

pub(super) fn read_sysctls(asked: &IndexSet<String>, frames: &Frames) -> PathAnswers<String> {
    paths::answers(asked, frames, "sysctl", "grep", |out| {
        let mut found: HashMap<String, String> = HashMap::new();
        for line in String::from_utf8_lossy(out).lines() {
            let (path, value) = asked
                .iter()
                .find_map(|path| {
                    let value = line.strip_prefix(path.as_str())?.strip_prefix(':')?;
                    Some((path, value))
                })
                .ok_or_else(|| fault(format!("`grep` said {line:?}")))?;
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            let all = found.entry(path.clone()).or_default();
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(&value);
        }
        Ok(found)
    })
}

pub(super) fn read_modules(frames: &Frames) -> Result<HashMap<String, bool>, Fault> {
    let out = String::from_utf8_lossy(frames.section("module")?.done("awk", &[])?);
    out.lines()
        .map(|line| match line.split_once(' ') {
            Some((name, "yes")) => Ok((name.to_owned(), true)),
            Some((name, "no")) => Ok((name.to_owned(), false)),
            _ => Err(fault(format!("the list of modules has {line:?}"))),
        })
        .collect()
}

/// Blanks between numbers are single spaces, whatever the kernel prints.
pub(super) fn sysctl_facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let value = of(&found.sysctls, &key(subject).map_err(fault)?)?;
    Ok(vec![(
        "value",
        value.map_or(ABSENT, String::as_str).to_owned(),
    )])
}

pub(super) fn module_facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    asked(subject)?;
    let name = module(subject).map_err(fault)?;
    let modules = found.modules.as_ref().map_err(Clone::clone)?;
    let loaded = modules
        .get(&name)
        .ok_or_else(|| fault(format!("nothing was said of {name}")))?;
    Ok(vec![("loaded", yes(*loaded))])
}
