//! What the collectors of files share: paths as arguments, and telling a path that is not there from one that could
//! not be looked at. Does not know what is asked of a path.

use std::collections::HashMap;

use indexmap::IndexSet;

use super::wants::fault;
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::{Frames, Section, keeping};
use crate::probe::shell::{ShellError, quote_into};

/// Answer of each path; `Ok(None)` is a path that is not there.
pub(super) type PathAnswers<T> = HashMap<String, Result<Option<T>, Fault>>;

/// Bytes of arguments for one command: Linux promises 128 KiB for arguments and environment, whatever the limits.
const ARGUMENTS: usize = 100_000;

/// Returns the path as a tool gets it: never an option, never standard input.
pub(super) fn path(subject: &Value) -> Result<String, String> {
    let path = super::wants::text(subject)?;
    if path.contains('\0') {
        return Err("holds a NUL byte".to_owned());
    }
    if path.len() > 4095 {
        return Err("is longer than a path can be".to_owned());
    }
    Ok(if path.starts_with('/') {
        path
    } else {
        format!("./{path}")
    })
}

/// Appends `command` with as many of `arguments` as fit, as often as needed; returns how often.
pub(super) fn command<'a>(
    out: &mut String,
    command: &str,
    arguments: impl IntoIterator<Item = &'a String>,
) -> Result<u32, ShellError> {
    let mut times = 0;
    let mut room = 0;
    let mut line = String::new();
    for argument in arguments {
        // With its end and the pointer to it.
        let size = argument.len() + 9;
        if size > room {
            if times > 0 {
                keeping(out, &line, None);
            }
            command.clone_into(&mut line);
            times += 1;
            room = ARGUMENTS;
        }
        room = room.saturating_sub(size);
        line.push(' ');
        quote_into(&mut line, argument)?;
    }
    if times > 0 {
        keeping(out, &line, None);
    }
    Ok(times)
}

/// Sorts out the paths that a tool said nothing of on standard output: what it complained of as not existing is not
/// there, anything else is a fault.
pub(super) fn answers<T>(
    asked: &IndexSet<String>,
    frames: &Frames,
    name: &str,
    tool: &str,
    read: impl FnOnce(&[u8]) -> Result<HashMap<String, T>, Fault>,
) -> PathAnswers<T> {
    if asked.is_empty() {
        return HashMap::new();
    }
    let section = match frames.section(name) {
        Ok(section) => section,
        Err(fault) => return all(asked, &fault),
    };
    let mut found = match section.done(tool, &[1, 2]).and_then(read) {
        Ok(found) => found,
        Err(fault) => return all(asked, &fault),
    };
    let complaints = Complaints::read(section);
    let silent = asked
        .iter()
        .filter(|path| !found.contains_key(*path))
        .count();
    let all_gone = complaints.gone.len() == silent;
    asked
        .iter()
        .map(|path| {
            let answer = match found.remove(path) {
                Some(value) => Ok(Some(value)),
                None if all_gone || complaints.says_gone(path) => Ok(None),
                None => Err(fault(complaints.of(path, tool))),
            };
            (path.clone(), answer)
        })
        .collect()
}

fn all<T>(asked: &IndexSet<String>, fault: &Fault) -> PathAnswers<T> {
    asked
        .iter()
        .map(|path| (path.clone(), Err(fault.clone())))
        .collect()
}

/// Lines of standard error: of paths that are not there, and others.
struct Complaints<'a> {
    gone: Vec<&'a str>,
    others: Vec<&'a str>,
}

impl<'a> Complaints<'a> {
    fn read(section: &'a Section) -> Self {
        let lines = section.err.lines().filter(|line| !line.trim().is_empty());
        let (gone, others) = lines.partition(|line| {
            line.ends_with(": No such file or directory") || line.ends_with(": Not a directory")
        });
        Self { gone, others }
    }

    fn says_gone(&self, path: &str) -> bool {
        mention(&self.gone, path).is_some()
    }

    fn of(&self, path: &str, tool: &str) -> String {
        match mention(&self.others, path) {
            Some(line) => (*line).to_owned(),
            None if self.others.is_empty() => format!("`{tool}` said nothing of {path}"),
            None => format!(
                "`{tool}` said nothing of {path}: {}",
                self.others.join("; ")
            ),
        }
    }
}

/// Returns the line that ends in the path, quoted or not, and the reason.
fn mention<'a, 'b>(lines: &'b [&'a str], path: &str) -> Option<&'b &'a str> {
    lines.iter().find(|line| {
        let Some((head, _)) = line.rsplit_once(": ") else {
            return false;
        };
        let head = head.trim_end_matches(['\'', '"']);
        head.strip_suffix(path)
            .is_some_and(|rest| rest.ends_with([' ', '\'', '"']))
    })
}
