//! The thread that owns a run's reports and hands them events. Does not know what they do with them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::event::Event;

/// How often reports get to redraw: five times a second.
const TICK: Duration = Duration::from_millis(200);

/// Reads the events of one run, in order.
pub trait Report: Send {
    /// Takes one event.
    fn event(&mut self, event: &Event);

    /// Gets its turn about five times a second, whether or not anything happened.
    fn tick(&mut self) {}

    /// Takes itself off the terminal, because somebody else is about to use it.
    fn pause(&mut self) {}

    /// Comes back to the terminal.
    fn resume(&mut self) {}

    /// Returns whether the user asked for it by name, so that a run whose report is missing has not ended well.
    fn is_asked_for(&self) -> bool {
        false
    }

    /// Ends: no more events come. Returns what is wrong with the report itself, if something is.
    fn finish(&mut self) -> Option<String> {
        None
    }
}

/// What is wrong with a report itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// In words.
    pub message: String,
    /// Whether the user asked for the report by name.
    pub asked_for: bool,
}

/// Where whoever makes events puts them. Never waits.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

enum Message {
    Event(Box<Event>),
    Pause {
        paused: Sender<()>,
        resume: Receiver<()>,
    },
    Finish,
}

/// The reports of a run, on a thread of their own.
pub struct Reporter {
    sender: Sender<Message>,
    thread: JoinHandle<Vec<Defect>>,
}

impl Reporter {
    /// Starts `reports`.
    #[must_use]
    pub fn start(reports: Vec<Box<dyn Report>>) -> Self {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || drive(reports, &receiver));
        Self { sender, thread }
    }

    /// Returns where events go in. Events after [`Self::finish`] are lost.
    #[must_use]
    pub fn sink(&self) -> Sink {
        let sender = self.sender.clone();
        Arc::new(move |event| {
            // Nobody listens any more: the run goes on all the same.
            let _ = sender.send(Message::Event(Box::new(event)));
        })
    }

    /// Returns the way to get the terminal for oneself.
    #[must_use]
    pub fn pauser(&self) -> Pause {
        Pause(self.sender.clone())
    }

    /// Waits until everything sent so far is drawn, ends the reports and returns what was wrong with any of them.
    #[must_use]
    pub fn finish(self) -> Vec<Defect> {
        let _ = self.sender.send(Message::Finish);
        self.thread.join().unwrap_or_else(|_| {
            vec![Defect {
                message: "a report broke off".to_owned(),
                asked_for: true,
            }]
        })
    }
}

/// Gets the terminal for oneself, to ask a question say.
#[derive(Clone)]
pub struct Pause(Sender<Message>);

impl Pause {
    /// Runs `work` while all reports are off the terminal.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let (paused, wait) = channel();
        let (_resume_on_drop, resume) = channel();
        if self.0.send(Message::Pause { paused, resume }).is_ok() {
            // An error means that the reports have ended, which leaves the terminal free too.
            let _ = wait.recv();
        }
        work()
    }
}

fn drive(mut reports: Vec<Box<dyn Report>>, messages: &Receiver<Message>) -> Vec<Defect> {
    let mut ticked = Instant::now();
    loop {
        // However fast events come, reports get their turn.
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            reports.iter_mut().for_each(|report| report.tick());
        }
        match messages.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
            Ok(Message::Event(event)) => reports.iter_mut().for_each(|report| report.event(&event)),
            Ok(Message::Pause { paused, resume }) => {
                reports.iter_mut().for_each(|report| report.pause());
                let _ = paused.send(());
                // Ends when the other half is dropped.
                let _ = resume.recv();
                reports.iter_mut().for_each(|report| report.resume());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => {
                return reports
                    .iter_mut()
                    .filter_map(|report| {
                        let message = report.finish()?;
                        let asked_for = report.is_asked_for();
                        Some(Defect { message, asked_for })
                    })
                    .collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::event::What;

    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, text: impl Into<String>) {
            self.0.lock().unwrap().push(text.into());
        }
    }

    impl Report for Notes {
        fn event(&mut self, event: &Event) {
            self.note(event.ms.to_string());
        }
        fn pause(&mut self) {
            self.note("pause");
        }
        fn resume(&mut self) {
            self.note("resume");
        }
        fn finish(&mut self) -> Option<String> {
            self.note("finish");
            Some("full disk".to_owned())
        }
    }

    #[test]
    fn events_come_in_order_and_a_pause_keeps_them_back() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::start(vec![Box::new(Notes(Arc::clone(&notes)))]);
        let sink = reporter.sink();
        let say = |ms| {
            sink(Event {
                ms,
                what: What::Interrupted { now: false },
            });
        };
        say(1);
        reporter.pauser().during(|| {
            say(2);
            assert_eq!(*notes.lock().unwrap(), ["1", "pause"]);
        });
        say(3);
        let defects = reporter.finish();
        assert_eq!(defects[0].message, "full disk");
        assert!(!defects[0].asked_for);
        assert_eq!(
            *notes.lock().unwrap(),
            ["1", "pause", "resume", "2", "3", "finish"]
        );
        // After the end nobody is held up.
        say(4);
    }
}
