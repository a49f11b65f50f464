//! `foundry audit`: who changed what on the hosts, and whether their journals still say so. Knows nothing of how a journal
//! is kept.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::home::Home;
use super::host::find;
use super::print::{Output, print, print_json, say, table, warn};
use super::session::Session;
use super::wire::Wired;
use crate::config::HostId;
use crate::graph::{Graph, Selector, Target};
use crate::ops::audit::journals;
use crate::probe::AccessError;
use crate::report::{Paint, list};
use crate::run::journal::{Checked, Done, Problem, Remembered, Result as Ended, check, entries};
use crate::terminal::{self, Page, line};

/// Shows who changed what on the hosts, from the journal that each of them keeps
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Every program that changes a host enters itself into a journal there, before and after: when, by which \
    run, by whom and from which machine, for which step, and how it ended. Times are UTC, by the clocks of the hosts. \
    `foundry run show RUN` shows the whole of a run that was made on this machine.\n\n\
    Examples:\n  \
    foundry audit                           the latest changes of all hosts, the newest last\n  \
    foundry audit web-1 --since 2d          one host, the last two days\n  \
    foundry audit openbao --limit 0         all that is known of a component\n  \
    foundry audit --run ab12                what one run did; a part of its id is enough\n  \
    foundry audit verify                    is any journal cut or altered? exit code 1 if one is"
)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// Only these hosts, or the steps of these labels
    #[arg(value_name = "HOST|LABEL")]
    targets: Vec<String>,
    /// Only what began at this time or later: `2h`, `3d`, `2026-11-30` or `2026-11-30T20:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only what this run did: its id, or the beginning or end of it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Show at most so many entries, the newest; 0 for all [default: 100, with `--output json` 0]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to show them
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Checks the journals: finds lines that were cut, altered, moved, put in or taken out; exit code 1 if there are any
    #[command(
        after_help = "Each program seals the lines before it by their SHA-256, and each run that is on record on this \
        machine remembers how far it saw each journal come. The seals show what was changed without making them anew. \
        Whoever is root on a host can make all of them anew, or cut off the end: what runs remember shows that. So verify \
        from a machine that builds, or let a log collector take the files away."
    )]
    Verify {
        /// Only these hosts
        #[arg(value_name = "HOST")]
        hosts: Vec<String>,
        /// How to show what was found
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Runs `foundry audit`.
pub async fn audit(args: &AuditArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    match &args.command {
        None => show(args, &session, global).await,
        Some(AuditCommand::Verify { hosts, output }) => {
            verify(hosts, *output, &session, global).await
        }
    }
}

/// What is wanted of the journals.
struct Wanted {
    hosts: Vec<HostId>,
    /// Whole hosts, by name.
    whole: BTreeSet<String>,
    /// Labels and components of steps; with none of both everything is wanted.
    labels: BTreeSet<String>,
    components: BTreeSet<String>,
}

impl Wanted {
    fn of(targets: &[String], graph: &Graph) -> Result<Self, CliError> {
        let mut wanted = Self {
            hosts: Vec::new(),
            whole: BTreeSet::new(),
            labels: BTreeSet::new(),
            components: BTreeSet::new(),
        };
        let mut hosts = BTreeSet::new();
        for target in targets {
            let name = target.strip_prefix('@').unwrap_or(target);
            if let Some(host) = graph.stack.host_named(name) {
                wanted.whole.insert(name.to_owned());
                hosts.insert(host);
                continue;
            }
            let selection = graph.select(&Selector::parse(target)?)?;
            for id in selection.asked.iter() {
                let step = graph.step(id);
                wanted.labels.insert(step.label.to_string());
                match &step.target {
                    Target::Host(host) => hosts.extend([*host]),
                    Target::Group(on) | Target::Service(_, on) => hosts.extend(on.iter().copied()),
                    Target::Gather => {}
                }
                // Steps that the config no longer has are of it too.
                if *target == *step.label.component {
                    wanted.components.insert(target.clone());
                }
            }
        }
        wanted.hosts = if targets.is_empty() {
            (0..).map(HostId).take(graph.stack.hosts.len()).collect()
        } else {
            hosts.into_iter().collect()
        };
        Ok(wanted)
    }

    fn has(&self, host: &str, step: &str) -> bool {
        let all = self.whole.is_empty() && self.labels.is_empty();
        let component = step.split([':', '@']).next().unwrap_or(step);
        all || self.whole.contains(host)
            || self.labels.contains(step)
            || self.components.contains(component)
    }
}

/// One entry, for programs.
#[derive(Serialize)]
struct Shown {
    host: String,
    file: u32,
    line: usize,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<i64>,
    run: String,
    by: String,
    step: String,
    key: String,
    before: String,
    #[serde(flatten)]
    result: Ended,
    #[serde(skip)]
    at: i64,
}

impl Shown {
    fn of(host: &str, entry: Done) -> Self {
        Self {
            host: host.to_owned(),
            file: entry.file,
            line: entry.line,
            time: moment(entry.said.time),
            seconds: entry.took,
            run: entry.said.run,
            by: entry.said.by,
            step: entry.said.step,
            key: entry.said.key,
            before: entry.said.before,
            result: entry.result,
            at: entry.said.time,
        }
    }
}

#[derive(Clone, Serialize)]
struct Unreachable {
    host: String,
    error: String,
}

#[derive(Serialize)]
struct Listing {
    entries: Vec<Shown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreachable: Vec<Unreachable>,
}

async fn show(args: &AuditArgs, session: &Session, global: &Global) -> CliResult {
    let wanted = Wanted::of(&args.targets, &session.graph)?;
    let wired = Wired::new(session, global, None, None)?;
    let read = journals(&session.stack, &wanted.hosts, &*wired.fleet).await;
    wired.fleet.close();
    let mut unreachable = Vec::new();
    let mut all = Vec::new();
    for (host, files) in read {
        let name = &*session.stack.host(host).name;
        match files {
            Err(error) => unreachable.push(said(name, &error)),
            Ok(files) => all.extend(
                entries(&files)
                    .into_iter()
                    .filter(|entry| wanted.has(name, &entry.said.step) && args.has(entry))
                    .map(|entry| Shown::of(name, entry)),
            ),
        }
    }
    // Stable: what one host wrote in one second stays in its order.
    all.sort_by_key(|entry| entry.at);
    let limit = args.limit.unwrap_or(match args.output {
        Output::Text => 100,
        Output::Json => 0,
    });
    let left_out = if limit == 0 {
        0
    } else {
        all.len().saturating_sub(limit)
    };
    all.drain(..left_out);
    match args.output {
        Output::Json => print_json(&Listing {
            entries: all,
            unreachable: unreachable.clone(),
        })?,
        Output::Text => {
            if left_out > 0 {
                say(&format!(
                    "{left_out} older {} left out; `--limit 0` shows all",
                    if left_out == 1 {
                        "entry is"
                    } else {
                        "entries are"
                    }
                ));
            }
            if all.is_empty() && unreachable.is_empty() {
                print(&line("Nothing is entered in these journals"))?;
            } else if !all.is_empty() {
                print(&lines(&all, width()))?;
            }
        }
    }
    for one in &unreachable {
        warn(&format!("{}: {}", one.host, one.error));
    }
    if unreachable.is_empty() {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Failed))
    }
}

