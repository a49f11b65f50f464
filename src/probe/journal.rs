//! What programs write into the journal of the host that they change: a line before each script, a line after it, and a
//! seal over all that is there by then. Does not know what the steps do, nor who reads the journal.
//!
//! The journal of a stack is a folder of files, `/var/lib/foundry/<stack>/journal/000001.jsonl` and so on, root's alone.
//! A line is a JSON object. A **seal** names a file, a number of bytes and the SHA-256 that this much of the file had: all
//! lines before it are held by it. It costs one process a program; the time and the length are read without one. Nothing
//! waits for anything: what programs write at the same time, each of their seals holds as far as it had come.
//!
//! Each other line ends with a checksum. It proves nothing, but tells the very line that differs from those beside it.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::frame::Nonce;
use super::reader::{Program, Reply};
use super::shell::{ShellError, quote};

/// A file that has this many bytes is followed by a new one.
pub const JOURNAL_FILE: u64 = 128 << 10;

/// So many files are kept.
pub const JOURNAL_FILES: u32 = 64;

/// Longest text in a line, in bytes; what is longer is cut.
const LONGEST: usize = 512;

/// The shell functions that write it, without comments.
static FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    include_str!("journal.sh")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
});

/// Exit status of a program that was not begun since its line could not be written.
const REFUSED: i32 = 73;

/// Time that the lines and the seal may take in addition.
const WRITING: Duration = Duration::from_secs(10);

/// On whose behalf a host is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Name of the run.
    pub run: String,
    /// `user@machine` that it runs on.
    pub by: String,
}

/// The journal of one host, for one program.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Name of the stack.
    pub stack: Arc<str>,
    /// On whose behalf.
    pub author: Arc<Author>,
    /// The host's clock when it booted, in seconds since the epoch; `None` costs the host a process.
    pub booted: Option<i64>,
}

/// What is entered of one script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number among those of this run on this host.
    pub number: u32,
    /// Label of the step.
    pub step: String,
    /// Key of the step.
    pub key: String,
    /// Verdict for which it runs.
    pub before: String,
}

/// How far a journal has come: the first bytes of a file, and what their SHA-256 is.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Head {
    /// Number of the file.
    pub file: u32,
    /// How many bytes of it.
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

impl Head {
    /// Reads the words of a mark: name of a file, bytes, digest.
    pub(super) fn parse(words: &[&str]) -> Option<Self> {
        let [file, bytes, sha256] = words else {
            return None;
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (sha256.len() == 64 && digits(sha256)).then_some(())?;
        Some(Self {
            file: file.parse().ok()?,
            bytes: bytes.parse().ok()?,
            sha256: (*sha256).to_owned(),
        })
    }
}

/// Returns the folder of a stack's journal.
#[must_use]
pub fn journal_folder(stack: &str) -> String {
    format!("/var/lib/foundry/{stack}/journal")
}

/// Returns the checksum of a line: of the `fields` between its time and its end, of its `time` in seconds since the epoch,
/// and of its `status`, 0 for none.
#[must_use]
pub fn journal_check(event: &str, fields: &str, time: i64, status: i64) -> i64 {
    let sum = i64::from(number(event, fields)) + time * 48_271 + (status + 1000) * 16_807;
    sum % 2_147_483_647
}

/// Returns the part of a checksum that is known before the line is written.
fn number(event: &str, fields: &str) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(event);
    hasher.update("\n");
    hasher.update(fields);
    let digest = hasher.finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x7fff_ffff
}

impl Journal {
    /// Returns the fields of a line that are the same in its beginning and its end, as they stand there.
    fn fields(&self, entry: &Entry) -> String {
        let text = |text: &str| {
            let mut end = text.len().min(LONGEST);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            serde_json::Value::from(&text[..end]).to_string()
        };
        format!(
            "\"run\":{},\"by\":{},\"n\":{},\"step\":{},\"key\":{},\"before\":{}",
            text(&self.author.run),
            text(&self.author.by),
            entry.number,
            text(&entry.step),
            text(&entry.key),
            text(&entry.before)
        )
    }

    /// Appends the functions, for programs of this journal.
    pub(super) fn prelude(&self, out: &mut String) -> Result<(), ShellError> {
        let booted = self.booted.map(|at| at.to_string()).unwrap_or_default();
        let _ = writeln!(
            out,
            "__jd={} __jb={booted} __jfull={JOURNAL_FILE} __jkeep={JOURNAL_FILES} __jopen= __jf=",
            quote(&journal_folder(&self.stack))?
        );
        out.push_str(&FUNCTIONS);
        Ok(())
    }

