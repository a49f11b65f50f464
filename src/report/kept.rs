//! Reports that are written as one file once the run is over. Keeps the events until then, and does not know who asked
//! for the file.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use super::driver::Report;
use super::junit::junit;
use super::merge::Merged;
use super::timings::timings;
use super::trace::trace;
use crate::event::Event;

/// Kinds of reports in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JUnit XML.
    Junit,
    /// All events, a line of JSON each.
    Events,
    /// The run as one JSON object.
    Json,
    /// Chrome's trace format.
    Trace,
    /// One HTML page.
    Timings,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Junit,
        Self::Events,
        Self::Json,
        Self::Trace,
        Self::Timings,
    ];

    /// Returns its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Junit => "junit",
            Self::Events => "events",
            Self::Json => "json",
            Self::Trace => "trace",
            Self::Timings => "timings",
        }
    }

    /// Returns the report of `merged` as text; that of events is the events themselves.
    ///
    /// # Errors
    /// When something has no written form, which no event is without.
    pub fn write(self, merged: &Merged, events: &[Event]) -> Result<String, serde_json::Error> {
        match self {
            Self::Junit => Ok(junit(&merged.outcomes, &merged.groups, merged.ms)),
            Self::Timings => Ok(timings(merged)),
            Self::Trace => serde_json::to_string(&trace(&merged.outcomes)),
            Self::Json => serde_json::to_string_pretty(merged).map(|text| text + "\n"),
            Self::Events => {
                let mut text = String::new();
                for event in events {
                    text.push_str(&serde_json::to_string(event)?);
                    text.push('\n');
                }
                Ok(text)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.word() == text)
            .ok_or_else(|| {
                let all = Self::ALL.map(Self::word).join(", ");
                format!("there is no report `{text}`: one of {all}")
            })
    }
}

/// Keeps a run's events and writes reports of them at its end.
pub struct Kept {
    files: Vec<(Kind, PathBuf)>,
    events: Vec<Event>,
}

impl Kept {
    /// Will write these files.
    #[must_use]
    pub fn new(files: Vec<(Kind, PathBuf)>) -> Self {
        Self {
            files,
            events: Vec::new(),
        }
    }
}

impl Report for Kept {
    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
    }

    fn is_asked_for(&self) -> bool {
        true
    }

    fn finish(&mut self) -> Option<String> {
        let merged = Merged::of([self.events.as_slice()]);
        let mut troubles = Vec::new();
        for (kind, path) in &self.files {
            let written = kind
                .write(&merged, &self.events)
                .map_err(|error| error.to_string())
                .and_then(|text| fs::write(path, text).map_err(|error| error.to_string()));
            if let Err(error) = written {
                troubles.push(format!(
                    "can't write the report {}: {error}",
                    path.display()
                ));
            }
        }
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_kind_is_written_and_what_can_not_be_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut files: Vec<(Kind, PathBuf)> = Kind::ALL
            .into_iter()
            .map(|kind| (kind, folder.path().join(kind.word())))
            .collect();
        files.push((Kind::Json, folder.path().join("no/such/folder")));
        let mut kept = Kept::new(files);
        fixture::run().iter().for_each(|event| kept.event(event));
        let trouble = kept.finish().unwrap();
        assert!(trouble.contains("no/such/folder"), "{trouble}");
        for kind in Kind::ALL {
            let text = fs::read_to_string(folder.path().join(kind.word())).unwrap();
            assert!(
                text.contains("demo:service") || text.contains("name=\"service on demo\""),
                "{kind}"
            );
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("xml".parse::<Kind>().is_err());
    }
}