impl AuditArgs {
    fn has(&self, entry: &Done) -> bool {
        let since = self
            .since
            .is_none_or(|since| entry.said.time >= since.as_second());
        let run = self.run.as_ref().is_none_or(|run| {
            entry.said.run.starts_with(run.as_str()) || entry.said.run.ends_with(run.as_str())
        });
        since && run
    }
}

fn said(host: &str, error: &AccessError) -> Unreachable {
    Unreachable {
        host: host.to_owned(),
        error: match &error.hint {
            Some(hint) => format!("{} ({hint})", error.message),
            None => error.message.clone(),
        },
    }
}

const HEAD: [&str; 7] = ["TIME", "HOST", "STEP", "BEFORE", "RESULT", "RUN", "BY"];

/// Columns that may be shortened: names.
const NAMES: [usize; 3] = [1, 2, 6];

fn lines(entries: &[Shown], width: Option<usize>) -> Page {
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    table(&HEAD, &fitted(rows, width))
}

fn row(entry: &Shown) -> Vec<String> {
    let paint = Paint::for_stdout();
    // The host has a column of its own.
    let step = entry
        .step
        .strip_suffix(&format!("@{}", entry.host))
        .unwrap_or(&entry.step);
    let result = match entry.result {
        Ended::Done => paint.good("done"),
        Ended::Failed(status) => paint.bad(&format!("failed {status}")),
        Ended::TimedOut => paint.bad("timed out"),
        Ended::NoEnd => paint.warn("no end"),
    };
    vec![
        entry
            .time
            .replacen('T', " ", 1)
            .trim_end_matches('Z')
            .to_owned(),
        entry.host.clone(),
        step.to_owned(),
        entry.before.clone(),
        result,
        entry
            .run
            .rsplit('-')
            .next()
            .unwrap_or(&entry.run)
            .to_owned(),
        entry.by.clone(),
    ]
}