    /// Returns what `__j_line` takes after the event: the fields of `entry`, and their numbers for its beginning and its end.
    pub(super) fn arguments(&self, entry: &Entry) -> Result<(String, u32, u32), ShellError> {
        let fields = self.fields(entry);
        let numbers = (number("began", &fields), number("ended", &fields));
        Ok((quote(&fields)?, numbers.0, numbers.1))
    }
}

/// A program that enters itself into the journal.
pub struct Entered {
    program: Program,
    mark: String,
}

/// What is wrong with the journal of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its journal can't be written, so nothing was begun: {0}")]
pub struct Unwritable(pub String);

/// What a program that was entered answered.
pub struct Told {
    /// Its own answer.
    pub reply: Reply,
    /// How far the journal has come; `None` if it could not be sealed.
    pub head: Option<Head>,
}

impl Entered {
    /// Has `program`, of any kind, enter itself.
    ///
    /// # Errors
    /// When the name of the stack can't stand in a shell.
    pub fn new(
        program: &Program,
        journal: &Journal,
        entry: &Entry,
        nonce: &Nonce,
    ) -> Result<Self, ShellError> {
        let mark = format!("foundry-journal {}", nonce.word());
        let mut text = Zeroizing::new(String::from(
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\numask 022\n",
        ));
        journal.prelude(&mut text)?;
        let (fields, began, ended) = journal.arguments(entry)?;
        let _ = write!(
            text,
            "__j_begin {fields} {began} || {{ echo '{mark} refused' >&2; exit {REFUSED}; }}\n(\n{}\n)\n__s=$?\n\
             __j_line ended {fields} {ended} \"$__s\" && __j_seal && echo \"{mark} $__jn $__jp $__jh\" >&2\n\
             exit \"$__s\"\n",
            program.text.expose()
        );
        Ok(Self {
            program: Program {
                text: std::mem::take(&mut *text).into(),
                deadline: program.deadline + WRITING,
            },
            mark,
        })
    }

    /// Returns what goes to the host.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// When the line could not be written, and so nothing was begun.
    pub fn read(&self, mut reply: Reply) -> Result<Told, Unwritable> {
        let needle = self.mark.as_bytes();
        let at = reply
            .stderr
            .windows(needle.len())
            .rposition(|window| window == needle);
        let Some(at) = at else {
            return Ok(Told { reply, head: None });
        };
        let said = String::from_utf8_lossy(&reply.stderr[at + needle.len()..]).into_owned();
        reply.stderr.truncate(at);
        let words: Vec<&str> = said.split_whitespace().collect();
        if words == ["refused"] {
            return Err(Unwritable(in_words(&String::from_utf8_lossy(
                &reply.stderr,
            ))));
        }
        Ok(Told {
            head: Head::parse(&words),
            reply,
        })
    }
}

/// Returns what a shell said about a line that it could not write, in one line; the last is the most telling.
pub(super) fn in_words(said: &str) -> String {
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.unwrap_or("no reason is given").trim();
    match last.rsplit_once(": ") {
        Some((_, "No space left on device")) => "the disk is full".to_owned(),
        Some((_, "Read-only file system")) => "its file system is read-only".to_owned(),
        _ => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_says_is_told_in_one_line() {
        for (said, wanted) in [
            (
                "sh: 34: printf: printf: I/O error\nprintf: write error: No space left on device\n",
                "the disk is full",
            ),
            (
                "mkdir: cannot create directory '/var/lib/x': Read-only file system\n",
                "its file system is read-only",
            ),
            (
                "sh: 1: cannot create /x: Permission denied\n",
                "sh: 1: cannot create /x: Permission denied",
            ),
            ("", "no reason is given"),
        ] {
            assert_eq!(in_words(said), wanted);
        }
    }

    #[test]
    fn a_head_is_a_number_a_length_and_a_digest() {
        let digest = "0f".repeat(32);
        let head = Head {
            file: 12,
            bytes: 34,
            sha256: digest.clone(),
        };
        assert_eq!(Head::parse(&["000012", "34", &digest]), Some(head));
        for words in [
            &["000012", "34"][..],
            &["x", "34", &digest],
            &["1", "-1", &digest],
            &["1", "1", "0f"],
            &["1", "1", &"zz".repeat(32)],
        ] {
            assert_eq!(Head::parse(words), None, "{words:?}");
        }
    }
}
