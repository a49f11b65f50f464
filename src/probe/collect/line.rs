//! Exact lines in files, all by one `awk` that opens each file once. Lines travel on standard input only: they may be
//! secret.

use std::sync::Arc;

use super::paths;
use super::wants::{Found, Plain, Wants, fault, field, text, yes};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::{Frames, keeping};
use crate::probe::shell::{ShellError, quote_into};

/// Reads records of three lines (`f`ile, `a`bsent or `o`ther; path; line) and answers each with a word. A path's line
/// breaks come as byte 1.
const AWK: &str = r#"'{ k[NR] = $0 }
END {
n = NR / 3
for (i = 0; i < n; i++) { s = k[3*i+1]; p = k[3*i+2]; gsub(/\001/, "\n", p); w[p, k[3*i+3]] = 1; if (s == "f") f[p] = 1 }
for (p in f) { while ((r = (getline x < p)) > 0) if ((p, x) in w) h[p, x] = 1; if (r < 0) b[p] = 1; close(p) }
for (i = 0; i < n; i++) { s = k[3*i+1]; p = k[3*i+2]; gsub(/\001/, "\n", p)
if (s == "o" || p in b) print "unreadable"; else if ((p, k[3*i+3]) in h) print "yes"; else print "no" }
}'"#;

const FUNCTION: &str = r#"__l() {
if [ -f "$1" ]; then __w=f; elif [ -e "$1" ]; then __w=o; else __w=a; fi
__in="$__in$__w
${3-$1}
$2
"
}
"#;

fn subject(subject: &Value) -> Result<(String, String), String> {
    let path = paths::path(field(subject, "path")?)?;
    if path.contains('\u{1}') {
        return Err("has a path with byte 1 in it".to_owned());
    }
    let line = match field(subject, "line")? {
        Value::Text(text) if text.is_empty() => String::new(),
        other => text(other)?,
    };
    if line.contains(['\n', '\0']) {
        return Err("is more than one line".to_owned());
    }
    Ok((path, line))
}

pub(super) fn want(wants: &mut Wants, value: &Value) -> Result<(), String> {
    Arc::make_mut(&mut wants.lines).insert(subject(value)?);
    Ok(())
}

pub(super) fn render(wants: &Wants, out: &mut String) -> Result<u32, ShellError> {
    if wants.lines.is_empty() {
        return Ok(0);
    }
    out.push_str(FUNCTION);
    out.push_str("__o line\n__in=\n");
    for (path, line) in wants.lines.iter() {
        out.push_str("__l ");
        quote_into(out, path)?;
        out.push(' ');
        quote_into(out, line)?;
        if path.contains('\n') {
            out.push(' ');
            quote_into(out, &path.replace('\n', "\u{1}"))?;
        }
        out.push('\n');
    }
    // A here-document ends with a line break of its own. One that is small takes no process to write.
    keeping(out, &format!("awk {AWK}"), Some("${__in%?}"));
    out.push_str("__in=\n__c line\n");
    Ok(1)
}

/// Returns whether each line is there, in the order asked.
pub(super) fn read(asked: usize, frames: &Frames) -> Result<Vec<Result<bool, Fault>>, Fault> {
    let out = String::from_utf8_lossy(frames.section("line")?.done("awk", &[])?);
    let answers: Vec<_> = out
        .lines()
        .map(|word| match word {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => Err(fault(format!("the file is {other}"))),
        })
        .collect();
    if answers.len() == asked {
        Ok(answers)
    } else {
        Err(fault(format!(
            "`awk` was asked for {asked} lines and answered {}",
            answers.len()
        )))
    }
}

pub(super) fn facts(found: &Found, value: &Value) -> Result<Plain, Fault> {
    let wanted = subject(value).map_err(fault)?;
    let answers = found.lines.as_ref().map_err(Clone::clone)?;
    let answer = found
        .line_numbers
        .get_index_of(&wanted)
        .and_then(|index| answers.get(index));
    match answer {
        Some(Ok(present)) => Ok(vec![("present", yes(*present))]),
        Some(Err(said)) => Err(fault(format!("{}: {said}", wanted.0))),
        None => Err(fault(format!("{} was not asked for", wanted.0))),
    }
}