/// Shortens the widest names until the table fits.
fn fitted(mut rows: Vec<Vec<String>>, width: Option<usize>) -> Vec<Vec<String>> {
    let Some(width) = width else { return rows };
    let widest = |rows: &[Vec<String>], column: usize| {
        let cells = rows.iter().map(|row| terminal::width(&row[column]));
        cells.chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..HEAD.len())
        .map(|column| widest(&rows, column))
        .collect();
    let gaps = 2 * (HEAD.len() - 1);
    while widths.iter().sum::<usize>() + gaps > width {
        let Some(&column) = NAMES.iter().max_by_key(|column| widths[**column]) else {
            break;
        };
        if widths[column] <= 6 {
            break;
        }
        widths[column] -= 1;
    }
    for row in &mut rows {
        for column in NAMES {
            row[column] = terminal::truncate(&row[column], widths[column]);
        }
    }
    rows
}

/// Returns how wide the terminal is, if it is one.
fn width() -> Option<usize> {
    let (_, columns) = console::Term::stdout().size_checked()?;
    Some(usize::from(columns))
}

/// What was found of one host, for programs.
#[derive(Serialize)]
struct Verified<'a> {
    host: &'a str,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    Checked(Checked),
    Unreachable(String),
}

async fn verify(names: &[String], output: Output, session: &Session, global: &Global) -> CliResult {
    let stack = &session.stack;
    let mut hosts = Vec::new();
    for name in names {
        let name = name.strip_prefix('@').unwrap_or(name);
        hosts.push(find(stack, name)?);
    }
    if hosts.is_empty() {
        hosts = (0..).map(HostId).take(stack.hosts.len()).collect();
    }
    let remembered = remembered(&session.home, &stack.name)?;
    let wired = Wired::new(session, global, None, None)?;
    let read = journals(stack, &hosts, &*wired.fleet).await;
    wired.fleet.close();
    let verified: Vec<Verified<'_>> = read
        .into_iter()
        .map(|(host, files)| {
            let host = &*stack.host(host).name;
            let known = remembered.get(host).map_or(&[][..], Vec::as_slice);
            let found = match files {
                Ok(files) => Found::Checked(check(&files, known)),
                Err(error) => Found::Unreachable(said(host, &error).error),
            };
            Verified { host, found }
        })
        .collect();
    match output {
        Output::Json => print_json(&verified)?,
        Output::Text => print(&report(&verified))?,
    }
    let good = verified
        .iter()
        .all(|one| matches!(&one.found, Found::Checked(checked) if checked.problems.is_empty()));
    if good {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Failed))
    }
}

/// Returns how far the runs on record here saw the journals of a stack come, by host.
fn remembered(home: &Home, stack: &str) -> Result<BTreeMap<String, Vec<Remembered>>, CliError> {
    let mut remembered: BTreeMap<String, Vec<Remembered>> = BTreeMap::new();
    for entry in list(&home.runs())? {
        let Some(summary) = entry.summary.filter(|_| entry.run.stack == stack) else {
            continue;
        };
        for (host, head) in summary.journals {
            remembered.entry(host).or_default().push(Remembered {
                run: entry.run.run.to_string(),
                head,
            });
        }
    }
    Ok(remembered)
}

