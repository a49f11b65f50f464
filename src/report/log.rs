//! The log of a run: every event, in a file of the user's own. A record for people; nothing is ever decided by it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::driver::Report;
use super::lines::Lines;
use super::record;
use crate::event::{Event, RunId, What};
use crate::secret::private;

/// Runs that are kept.
const KEPT: usize = 100;

/// Writes `<run id>.jsonl`, readable by its owner alone, into a folder, and drops the oldest logs there.
pub struct EventLog {
    folder: PathBuf,
    lines: Option<Lines<File>>,
    trouble: Option<String>,
}

impl EventLog {
    /// Will write into `folder`, which is made if it is not there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            lines: None,
            trouble: None,
        }
    }

    fn open(&mut self, run: &RunId) {
        match create(&self.folder, run) {
            Ok(file) => self.lines = Some(Lines::new(file)),
            Err(error) => {
                self.trouble = Some(format!(
                    "can't keep a log of this run in {}: {error}",
                    self.folder.display()
                ));
            }
        }
    }
}

impl Report for EventLog {
    fn event(&mut self, event: &Event) {
        if let What::RunStarted(started) = &event.what {
            self.open(&started.run);
        }
        if let Some(lines) = &mut self.lines {
            lines.event(event);
        }
    }

    fn finish(&mut self) -> Option<String> {
        self.trouble
            .take()
            .or_else(|| self.lines.as_mut().and_then(Report::finish))
    }
}

fn create(folder: &Path, run: &RunId) -> io::Result<File> {
    private::create_dir(folder)?;
    let ids = record::ids(folder)?;
    for old in ids.iter().rev().skip(KEPT - 1) {
        fs::remove_file(record::path(folder, old))?;
    }
    private::options()
        .write(true)
        .create_new(true)
        .open(record::path(folder, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunStarted;

    fn started(run: &RunId) -> Event {
        let run = RunStarted {
            version: crate::event::VERSION,
            run: run.clone(),
            stack: "lab".to_owned(),
            command: "foundry build stack".to_owned(),
            started: "2026-11-22T20:14:55Z".to_owned(),
            hosts: 3,
            foundry: "0.1.0".to_owned(),
            shard: None,
            generation: None,
        };
        Event {
            ms: 0,
            what: What::RunStarted(run),
        }
    }

    #[test]
    fn it_keeps_the_last_hundred_and_is_its_owners_alone() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("runs");
        for salt in 0..103 {
            let run = RunId::new("20261122-201455", salt).unwrap();
            let mut log = EventLog::new(folder.clone());
            log.event(&started(&run));
            assert_eq!(log.finish(), None);
        }
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        let ids = record::ids(&folder).unwrap();
        assert_eq!(ids.len(), 100);
        assert_eq!(ids[0].as_str(), "20261122-201455-0003");
        assert!(folder.join("notes.txt").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(&folder), 0o700);
            assert_eq!(mode(&record::path(&folder, &ids[0])), 0o600);
        }
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_said_at_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = EventLog::new(file.path().join("runs"));
        let event = started(&RunId::new("20261122-201455", 1).unwrap());
        log.event(&event);
        log.event(&event);
        assert!(
            log.finish()
                .unwrap()
                .contains("can't keep a log of this run in")
        );
    }
}
