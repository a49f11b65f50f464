//! Reading logs of runs back. Does not know who asks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::picture::Picture;
use crate::event::{BadRunId, Event, RunId, RunStarted, Summary, What};

const SUFFIX: &str = ".jsonl";

/// Why a log can't be read back.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder or file can't be read.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is no event.
    #[error("{}:{line}: no event: {error}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        error: serde_json::Error,
    },
    /// There is no such run.
    #[error("no run `{wanted}` among the {known} that are kept")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// How many there are.
        known: usize,
    },
    /// Several runs fit.
    #[error("`{wanted}` fits several runs: {}", ids.join(", "))]
    Several {
        /// What was asked for.
        wanted: String,
        /// Those that fit.
        ids: Vec<String>,
    },
    /// There are no runs at all.
    #[error("no run is on record yet")]
    None,
}

/// How a run went as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Every step is as wanted.
    Done,
    /// Some step is not.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// It never began: the lock was held, say.
    Refused,
    /// No end is on record: it is still under way, or was killed.
    Unfinished,
}

impl Fate {
    /// Returns the fate that `summary` tells.
    #[must_use]
    pub fn of(summary: Option<&Summary>) -> Self {
        match summary {
            None => Self::Unfinished,
            Some(summary) if summary.refused.is_some() => Self::Refused,
            Some(summary) if summary.interrupted => Self::Interrupted,
            Some(summary) if summary.counts.all_done() => Self::Done,
            Some(_) => Self::Failed,
        }
    }

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A run in a listing: its beginning and its end.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// How it began.
    pub run: RunStarted,
    /// How it went.
    pub fate: Fate,
    /// How it ended, if it did.
    pub summary: Option<Summary>,
}

/// The whole record of a run.
#[derive(Debug, Clone)]
pub struct Record {
    /// Every event, in order.
    pub events: Vec<Event>,
    /// All of them folded.
    pub picture: Picture,
}

impl Record {
    /// Reads the log of `run` in `folder`.
    ///
    /// # Errors
    /// When it can't be read, or a line other than the last (which a kill may have cut off) is no event.
    pub fn read(folder: &Path, run: &RunId) -> Result<Self, RecordError> {
        Self::read_file(&path(folder, run))
    }

    /// Reads the log at `path`, or any file of events.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_file(path: &Path) -> Result<Self, RecordError> {
        let path = path.to_owned();
        let text = fs::read_to_string(&path).map_err(|error| RecordError::Read {
            path: path.clone(),
            error,
        })?;
        let mut events = Vec::new();
        let mut picture = Picture::default();
        for (at, line) in text.lines().enumerate() {
            match serde_json::from_str::<Event>(line) {
                Ok(event) => {
                    picture.fold(&event);
                    events.push(event);
                }
                Err(_) if at + 1 == text.lines().count() && !text.ends_with('\n') => {}
                Err(error) => {
                    return Err(RecordError::Line {
                        path,
                        line: at + 1,
                        error,
                    });
                }
            }
        }
        Ok(Self { events, picture })
    }
}

/// Returns the runs on record in `folder`, oldest first. A log that can't be read is left out.
///
/// # Errors
/// When the folder can't be read; that it is not there is no error.
pub fn list(folder: &Path) -> Result<Vec<Entry>, RecordError> {
    let ids = ids(folder).map_err(|error| RecordError::Read {
        path: folder.to_owned(),
        error,
    })?;
    Ok(ids
        .iter()
        .filter_map(|run| entry(&path(folder, run)))
        .collect())
}

/// Returns the run that `wanted` names: its id, the beginning or end of one, or the latest for `None`.
///
/// # Errors
/// When there is none, or several fit.
pub fn find(folder: &Path, wanted: Option<&str>) -> Result<RunId, RecordError> {
    let ids = ids(folder).map_err(|error| RecordError::Read {
        path: folder.to_owned(),
        error,
    })?;
    let Some(wanted) = wanted else {
        return ids.last().cloned().ok_or(RecordError::None);
    };
    let fits = |id: &&RunId| id.as_str().starts_with(wanted) || id.as_str().ends_with(wanted);
    let fitting: Vec<&RunId> = ids.iter().filter(fits).collect();
    match fitting.as_slice() {
        [] => Err(RecordError::Unknown {
            wanted: wanted.to_owned(),
            known: ids.len(),
        }),
        [one] => Ok((*one).clone()),
        several => Err(RecordError::Several {
            wanted: wanted.to_owned(),
            ids: several.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Returns the ids of the runs in `folder`, oldest first.
pub(super) fn ids(folder: &Path) -> io::Result<Vec<RunId>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .map(str::parse::<RunId>);
        ids.extend(id.and_then(Result::<RunId, BadRunId>::ok));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Returns where the log of `run` is.
pub(super) fn path(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(format!("{run}{SUFFIX}"))
}

/// Reads only the first and the last line.
fn entry(path: &Path) -> Option<Entry> {
    let text = fs::read_to_string(path).ok()?;
    let event = |line: &str| {
        serde_json::from_str::<Event>(line)
            .ok()
            .map(|event| event.what)
    };
    let Some(What::RunStarted(run)) = event(text.lines().next()?) else {
        return None;
    };
    let summary = match event(text.lines().next_back()?) {
        Some(What::RunFinished(summary)) => Some(summary),
        _ => None,
    };
    Some(Entry {
        run,
        fate: Fate::of(summary.as_ref()),
        summary,
    })
}
