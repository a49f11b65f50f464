//! The wording that reports share. Does not know where it is shown.

use super::paint::Paint;
use super::picture::Picture;
use crate::event::{
    Counts, Final, Reason, RolloutMoved, RolloutState, StepFinished, Summary, Verdicts, What,
};
use crate::terminal::one_line;

/// Returns a span of time as people say it: `0.4s`, `12.3s`, `1m 04s`, `2h 05m`.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns `1 host`, `2 hosts`.
#[must_use]
pub fn count(number: u32, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {one}{s}")
}

/// Returns one reason in words.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    one_line(&reason.to_string()).into_owned()
}

/// Returns the most telling reason, and how many more there are.
#[must_use]
pub fn reasons(all: &[Reason]) -> String {
    match all {
        [] => String::new(),
        [only] => reason(only),
        [first, more @ ..] => format!("{} (and {} more)", reason(first), more.len()),
    }
}

/// Returns counts as `12 ran, 43 satisfied, 0 failed`: what is always worth saying, and what else there is.
#[must_use]
pub fn counts(counts: &Counts, paint: Paint) -> String {
    let parts: Vec<String> = Final::ALL
        .iter()
        .filter(|state| {
            matches!(state, Final::Ran | Final::Satisfied | Final::Failed) || counts.of(**state) > 0
        })
        .map(|state| {
            let text = format!("{} {state}", counts.of(*state));
            match state {
                _ if counts.of(*state) == 0 => text,
                Final::Ran => paint.good(&text),
                Final::Failed | Final::Unreachable => paint.bad(&text),
                Final::Blocked | Final::Interrupted | Final::Skipped => paint.warn(&text),
                Final::Satisfied => text,
            }
        })
        .collect();
    parts.join(", ")
}

/// Returns the sentence that ends a run, and the longest path below it.
#[must_use]
pub fn summary(summary: &Summary, paint: Paint) -> Vec<String> {
    let mut text = format!("{} in {}", counts(&summary.counts, paint), span(summary.ms));
    let execs = summary.execs.values();
    match (execs.clone().min(), execs.max()) {
        (Some(least), Some(most)) if least == most => {
            text.push_str(&format!("; {} per host", count(*most, "exec")));
        }
        (Some(least), Some(most)) => {
            text.push_str(&format!("; {least} to {} per host", count(*most, "exec")));
        }
        _ => {}
    }
    let mut lines = vec![text];
    if !summary.longest.is_empty() {
        let labels: Vec<&str> = summary
            .longest
            .iter()
            .map(|step| step.label.as_str())
            .collect();
        // A long chain is told by its ends.
        let chain = match labels.as_slice() {
            [first, second, .., before, last] if labels.len() > 6 => {
                format!(
                    "{first} → {second} → … {} more … → {before} → {last}",
                    labels.len() - 4
                )
            }
            _ => labels.join(" → "),
        };
        let ms = summary.longest.iter().map(|step| step.ms).sum();
        lines.push(paint.dim(&format!("longest path {}: {chain}", span(ms))));
    }
    lines
}

/// Returns what went wrong in one line.
#[must_use]
pub fn trouble(step: &StepFinished) -> String {
    let Some(trouble) = &step.trouble else {
        return match step.state {
            Final::Interrupted => "stopped in the middle".to_owned(),
            _ => reasons(&step.reasons),
        };
    };
    let first = trouble.message.lines().next().unwrap_or_default();
    match trouble.found.as_slice() {
        [] => first.to_owned(),
        found => format!("{first}: {}", reasons(found)),
    }
}

/// Returns the line for a step that was worked on, or `None` for one that was not.
#[must_use]
pub fn finished(step: &StepFinished, picture: &Picture, paint: Paint) -> Option<String> {
    let label = format!("{:width$}", step.label, width = picture.widest.min(60));
    let time = format!("{:>7}", span(step.ms));
    let tries = if step.attempts > 1 {
        format!(" ({} attempts)", step.attempts)
    } else {
        String::new()
    };
    let (mark, why) = match step.state {
        Final::Ran => (
            paint.good("✓ ran        "),
            paint.dim(&reasons(&step.reasons)),
        ),
        Final::Failed => (paint.bad("✗ failed     "), trouble(step)),
        Final::Unreachable => (paint.bad("✗ unreachable"), trouble(step)),
        Final::Interrupted => (paint.warn("! interrupted"), trouble(step)),
        // Decided afresh during the run, and nothing to do after all.
        Final::Satisfied if step.round_trips > 0 => (paint.good("✓ satisfied  "), String::new()),
        Final::Satisfied | Final::Blocked | Final::Skipped => return None,
    };
    Some(
        format!("{mark} {label} {time}  {why}{tries}")
            .trim_end()
            .to_owned(),
    )
}

