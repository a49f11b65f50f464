//! One line of a journal, read. Hosts wrote it: nothing of it is trusted, and no line is a mistake of the reader. Pure.

use serde::Deserialize;

use crate::probe::{Head, journal_check};

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Something begins.
    Began(Said),
    /// It ended, with this status; -1 stands for a script that took too long.
    Ended(Said, i64),
    /// All up to here is sealed.
    Seal {
        /// Seconds since the epoch.
        time: i64,
        /// What is sealed.
        head: Head,
    },
    /// Nothing: programs begin with one.
    Blank,
    /// A line of which the checksum is another: it was written otherwise.
    Altered,
    /// No line of a journal: one that was cut off while it was written, or that somebody else wrote.
    Garbled,
}

/// What is said of something that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Seconds since the epoch, by the host's clock.
    pub time: i64,
    /// Name of the run.
    pub run: String,
    /// `user@machine`.
    pub by: String,
    /// Number among the entries of this run on this host.
    pub number: u32,
    /// Label of the step.
    pub step: String,
    /// Key of the step.
    pub key: String,
    /// Verdict for which it ran.
    pub before: String,
}

#[derive(Deserialize)]
struct Written {
    event: String,
    time: String,
    run: String,
    by: String,
    n: u32,
    step: String,
    key: String,
    before: String,
    status: Option<i64>,
    check: i64,
}

#[derive(Deserialize)]
struct WrittenSeal {
    time: String,
    file: String,
    bytes: u64,
    sha256: String,
}

impl Line {
    /// Reads a line without its line break.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::Blank;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return Self::Garbled;
        };
        if text.starts_with("{\"event\":\"seal\",") {
            return seal(text).unwrap_or(Self::Garbled);
        }
        let Ok(written) = serde_json::from_str::<Written>(text) else {
            return Self::Garbled;
        };
        let (Some(time), Some(fields)) = (seconds(&written.time), fields(text, &written)) else {
            return Self::Altered;
        };
        let status = written.status.unwrap_or(0);
        let is = (-1000..=1000).contains(&status)
            && journal_check(&written.event, fields, time, status) == written.check;
        let said = Said {
            time,
            run: written.run,
            by: written.by,
            number: written.n,
            step: written.step,
            key: written.key,
            before: written.before,
        };
        match (is, written.event.as_str(), written.status) {
            (true, "began", None) => Self::Began(said),
            (true, "ended", Some(status)) => Self::Ended(said, status),
            _ => Self::Altered,
        }
    }

    /// Returns when it was written, by the host's clock, if it says so.
    #[must_use]
    pub fn time(&self) -> Option<i64> {
        match self {
            Self::Began(said) | Self::Ended(said, _) => Some(said.time),
            Self::Seal { time, .. } => Some(*time),
            Self::Blank | Self::Altered | Self::Garbled => None,
        }
    }
}

fn seal(text: &str) -> Option<Line> {
    let seal: WrittenSeal = serde_json::from_str(text).ok()?;
    let digits = seal.sha256.len() == 64 && seal.sha256.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then_some(())?;
    Some(Line::Seal {
        time: seconds(&seal.time)?,
        head: Head {
            file: number(&seal.file)?,
            bytes: seal.bytes,
            sha256: seal.sha256,
        },
    })
}

/// Returns the number that a file is named by: six digits.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    (name.len() == 6 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

/// Returns what stands between a line's time and its status or checksum, if all else of it is as it is written.
fn fields<'t>(text: &'t str, written: &Written) -> Option<&'t str> {
    let status = written
        .status
        .map(|status| format!(",\"status\":{status}"))
        .unwrap_or_default();
    text.strip_prefix(&format!(
        "{{\"event\":\"{}\",\"time\":\"{}\",",
        written.event, written.time
    ))?
    .strip_suffix(&format!("{status},\"check\":{}}}", written.check))
}

fn seconds(time: &str) -> Option<i64> {
    let at = (time.len() == 20).then(|| time.parse::<jiff::Timestamp>().ok())??;
    Some(at.as_second())
}
