//! Reads the journals of hosts, many hosts at once, one program each. Judges nothing and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use crate::config::{HostId, Stack};
use crate::probe::{AccessError, AccessKind, Readers, Reply, journal_folder};
use crate::run::journal::{JournalFile, number};
use crate::target::Script;

/// How many hosts are read at once; each may have several megabytes to tell.
const AT_ONCE: usize = 16;

/// How long a host may take to tell.
const DEADLINE: Duration = Duration::from_secs(120);

/// Tells names and sizes first, a blank line, and then all content in the same order. Files only grow: what has come in
/// meanwhile is the last one's.
const READ: &str = r#"
cd -- "$folder" 2>/dev/null || { [ ! -e "$folder" ] || { echo "$folder is no folder" >&2; exit 1; }; exit 0; }
set -- [0-9][0-9][0-9][0-9][0-9][0-9].jsonl
[ -e "$1" ] || exit 0
stat -c '%s %n' -- "$@"
echo
cat -- "$@"
"#;

/// Reads the journal of each of `hosts`; none has a journal without files.
pub async fn journals(
    stack: &Stack,
    hosts: &[HostId],
    readers: &dyn Readers,
) -> Vec<(HostId, Result<Vec<JournalFile>, AccessError>)> {
    let folder = journal_folder(&stack.name);
    let folder = folder.as_str();
    stream::iter(hosts.iter().copied())
        .map(|host| async move { (host, journal(stack, host, folder, readers).await) })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn journal(
    stack: &Stack,
    host: HostId,
    folder: &str,
    readers: &dyn Readers,
) -> Result<Vec<JournalFile>, AccessError> {
    let reader = readers.reader(host).await?;
    let reply = Script::new(READ, DEADLINE, &[("folder", folder)])
        .ask(&*reader)
        .await?;
    files(&reply).map_err(|message| AccessError {
        host: Arc::clone(&stack.host(host).name),
        kind: AccessKind::Host,
        message: format!("its journal can't be read: {message}"),
        hint: None,
    })
}

/// Takes an answer of [`READ`] apart.
fn files(reply: &Reply) -> Result<Vec<JournalFile>, String> {
    if reply.status != Some(0) {
        let said = String::from_utf8_lossy(&reply.stderr);
        let last = said.lines().last().unwrap_or("it says no more");
        return Err(last.to_owned());
    }
    let odd = || "it answers otherwise than it was asked".to_owned();
    if reply.stdout.is_empty() {
        return Ok(Vec::new());
    }
    let blank = reply.stdout.windows(2).position(|two| two == b"\n\n");
    let (head, mut rest) = blank
        .map(|at| reply.stdout.split_at(at + 2))
        .ok_or_else(odd)?;
    let names: Vec<(usize, u32)> = std::str::from_utf8(head)
        .map_err(|_| odd())?
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (size, name) = line.split_once(' ')?;
            Some((size.parse().ok()?, number(name.strip_suffix(".jsonl")?)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(odd)?;
    let last = names.len().saturating_sub(1);
    let mut files = Vec::with_capacity(names.len());
    for (at, (size, number)) in names.into_iter().enumerate() {
        let size = if at == last { rest.len() } else { size };
        let (content, later) = rest
            .split_at_checked(size)
            .ok_or("it answers less than there is")?;
        rest = later;
        files.push(JournalFile {
            number,
            content: content.to_vec(),
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stdout: &str) -> Reply {
        Reply {
            stdout: stdout.into(),
            stderr: Vec::new(),
            status: Some(0),
        }
    }

    #[test]
    fn an_answer_is_taken_apart_by_the_sizes_in_it() {
        let told = files(&reply(
            "4 000001.jsonl\n0 000002.jsonl\n2 000003.jsonl\n\na\n\nbc\nde",
        ));
        let told: Vec<(u32, Vec<u8>)> = told
            .unwrap()
            .into_iter()
            .map(|file| (file.number, file.content))
            .collect();
        assert_eq!(
            told,
            [
                (1, b"a\n\nb".to_vec()),
                (2, Vec::new()),
                (3, b"c\nde".to_vec())
            ]
        );
        assert_eq!(files(&reply("")), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for odd in [
            "nonsense",
            "x 000001.jsonl\n\n",
            "1 1.jsonl\n\na",
            "1 000001.json\n\na",
            "99999 000001.jsonl\n1 000002.jsonl\n\na",
            "-1 000001.jsonl\n1 000002.jsonl\n\na",
        ] {
            assert!(files(&reply(odd)).is_err(), "{odd}");
        }
        let failed = Reply {
            status: Some(1),
            stderr: b"cat: 000001.jsonl: Permission denied\n".to_vec(),
            ..Reply::default()
        };
        assert_eq!(
            files(&failed).unwrap_err(),
            "cat: 000001.jsonl: Permission denied"
        );
    }
}