fn report(verified: &[Verified<'_>]) -> Page {
    let paint = Paint::for_stdout();
    let wide = verified.iter().map(|one| one.host.len()).max().unwrap_or(0);
    let mut page = Page::new();
    let mut alone = 0;
    for Verified { host, found } in verified {
        let name = paint.strong(&format!("{host:wide$}"));
        match found {
            Found::Unreachable(error) => {
                page.message(format_args!(
                    "{name}  {} {error}",
                    paint.bad("not checked:")
                ));
            }
            Found::Checked(checked) if checked.problems.is_empty() => {
                page.line(format_args!(
                    "{name}  {} {}",
                    paint.good("ok"),
                    words(checked)
                ));
                alone += usize::from(checked.lines > 0 && checked.compared == 0);
            }
            Found::Checked(checked) => {
                for problem in &checked.problems {
                    page.message(format_args!(
                        "{name}  {} {}",
                        paint.bad(&place(problem)),
                        problem.what
                    ));
                }
            }
        }
    }
    if alone > 0 {
        page.gap();
        page.line(paint.dim(
            "No run on record here has seen some of these journals: there a cut end would not show.",
        ));
    }
    page
}

fn place(problem: &Problem) -> String {
    let place = problem.place;
    match (place.line, place.last) {
        (0, _) => format!("{:06}.jsonl:", place.file),
        (line, last) if line == last => format!("{:06}.jsonl line {line}:", place.file),
        (line, last) => format!("{:06}.jsonl lines {line}–{last}:", place.file),
    }
}

/// What there is to say of a journal that is as it was written.
fn words(checked: &Checked) -> String {
    if checked.first.is_none() {
        return "no journal yet".to_owned();
    }
    let count = |number: usize, one: &str, more: &str| {
        format!("{number} {}", if number == 1 { one } else { more })
    };
    let mut words = vec![
        count(checked.lines, "line", "lines"),
        count(checked.seals, "seal", "seals"),
    ];
    if checked.compared > 0 {
        words.push(format!(
            "as {} saw it",
            count(checked.compared, "run", "runs")
        ));
    }
    if checked.unsealed > 0 {
        words.push(count(
            checked.unsealed,
            "line not sealed yet",
            "lines not sealed yet",
        ));
    }
    if !checked.torn.is_empty() {
        words.push(count(
            checked.torn.len(),
            "line was cut off as it was written",
            "lines were cut off as they were written",
        ));
    }
    words.join(", ")
}

fn moment(time: i64) -> String {
    Timestamp::from_second(time).map_or_else(|_| time.to_string(), |at| at.to_string())
}

/// Reads a moment: an age, a date or a time.
fn since(text: &str) -> Result<Timestamp, String> {
    since_from(text, Timestamp::now())
}

fn since_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let day = day.to_zoned(jiff::tz::TimeZone::UTC);
        return day
            .map(|day| day.timestamp())
            .map_err(|error| error.to_string());
    }
    let wrong =
        || "is no time: an age such as `2h` or `3d`, a date, or 2026-11-30T20:00:00Z".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let age = number.checked_mul(seconds).ok_or_else(wrong)?;
    now.checked_sub(SignedDuration::from_secs(age))
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(step: &str, by: &str, result: Ended) -> Shown {
        Shown {
            host: "web-1".to_owned(),
            file: 1,
            line: 2,
            time: "2026-11-30T20:14:55Z".to_owned(),
            seconds: Some(1),
            run: "20261130-201455-ab12".to_owned(),
            by: by.to_owned(),
            step: step.to_owned(),
            key: "00".to_owned(),
            before: "changed".to_owned(),
            result,
            at: 0,
        }
    }

    #[test]
    fn a_table_fits_eighty_columns() {
        console::set_colors_enabled(false);
        let entries = [
            shown("demo:config@web-1", "ada@desk", Ended::Done),
            shown(
                "kube-prometheus-stack:a-step-with-a-rather-long-name@web-1",
                "somebody@a-machine-with-a-long-name.example.com",
                Ended::Failed(127),
            ),
        ];
        let text = lines(&entries, Some(80)).to_string();
        let widest = text.lines().map(console::measure_text_width).max();
        assert!(widest.unwrap() <= 80, "{text}");
        assert!(
            text.contains("2026-11-30 20:14:55  web-1  demo:config"),
            "{text}"
        );
        assert!(text.contains("ab12  ada@desk"), "{text}");
        assert!(text.contains('…'), "{text}");
        assert!(
            lines(&entries, None)
                .to_string()
                .contains("machine-with-a-long-name.example.com")
        );
    }

    #[test]
    fn what_hosts_wrote_is_shown_and_not_obeyed() {
        console::set_colors_enabled(false);
        let evil = shown(
            "a\u{1b}]52;c;cGF3bmVk\u{7}\u{9b}2J\n::set-output",
            "eve\r@\u{202e}",
            Ended::NoEnd,
        );
        let text = lines(&[evil], None).to_string();
        assert!(
            text.contains(r"a^[]52;c;cGF3bmVk^G\u{9b}2J ::set-output"),
            "{text}"
        );
        assert!(text.contains(r"eve @\u{202e}"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn moments_are_ages_dates_or_times() {
        let now: Timestamp = "2026-11-30T20:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("2h", "2026-11-30T18:00:00Z"),
            ("3d", "2026-11-27T20:00:00Z"),
            ("90s", "2026-11-30T19:58:30Z"),
            ("2026-11-29", "2026-11-29T00:00:00Z"),
            ("2026-11-29T01:02:03Z", "2026-11-29T01:02:03Z"),
        ] {
            assert_eq!(since_from(text, now).unwrap().to_string(), wanted);
        }
        for text in [
            "",
            "5",
            "5 parsecs",
            "h",
            "-1h",
            "99999999999999999w",
            "soon",
        ] {
            assert!(since_from(text, now).is_err(), "{text}");
        }
    }
}
