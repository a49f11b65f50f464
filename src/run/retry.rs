//! How long to wait before a step is tried again. Does not know what is tried.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::writer::StepError;
use crate::probe::AccessKind;

/// How often a lost or refused connection is tried again: with these delays for about a minute, enough for sshd to
/// restart or a small machine to boot.
const CONNECTIONS: usize = 6;

/// The first delay; each further one is twice as long, plus jitter of up to as much again.
const FIRST: Duration = Duration::from_secs(1);

/// The longest delay, jitter left out.
const LONGEST: Duration = Duration::from_secs(20);

/// What is left of a step's chances.
#[derive(Debug)]
pub struct Chances {
    connections: ExponentialBackoff,
    scripts: ExponentialBackoff,
    scripts_left: u32,
}

impl Chances {
    /// Starts with what a task grants: `tries` in all for its script or action.
    #[must_use]
    pub fn new(tries: u32) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_jitter();
        Self {
            connections: delays.with_max_times(CONNECTIONS).build(),
            scripts: delays.without_max_times().build(),
            scripts_left: tries.saturating_sub(1),
        }
    }

    /// Returns how long to wait before the next attempt after one that ended with `error`, or `None` when that was the
    /// last. `not_yet`: what was asked does not answer yet.
    pub fn next(&mut self, error: &StepError, not_yet: bool) -> Option<Duration> {
        match error {
            StepError::Access(error) if error.kind.is_transient() => self.connections.next(),
            _ if not_yet => self.connections.next(),
            StepError::Interrupted => None,
            // Neither a wrong key nor a refused login is mended by asking again.
            StepError::Access(error) if error.kind != AccessKind::Deadline => None,
            StepError::Access(_)
            | StepError::Failed { .. }
            | StepError::NotAsWanted(_)
            | StepError::Deadline(_) => {
                self.scripts_left = self.scripts_left.checked_sub(1)?;
                self.scripts.next()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::AccessError;

    fn access(kind: AccessKind) -> StepError {
        StepError::Access(AccessError {
            host: "a".into(),
            kind,
            message: "gone".to_owned(),
            hint: None,
        })
    }

    fn script() -> StepError {
        StepError::Failed {
            message: "no".to_owned(),
            output: String::new(),
            hint: None,
            status: Some(1),
        }
    }

    fn attempts(tries: u32, error: &StepError, not_yet: bool) -> usize {
        let mut chances = Chances::new(tries);
        1 + std::iter::from_fn(|| chances.next(error, not_yet)).count()
    }

    #[test]
    fn connections_are_tried_again_and_scripts_only_if_their_task_says_so() {
        for (tries, error, not_yet, wanted) in [
            (1, access(AccessKind::Lost), false, 7),
            (1, access(AccessKind::Unreachable), false, 7),
            (3, access(AccessKind::HostKey), false, 1),
            (3, access(AccessKind::Auth), false, 1),
            (1, script(), false, 1),
            (0, script(), false, 1),
            (3, script(), false, 3),
            (1, script(), true, 7),
            (2, StepError::NotAsWanted(String::new()), false, 2),
            (2, StepError::Deadline(FIRST), false, 2),
            (9, StepError::Interrupted, false, 1),
        ] {
            assert_eq!(
                attempts(tries, &error, not_yet),
                wanted,
                "{tries} {error:?}"
            );
        }
    }

    #[test]
    fn delays_grow_up_to_a_limit() {
        let mut chances = Chances::new(1);
        let error = access(AccessKind::Lost);
        let delays: Vec<Duration> = std::iter::from_fn(|| chances.next(&error, false)).collect();
        assert!(delays[0] >= FIRST && delays[0] <= FIRST * 2, "{delays:?}");
        assert!(
            delays.iter().all(|delay| *delay <= LONGEST * 2),
            "{delays:?}"
        );
        assert!(
            delays.iter().sum::<Duration>() >= Duration::from_secs(40),
            "{delays:?}"
        );
    }
}
