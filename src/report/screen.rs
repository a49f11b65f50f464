//! The live part of the screen: one bar with counts and the longest-running steps, as text. Pure; draws nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indexmap::IndexMap;

use super::paint::Paint;
use super::picture::Picture;
use super::words;
use crate::event::Final;
use crate::terminal::{shown, truncate, width as columns};

/// Running steps that are shown one by one.
const SHOWN: usize = 8;

/// With more hosts than this, steps are shown by kind and not host by host.
pub const GROUPED: u32 = 20;

/// Hosts that are named as the slowest.
const SLOWEST: usize = 4;

/// Characters of the bar.
const BAR: usize = 30;

/// Returns what there is to see at `now_ms` (milliseconds since the run started), in lines of at most `width` columns.
#[must_use]
pub fn screen(picture: &Picture, now_ms: u64, width: usize, paint: Paint) -> String {
    let mut lines = vec![headline(picture, now_ms, paint)];
    if picture.hosts() > GROUPED {
        lines.extend(groups(picture, now_ms, width, paint));
    } else {
        lines.extend(single(picture, now_ms, width, paint));
    }
    match picture.interrupted {
        Some(false) => {
            lines.push(paint.warn("  Letting running steps end. Press Ctrl-C again to stop them."));
        }
        Some(true) => lines.push(paint.warn("  Stopping running steps.")),
        None => {}
    }
    // One column is left free: a terminal may wrap a line that fills it.
    let fit = |line: String| truncate(&shown(line.trim_end()), width.saturating_sub(1));
    lines.into_iter().map(fit).collect::<Vec<_>>().join("\n")
}

/// Returns a line for each of the longest-running steps.
fn single(picture: &Picture, now_ms: u64, width: usize, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let column = picture
        .running
        .keys()
        .take(SHOWN)
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0)
        .min(width / 2);
    for (label, running) in picture.running.iter().take(SHOWN) {
        let time = words::span(now_ms.saturating_sub(running.since));
        let label = shorten(label, column);
        let says = running.says.as_deref().unwrap_or_default();
        lines.push(format!(
            "  {label:column$}  {}  {}",
            paint.hint(&format!("{time:>6}")),
            paint.dim(says)
        ));
    }
    if picture.running.len() > SHOWN {
        lines.push(paint.dim(&format!("  … and {} more", picture.running.len() - SHOWN)));
    }
    lines
}

/// Steps that differ in nothing but the host.
struct Group<'a> {
    /// How many run.
    count: usize,
    /// When the longest-running of them began, and where.
    since: u64,
    host: &'a str,
}

/// Returns a line for each kind of step that runs, those that are at it longest first; then the slowest hosts, and what
/// went wrong so far.
fn groups(picture: &Picture, now_ms: u64, width: usize, paint: Paint) -> Vec<String> {
    let mut groups: IndexMap<&str, Group<'_>> = IndexMap::new();
    let mut hosts: IndexMap<&str, u64> = IndexMap::new();
    // Longest-running first, so the first of a kind or a host is its slowest.
    for (label, running) in &picture.running {
        let (step, host) = match label.rsplit_once('@') {
            Some((step, host)) if !host.contains(']') => (step, host),
            _ => (label.as_str(), ""),
        };
        if !host.is_empty() {
            hosts.entry(host).or_insert(running.since);
        }
        let since = running.since;
        let group = groups.entry(step);
        group
            .or_insert(Group {
                count: 0,
                since,
                host,
            })
            .count += 1;
    }
    let since = |since: u64| words::span(now_ms.saturating_sub(since));
    let column = groups
        .keys()
        .take(SHOWN)
        .map(|step| step.chars().count())
        .max()
        .unwrap_or(0)
        .min(width / 2);
    let mut lines: Vec<String> = groups
        .iter()
        .take(SHOWN)
        .map(|(step, group)| {
            let step = shorten(step, column);
            let on = match group.host {
                "" => String::new(),
                host => format!("  longest on {host}"),
            };
            format!(
                "  {step:column$}  {:>6}  {}{}",
                format!("×{}", group.count),
                paint.hint(&format!("{:>6}", since(group.since))),
                paint.dim(&on)
            )
        })
        .collect();
    if groups.len() > SHOWN {
        let more = u32::try_from(groups.len() - SHOWN).unwrap_or(u32::MAX);
        let more = words::count(more, "more kind");
        lines.push(paint.dim(&format!("  … and {more} of step")));
    }
    if !hosts.is_empty() {
        let slowest: Vec<String> = hosts
            .iter()
            .take(SLOWEST)
            .map(|(host, at)| format!("{host} {}", since(*at)))
            .collect();
        let at_work = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        lines.push(format!(
            "  {} at work, slowest {}",
            words::count(at_work, "host"),
            paint.dim(&slowest.join(", "))
        ));
    }
    let failed: BTreeSet<&str> = picture
        .troubles
        .iter()
        .filter_map(|step| step.host.as_deref())
        .collect();
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    if !failed.is_empty() || !picture.unreachable.is_empty() {
        lines.push(format!(
            "  {} in trouble, {} out of reach",
            paint.bad(&words::count(number(failed.len()), "host")),
            paint.bad(&number(picture.unreachable.len()).to_string())
        ));
    }
    lines
}

