//! What is said at the end of a run: a block for each failure, then one sentence. Pure text.

use super::paint::Paint;
use super::picture::{Blocked, Picture};
use super::words;
use crate::event::{Final, StepFinished};

/// Lines of a step's output shown at the end of a run; `foundry run failed` shows all that was kept.
const OUTPUT_LINES: usize = 12;

/// Returns the lines that end a run.
#[must_use]
pub fn closing(picture: &Picture, paint: Paint) -> Vec<String> {
    let mut lines = failures(picture, Some(OUTPUT_LINES), paint);
    let Some(summary) = &picture.summary else {
        lines.push(format!(
            "{} the run broke off after {}",
            paint.bad("error:"),
            words::span(picture.ms)
        ));
        return lines;
    };
    if !lines.is_empty() {
        lines.push(String::new());
    }
    if let Some(refused) = &summary.refused {
        let mut words = refused.lines();
        let first = words.next().unwrap_or_default();
        lines.push(format!("{} {first}", paint.bad("error:")));
        lines.extend(words.map(|line| format!("  {line}")));
        return lines;
    }
    for rollout in &summary.rollouts {
        if let Some(why) = &rollout.stopped {
            lines.push(format!(
                "{} {}: {why}; {} done, {} not touched",
                paint.bad("✗ rollout stopped"),
                paint.strong(&rollout.component),
                rollout.hosts.done,
                words::count(rollout.hosts.untouched, "host"),
            ));
        }
    }
    lines.extend(words::summary(summary, paint));
    let id = &summary.run;
    if !picture.troubles.is_empty() || !picture.out_of_reach.is_empty() {
        lines.push(format!(
            "{} {} shows each in full",
            paint.hint("hint:"),
            paint.hint(&format!("foundry run failed {id}"))
        ));
    } else if summary.interrupted {
        lines.push(format!(
            "{} run it again to go on where it stopped",
            paint.hint("hint:")
        ));
    }
    lines
}

/// Returns a block of lines for each failed step and each host that was out of reach; `output` limits the lines of
/// output of each.
#[must_use]
pub fn failures(picture: &Picture, output: Option<usize>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for host in &picture.unreachable {
        let steps = picture
            .out_of_reach
            .get(&host.host)
            .copied()
            .unwrap_or_default();
        lines.push(String::new());
        lines.push(format!(
            "{} {}",
            paint.bad("✗ unreachable"),
            paint.strong(&host.host)
        ));
        block(&mut lines, "why", host.message.lines(), paint);
        block(
            &mut lines,
            "so",
            std::iter::once(format!("{} not done there", words::count(steps, "step")).as_str()),
            paint,
        );
        if let Some(hint) = &host.hint {
            block(&mut lines, "next", hint.lines(), paint);
        }
    }
    for step in &picture.troubles {
        failure(
            &mut lines,
            step,
            picture.blocked.get(&step.label),
            output,
            paint,
        );
    }
    lines
}

fn failure(
    lines: &mut Vec<String>,
    step: &StepFinished,
    blocked: Option<&Blocked>,
    limit: Option<usize>,
    paint: Paint,
) {
    lines.push(String::new());
    let mark = match step.state {
        Final::Interrupted => paint.warn("! interrupted"),
        state => paint.bad(&format!("✗ {state}")),
    };
    let attempts = if step.attempts > 1 {
        format!(", {} attempts", step.attempts)
    } else {
        String::new()
    };
    lines.push(format!(
        "{mark} {} {}",
        paint.strong(&step.label),
        paint.dim(&format!("after {}{attempts}", words::span(step.ms)))
    ));
    if let Some(host) = &step.host {
        block(lines, "where", std::iter::once(host.as_str()), paint);
    }
    if !step.reasons.is_empty() {
        let was: Vec<String> = step.reasons.iter().map(words::reason).collect();
        block(lines, "to do", was.iter().map(String::as_str), paint);
    }
    match &step.trouble {
        None => block(
            lines,
            "why",
            std::iter::once(words::trouble(step).as_str()),
            paint,
        ),
        Some(trouble) => {
            let status = trouble.status.map(|status| format!("exit status {status}"));
            let found: Vec<String> = trouble.found.iter().map(words::reason).collect();
            block(
                lines,
                "why",
                trouble
                    .message
                    .lines()
                    .chain(found.iter().map(String::as_str))
                    .chain(status.as_deref()),
                paint,
            );
            if let Some(output) = &trouble.output {
                let all: Vec<&str> = output.lines().collect();
                let from = limit.map_or(0, |limit| all.len().saturating_sub(limit));
                block(lines, "output", all[from..].iter().copied(), paint);
            }
            if let Some(hint) = &trouble.hint {
                block(lines, "next", hint.lines(), paint);
            }
        }
    }
    if let Some(blocked) = blocked {
        let mut names = blocked.first.join(", ");
        if blocked.count as usize > blocked.first.len() {
            names.push_str(", …");
        }
        let text = format!("{}: {names}", words::count(blocked.count, "step"));
        block(lines, "blocks", std::iter::once(text.as_str()), paint);
    }
    block(
        lines,
        "more",
        std::iter::once(format!("foundry explain {}", step.label).as_str()),
        paint,
    );
}

/// Adds lines under a heading that stands beside the first of them.
fn block<'a>(
    lines: &mut Vec<String>,
    heading: &str,
    text: impl Iterator<Item = &'a str>,
    paint: Paint,
) {
    for (at, line) in text.enumerate() {
        let heading = if at == 0 { heading } else { "" };
        let line = match heading {
            "next" | "more" => paint.hint(line),
            _ => line.to_owned(),
        };
        lines.push(format!(
            "  {} {line}",
            paint.dim(&format!("{heading:>7} │"))
        ));
    }
}
