//! Lines of a journal → what was done: a beginning and its end are one entry. Pure.

use std::collections::HashMap;

use serde::Serialize;

use super::chain::JournalFile;
use super::line::{Line, Said};

/// Something that was done to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Number of the file that it begins in.
    pub file: u32,
    /// Line, from 1.
    pub line: usize,
    /// What is said of it.
    pub said: Said,
    /// Seconds that it took, if its end is there.
    pub took: Option<i64>,
    /// How it ended.
    pub result: Result,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "status", rename_all = "kebab-case")]
pub enum Result {
    /// Its script ended well.
    Done,
    /// Its script ended with this status.
    Failed(i64),
    /// It was stopped since it took too long.
    TimedOut,
    /// No end is noted: it is at work, or was cut off.
    NoEnd,
}

impl Result {
    fn of(status: i64) -> Self {
        match status {
            0 => Self::Done,
            -1 => Self::TimedOut,
            status => Self::Failed(status),
        }
    }
}

/// Returns what the files of one host's journal tell, in the order of the beginnings. Lines that can't be read tell
/// nothing.
#[must_use]
pub fn entries(files: &[JournalFile]) -> Vec<Done> {
    let mut entries: Vec<Done> = Vec::new();
    let mut open: HashMap<(String, u32), usize> = HashMap::new();
    for file in files {
        for (at, text) in file.content.split(|byte| *byte == b'\n').enumerate() {
            let (said, status) = match Line::read(text) {
                Line::Began(said) => (said, None),
                Line::Ended(said, status) => (said, Some(status)),
                _ => continue,
            };
            let id = (said.run.clone(), said.number);
            let new = |said: Said, result| Done {
                file: file.number,
                line: at + 1,
                said,
                took: None,
                result,
            };
            match (status, open.remove(&id)) {
                (None, _) => {
                    open.insert(id, entries.len());
                    entries.push(new(said, Result::NoEnd));
                }
                (Some(status), Some(begun)) => {
                    if let Some(entry) = entries.get_mut(begun) {
                        entry.took = Some(said.time - entry.said.time);
                        entry.result = Result::of(status);
                    }
                }
                // Its beginning is in a file that was dropped.
                (Some(status), None) => entries.push(new(said, Result::of(status))),
            }
        }
    }
    entries
}
