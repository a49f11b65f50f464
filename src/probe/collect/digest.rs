//! `sha256sum`: the SHA-256 of files. Never opens what is not a regular file (a pipe would hold it for ever).

use std::collections::HashMap;

use indexmap::IndexSet;

use super::paths::{self, PathAnswers};
use super::stat::{of, path_of};
use super::wants::{ABSENT, Found, Plain, Wants, fault};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::Frames;
use crate::probe::shell::ShellError;

/// Tells what is not a regular file apart with the shell's own means and hands the rest to one `sha256sum`. The
/// list is rebuilt only when there is such a thing: in a shell that takes a time that grows with its square.
const FUNCTION: &str = r#"__d() {
__odd=
for __p do if [ -e "$__p" ] && ! [ -f "$__p" ]; then __odd=1; break; fi; done
if [ "$__odd" ]; then
__i=$#
while [ "$__i" -gt 0 ]; do
__p=$1; shift; __i=$((__i - 1))
if [ -d "$__p" ]; then printf 'directory  %s\0' "$__p"
elif [ -e "$__p" ] && ! [ -f "$__p" ]; then printf 'other  %s\0' "$__p"
else set -- "$@" "$__p"; fi
done
[ "$#" -gt 0 ] || return 0
fi
exec sha256sum -z -- "$@"
}
"#;

pub(super) fn want(wants: &mut Wants, subject: &Value) -> Result<(), String> {
    wants.digest.insert(paths::path(subject)?);
    Ok(())
}

pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    if wants.digest.is_empty() {
        return Ok(0);
    }
    out.push_str(FUNCTION);
    out.push_str("__o digest\n");
    let processes = paths::command(out, "__d", &wants.digest)?;
    out.push_str("__c digest\n");
    Ok(processes)
}

pub(super) fn read(asked: &IndexSet<String>, frames: &Frames) -> PathAnswers<String> {
    paths::answers(asked, frames, "digest", "sha256sum", |out| {
        let mut found = HashMap::new();
        for record in out
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
        {
            let record = String::from_utf8_lossy(record);
            let (word, path) = record
                .split_once("  ")
                .ok_or_else(|| fault(format!("`sha256sum` said {record:?}")))?;
            let hash = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hash && word != "directory" && word != "other" {
                return Err(fault(format!("`sha256sum` said {record:?}")));
            }
            found.insert(path.to_owned(), word.to_owned());
        }
        Ok(found)
    })
}

pub(super) fn facts(found: &Found, subject: &Value) -> Result<Plain, Fault> {
    let digest = of(&found.digest, &path_of(subject)?)?;
    Ok(vec![(
        "sha256",
        digest.map_or(ABSENT, String::as_str).to_owned(),
    )])
}