/// Returns the line that stays on the screen or in the log for something that happened, if it is worth one.
#[must_use]
pub fn passing(what: &What, picture: &Picture, paint: Paint) -> Option<String> {
    match what {
        What::StepFinished(step) => finished(step, picture, paint),
        What::HostUnreachable(host) => Some(format!(
            "{} {}  {}",
            paint.bad("✗ unreachable"),
            host.host,
            host.message.lines().next().unwrap_or_default()
        )),
        What::Planned(planned) => Some(plan(&planned.verdicts, picture)),
        What::LockWaiting(waiting) => Some(format!(
            "{} for the lock on {}: {}; its lease ends in {} s unless renewed",
            paint.warn("waiting"),
            waiting.host,
            waiting.holder,
            waiting.lease_s
        )),
        What::LockTaken {
            host,
            from: Some(from),
        } => Some(format!(
            "{} took the lock on {host} over: {from}",
            paint.warn("note:")
        )),
        What::StepRetrying {
            label,
            attempt,
            after_ms,
            error,
        } => Some(format!(
            "{} {label}: attempt {attempt} in {}, after: {}",
            paint.warn("↻ retrying   "),
            span(*after_ms),
            error.lines().next().unwrap_or_default()
        )),
        What::Rollout(moved) => Some(rollout(moved, paint)),
        What::Note { text } => Some(format!("{} {}", paint.hint("note:"), one_line(text))),
        What::Warning { text } => Some(format!("{} {}", paint.warn("warning:"), one_line(text))),
        What::Interrupted { now: false } => Some(paint.warn(
            "interrupted: running steps may end, nothing new starts; Ctrl-C again stops them",
        )),
        What::Interrupted { now: true } => {
            Some(paint.warn("interrupted again: stopping what runs"))
        }
        What::RunStarted(_)
        | What::HostProbed(_)
        | What::StepPlanned(_)
        | What::LockTaken { from: None, .. }
        | What::StepStarted { .. }
        | What::StepSays { .. }
        | What::RunFinished(_)
        | What::Unknown => None,
    }
}

/// Returns how a component moves over its hosts.
fn rollout(moved: &RolloutMoved, paint: Paint) -> String {
    let name = &moved.component;
    let batch = if moved.canary {
        "the canary".to_owned()
    } else {
        format!("batch {} of {}", moved.batch, moved.batches)
    };
    match moved.state {
        RolloutState::Began => format!(
            "{} {name}: {batch}, {}",
            paint.hint("» rollout    "),
            count(moved.hosts, "host")
        ),
        RolloutState::Checking => {
            let soak = match moved.soak_ms {
                0 => String::new(),
                ms => format!(" in {}", span(ms)),
            };
            format!(
                "{} {name}: {batch} is done, and is looked at{soak}",
                paint.hint("» rollout    ")
            )
        }
        RolloutState::Stopped => format!(
            "{} {name}: no further host begins: {}",
            paint.bad("✗ rollout    "),
            moved.why.as_deref().unwrap_or_default()
        ),
    }
}

/// Returns what the plan comes to: `12 steps to run, 3 maybe, 43 satisfied on 3 hosts, probed in 0.4s`.
fn plan(verdicts: &Verdicts, picture: &Picture) -> String {
    let mut parts = vec![format!("{} to run", count(verdicts.will_run(), "step"))];
    for (number, word) in [
        (verdicts.maybe, "maybe"),
        (verdicts.blocked, "blocked"),
        (verdicts.satisfied, "satisfied"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    let hosts = picture.planned.as_ref().map_or(0, |planned| planned.hosts);
    format!(
        "{} on {}, probed in {}",
        parts.join(", "),
        count(hosts, "host"),
        span(picture.probe_ms)
    )
}

/// Returns a line that says that the run is alive at `now_ms`, and what it is at.
#[must_use]
pub fn sign_of_life(picture: &Picture, now_ms: u64) -> String {
    let running = u32::try_from(picture.running.len()).unwrap_or(u32::MAX);
    let longest = picture
        .running
        .first()
        .map_or_else(String::new, |(label, step)| {
            format!(
                ", longest {label} for {}",
                span(now_ms.saturating_sub(step.since))
            )
        });
    format!(
        "… {}/{} steps done, {running} running{longest}",
        picture.counts.ended(),
        picture.total()
    )
}
