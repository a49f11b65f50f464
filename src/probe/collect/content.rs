//! The text of small files, byte for byte. Does not know whether it is secret.

use std::collections::HashMap;

use indexmap::IndexSet;

use super::paths::{self, PathAnswers};
use super::stat::{of, path_of};
use super::wants::{ABSENT, Found, Plain, Wants, fault};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

/// Largest file that is read, in bytes.
const LIMIT: u64 = 256 * 1024;

pub(super) fn want(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    let path = paths::path(subject)?;
    // Kind and size come from `stat`, so that what is left out here can be named there.
    wants.follow.insert(path.clone());
    wants.content.insert(path);
    Ok(())
}

/// `find` lets only regular files of the right size through; `grep`, with NUL for the line's end, prints each one's
/// name and whole text, each ended by NUL.
pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    if wants.content.is_empty() {
        return Ok(0);
    }
    out.push_str("__o content\n__t() { exec find -L \"$@\" -maxdepth 0 -type f -size -");
    out.push_str(&(LIMIT + 1).to_string());
    out.push_str("c -exec grep -aHZz '' -- {} +; }\n");
    let times = paths::command(out, "__t", &wants.content)?;
    out.push_str("__c content\n");
    Ok(times * 2)
}

pub(super) fn read(asked: &IndexSet<String>, frames: &Frames) -> PathAnswers<String> {
    if asked.is_empty() {
        return HashMap::new();
    }
    let texts = frames.section("content").and_then(|section| {
        let out = section.done("find", &[1])?;
        if section.err.lines().any(|line| line.starts_with("grep: ")) {
            return Err(fault(section.err.trim()));
        }
        Ok(records(out))
    });
    asked
        .iter()
        .map(|path| {
            let answer = match &texts {
                Err(fault) => Err(fault.clone()),
                Ok(texts) => match texts.get(path.as_bytes()).map(Vec::as_slice) {
                    None => Ok(None),
                    Some([text]) => match std::str::from_utf8(text) {
                        Ok(text) => Ok(Some(text.to_owned())),
                        Err(_) => Err(fault(format!("{path} is not text"))),
                    },
                    Some(_) => Err(fault(format!("{path} holds NUL bytes"))),
                },
            };
            (path.clone(), answer)
        })
        .collect()
}

/// Reads names and texts in turn. A file with NUL bytes in it comes as several texts of one name.
fn records(out: &[u8]) -> HashMap<&[u8], Vec<&[u8]>> {
    let mut found: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    let mut fields = out.split(|byte| *byte == 0);
    while let (Some(name), Some(text)) = (fields.next(), fields.next()) {
        found.entry(name).or_default().push(text);
    }
    found
}

pub(super) fn facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let path = path_of(subject)?;
    let Some(stat) = of(&found.follow, &path)? else {
        return Ok(vec![("content", ABSENT.to_owned())]);
    };
    let text = match of(&found.content, &path)? {
        // A NUL byte at the very end looks like grep's own.
        Some(text) if text.len() as u64 + 1 == stat.size => {
            return Err(fault(format!("{path} holds NUL bytes")));
        }
        Some(text) => text.clone(),
        None if stat.kind() != "file" => return Err(fault(format!("{path} is no regular file"))),
        None if stat.size > LIMIT => {
            return Err(fault(format!(
                "{path} holds {} bytes, more than {LIMIT}",
                stat.size
            )));
        }
        None if stat.size == 0 => String::new(),
        None => return Err(fault(format!("{path} could not be read"))),
    };
    Ok(vec![("content", text)])
}