fn headline(picture: &Picture, now_ms: u64, paint: Paint) -> String {
    if let Some(waiting) = &picture.waiting {
        return format!(
            "{} for the lock on {}: {} (its lease ends in {} s unless renewed)",
            paint.strong("Waiting"),
            waiting.host,
            waiting.holder,
            waiting.lease_s
        );
    }
    let time = paint.dim(&words::span(now_ms));
    let Some(planned) = &picture.planned else {
        let heard = picture.probed + u32::try_from(picture.unreachable.len()).unwrap_or(u32::MAX);
        let bar = bar(heard, 0, picture.hosts(), paint);
        return format!(
            "{bar}  {} {heard}/{}  {time}",
            paint.strong("Asking hosts"),
            picture.hosts()
        );
    };
    let counts = &picture.counts;
    let trouble = counts.failed + counts.unreachable + counts.blocked;
    let bar = bar(counts.ended() - trouble, trouble, picture.total(), paint);
    let mut line = format!(
        "{bar}  {}  {time}",
        paint.strong(&format!("{}/{}", counts.ended(), picture.total()))
    );
    if !picture.running.is_empty() {
        let _ = write!(line, "  {} running", picture.running.len());
    }
    for (state, paint_it) in [
        (Final::Ran, Paint::good as fn(Paint, &str) -> String),
        (Final::Failed, Paint::bad),
        (Final::Unreachable, Paint::bad),
        (Final::Blocked, Paint::warn),
    ] {
        if counts.of(state) > 0 {
            let _ = write!(
                line,
                " · {}",
                paint_it(paint, &format!("{} {state}", counts.of(state)))
            );
        }
    }
    let maybe = planned.verdicts.maybe;
    let _ = if counts.ended() == 0 && maybe > 0 {
        write!(line, " · {maybe} maybe")
    } else {
        Ok(())
    };
    line
}

/// Cuts out of the middle what is too long: components stand at a label's beginning, hosts at its end.
fn shorten(label: &str, width: usize) -> String {
    let length = label.chars().count();
    if length <= width || width < 3 {
        return label.chars().take(width).collect();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    let mut short: String = label.chars().take(head).collect();
    short.push('…');
    short.extend(label.chars().skip(length - tail));
    short
}

/// Returns a bar of `done` and `trouble` out of `total`.
fn bar(done: u32, trouble: u32, total: u32, paint: Paint) -> String {
    let share = |part: u32| match total {
        0 => 0,
        // Whatever there is shows; only the whole fills the bar.
        _ => (part as usize * BAR / total as usize).max(usize::from(part > 0)),
    };
    let bad = share(trouble).min(BAR);
    let good = share(done).min(BAR - bad);
    let rest = BAR - bad - good;
    let bar = format!(
        "{}{}{}",
        paint.good(&"━".repeat(good)),
        paint.bad(&"━".repeat(bad)),
        paint.dim(&"─".repeat(rest))
    );
    debug_assert_eq!(columns(&bar), BAR);
    bar
}
