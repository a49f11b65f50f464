//! `foundry plan` and `foundry explain`: what would run and why. Looks, and changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::look::{Looked, look};
use super::print::{Output, print, print_json, seconds};
use super::session::Session;
use super::wire::Wired;
use crate::catalog::{Value, Values};
use crate::graph::{Fingerprints, Selection, StepId, Target, explain_key, key, shown};
use crate::plan::{Plan, Reason, Verdict, secret_facts};
use crate::probe::Fact;
use crate::secret::REDACTED;
use crate::terminal::{Page, one_line, style};

/// Shows what would run, and why; touches nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  foundry plan                     the whole stack
  foundry plan openbao @bao-1      a component, and a host
  foundry plan --detailed-exitcode exit code 2 if there is something to do")]
pub struct PlanArgs {
    /// What to plan: labels or expressions over them
    #[arg(default_value = "stack", value_name = "TARGET")]
    targets: Vec<String>,
    /// Exit with 2 if anything would run
    #[arg(long)]
    detailed_exitcode: bool,
    /// Show satisfied steps too
    #[arg(long)]
    all: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Shows why a step is as it is: its inputs, key, facts and what is wanted
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Steps to explain: labels or expressions over them
    #[arg(required = true, value_name = "LABEL")]
    targets: Vec<String>,
}

/// Runs `foundry plan`.
pub async fn plan(args: PlanArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let selection = session.select(&args.targets)?;
    let shown = Shown {
        output: args.output,
        all: args.all,
        detailed_exitcode: args.detailed_exitcode,
    };
    show_as(&session, &selection, shown, global).await
}

/// Shows what would run of a selection.
pub async fn show(
    session: &Session,
    selection: &Selection,
    output: Output,
    global: &Global,
) -> CliResult {
    show_as(
        session,
        selection,
        Shown {
            output,
            all: false,
            detailed_exitcode: false,
        },
        global,
    )
    .await
}

/// How a plan is shown.
struct Shown {
    output: Output,
    all: bool,
    detailed_exitcode: bool,
}

async fn show_as(
    session: &Session,
    selection: &Selection,
    shown: Shown,
    global: &Global,
) -> CliResult {
    let wired = Wired::new(session, global, None, None)?;
    let looked = look(session, &wired, selection, &|_| {}).await?;
    match shown.output {
        Output::Json => print_json(&PlanJson::of(session, &looked, selection))?,
        Output::Text => {
            let page = text(session, &looked, selection, shown.all);
            print(&page.changed(|text| wired.masker.mask(text).into_owned()))?;
        }
    }
    ending(&looked.plan, selection, shown.detailed_exitcode)
}

/// Says how a look ends: blocked steps are a failure, others only if asked for.
fn ending(plan: &Plan, selection: &Selection, detailed: bool) -> CliResult {
    let verdicts = || selection.steps.iter().filter_map(|id| plan.verdict(id));
    if verdicts().any(|verdict| verdict == Verdict::Blocked) {
        return Err(CliError::quiet(Ending::Failed));
    }
    if detailed && verdicts().any(|verdict| verdict != Verdict::Satisfied) {
        return Err(CliError::quiet(Ending::Pending));
    }
    Ok(())
}

/// One line of a plan: steps that differ in nothing but the host.
struct Line<'a> {
    component: &'a str,
    name: String,
    verdict: Verdict,
    reasons: &'a [Reason],
    hosts: Vec<&'a str>,
}

/// Draws a plan for people.
pub fn text(session: &Session, looked: &Looked, selection: &Selection, all: bool) -> Page {
    let mut out = Page::new();
    let graph = &session.graph;
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut index: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    let mut counts: BTreeMap<u8, (Verdict, usize)> = BTreeMap::new();
    for id in selection.steps.iter() {
        let (step, Some(decision)) = (graph.step(id), looked.plan.decision(id)) else {
            continue;
        };
        if step.task.is_none() {
            continue;
        }
        counts
            .entry(rank(decision.verdict))
            .or_insert((decision.verdict, 0))
            .1 += 1;
        if decision.verdict == Verdict::Satisfied && !all {
            continue;
        }
        let label = &step.label;
        let name = label.item.as_ref().map_or_else(
            || label.step.to_string(),
            |item| format!("{}[{item}]", label.step),
        );
        let told = decision
            .reasons
            .iter()
            .map(|reason| without_host(reason, label.host.as_deref()))
            .collect::<Vec<_>>()
            .join("; ");
        let at = *index
            .entry((
                &label.component,
                name.clone(),
                format!("{}{told}", decision.verdict),
            ))
            .or_insert_with(|| {
                lines.push(Line {
                    component: &label.component,
                    name,
                    verdict: decision.verdict,
                    reasons: &decision.reasons,
                    hosts: Vec::new(),
                });
                lines.len() - 1
            });
        lines[at].hosts.extend(label.host.as_deref());
    }
    let width = lines
        .iter()
        .map(|line| line.title().chars().count())
        .max()
        .unwrap_or(0)
        .min(44);
    let mut component = "";
    for line in &lines {
        if line.component != component {
            component = line.component;
            let _ = writeln!(out, "{}", style(component).bold());
        }
        // What is not there at all needs no list of everything about it.
        let most = if line.verdict == Verdict::Missing {
            1
        } else {
            usize::MAX
        };
        let told = line
            .reasons
            .iter()
            .take(most)
            .map(|reason| {
                if line.hosts.len() > 1 {
                    reason_for_all(reason)
                } else {
                    one_line(&reason.to_string()).into_owned()
                }
            })
            .collect::<Vec<_>>();
        let (first, rest) = told
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let _ = writeln!(
            out,
            "  {:<width$}  {}  {first}",
            line.title(),
            paint(line.verdict)
        );
        for reason in rest {
            let _ = writeln!(out, "  {:<width$}  {:<9}  {reason}", "", "");
        }
    }
    if !lines.is_empty() {
        out.gap();
    }
    let told: Vec<String> = counts
        .values()
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let hosts = looked.observed.hosts.iter().flatten().count();
    let execs = looked.execs;
    let _ = writeln!(
        out,
        "{}: {}; {hosts} host{} asked in {} with {execs} exec{}",
        style(format!("Plan for stack {}", session.stack.name)).bold(),
        if told.is_empty() {
            "no steps".to_owned()
        } else {
            told.join(", ")
        },
        if hosts == 1 { "" } else { "s" },
        seconds(looked.took),
        if execs == 1 { "" } else { "s" },
    );
    for (host, answer) in session.stack.hosts.iter().zip(&looked.observed.hosts) {
        if let Some(Err(error)) = answer {
            out.message(format_args!(
                "{} {error}",
                style("unreachable:").red().bold()
            ));
            if let Some(hint) = &error.hint {
                out.message(format_args!("  {}: {hint}", host.name));
            }
        }
    }
    out
}

impl Line<'_> {
    fn title(&self) -> String {
        match self.hosts.as_slice() {
            [] => self.name.clone(),
            [one] => format!("{}@{one}", self.name),
            [one, two] => format!("{}@{one},{two}", self.name),
            [one, two, three] => format!("{}@{one},{two},{three}", self.name),
            [first, .., last] => format!("{}@{first}…{last} (×{})", self.name, self.hosts.len()),
        }
    }
}

/// Words a reason that several hosts share: `waits for base:packages`, on each its own.
fn reason_for_all(reason: &Reason) -> String {
    match reason {
        Reason::Waits { on } | Reason::Needs { label: on } => {
            let own = on.rsplit_once('@').map_or(on.as_str(), |(step, _)| step);
            reason.to_string().replace(on.as_str(), own)
        }
        other => one_line(&other.to_string()).into_owned(),
    }
}

/// Words a reason so that hosts which differ in nothing else share a line.
fn without_host(reason: &Reason, host: Option<&str>) -> String {
    let told = reason.to_string();
    host.map_or(told.clone(), |host| told.replace(&format!("@{host}"), ""))
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Blocked => 0,
        Verdict::Missing => 1,
        Verdict::Changed => 2,
        Verdict::Drifted => 3,
        Verdict::Maybe => 4,
        Verdict::Satisfied => 5,
    }
}

/// Colours a verdict and pads it.
pub fn paint(verdict: Verdict) -> String {
    let word = verdict.to_string();
    let blanks = " ".repeat(9_usize.saturating_sub(word.len()));
    let word = style(word);
    let word = match verdict {
        Verdict::Satisfied => word.green(),
        Verdict::Missing | Verdict::Changed => word.yellow(),
        Verdict::Drifted => word.magenta(),
        Verdict::Maybe => word.cyan(),
        Verdict::Blocked => word.red(),
    };
    format!("{word}{blanks}")
}

/// A plan as data.
#[derive(Debug, Serialize)]
pub struct PlanJson {
    stack: String,
    steps: Vec<StepJson>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    label: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason>,
}

impl PlanJson {
    /// Returns the plan of what is selected.
    pub fn of(session: &Session, looked: &Looked, selection: &Selection) -> Self {
        let steps = selection.steps.iter().filter_map(|id| {
            let decision = looked.plan.decision(id)?;
            Some(StepJson {
                label: session.graph.step(id).label.to_string(),
                verdict: decision.verdict,
                reasons: decision.reasons.clone(),
            })
        });
        Self {
            stack: session.stack.name.clone(),
            steps: steps.collect(),
        }
    }
}

/// Runs `foundry explain`.
pub async fn explain(args: ExplainArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let selection = session.select(&args.targets)?;
    let wired = Wired::new(&session, global, None, None)?;
    let looked = look(&session, &wired, &selection, &|_| {}).await?;
    let mut out = Page::new();
    for (number, id) in selection.asked.iter().enumerate() {
        if number > 0 {
            out.gap();
        }
        explain_step(&mut out, &session, &looked, id);
    }
    print(&out.changed(|text| wired.masker.mask(text).into_owned()))
}

/// Returns whether a fact is a digest on a step that has secrets: of a file that holds one, as far as anybody can tell.
fn is_digest_beside_secret(fact: &str, inputs: &Values) -> bool {
    let digest = fact == "sha256" || fact.ends_with(".sha256");
    digest && inputs.values().any(Value::is_secret)
}

/// Returns what can be shown of a secret fact: enough to see whether two are the same, and too little to guess it by.
fn fingerprint(name: &str, fact: &Fact, fingerprints: &Fingerprints) -> String {
    let value = Value::Secret(fact.value().to_owned().into());
    let values = Values::from_iter([(name.to_owned(), value)]);
    shown(&values, fingerprints)
        .remove(name)
        .unwrap_or_else(|| REDACTED.to_owned())
}

fn explain_step(out: &mut Page, session: &Session, looked: &Looked, id: StepId) {
    let graph = &session.graph;
    let step = graph.step(id);
    let _ = writeln!(out, "{}", style(&step.label).bold());
    let Some(task) = &step.task else {
        let _ = writeln!(
            out,
            "  gathers {} steps, so that others can wait for all of them",
            step.needs.len()
        );
        return;
    };
    let _ = writeln!(out, "  task     {}: {}", task.name, task.summary);
    let on = match &step.target {
        Target::Host(host) => format!("host {}", session.stack.host(*host).name),
        Target::Group(hosts) => format!(
            "all {} hosts of {} together",
            hosts.len(),
            step.label.component
        ),
        Target::Service(name, _) => format!("the API of {name}"),
        Target::Gather => "nowhere".to_owned(),
    };
    let _ = writeln!(out, "  target   {on}");
    if let Some(pool) = step.pool {
        let pool = &graph.pools[pool.0 as usize];
        let _ = writeln!(
            out,
            "  pool     {} (at most {} at once)",
            pool.name, pool.depth
        );
    }
    let labels = |ids: &[StepId]| {
        ids.iter()
            .map(|id| graph.step(*id).label.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !step.needs.is_empty() {
        let _ = writeln!(out, "  needs    {}", labels(&step.needs));
    }
    if !step.watch.is_empty() {
        let _ = writeln!(out, "  watches  {}", labels(&step.watch));
    }
    if let Some(decision) = looked.plan.decision(id) {
        let _ = writeln!(out, "  verdict  {}", paint(decision.verdict).trim_end());
        for reason in &decision.reasons {
            let _ = writeln!(out, "           {}", one_line(&reason.to_string()));
        }
    }
    let filled = looked.plan.known.fill(&step.inputs);
    match filled.open.is_empty() {
        true => {
            let made = key(task, &step.target, &filled.values, &looked.fingerprints);
            let _ = writeln!(out, "  key      {made}, over:");
            for line in
                explain_key(task, &step.target, &filled.values, &looked.fingerprints).lines()
            {
                let _ = writeln!(out, "             {line}");
            }
        }
        false => {
            let open: Vec<&str> = filled.open.keys().map(String::as_str).collect();
            let _ = writeln!(
                out,
                "  key      not known yet: input {} waits for other steps",
                open.join(", ")
            );
        }
    }
    match looked.observed.facts(id) {
        None => {
            let _ = writeln!(
                out,
                "  facts    not asked: an input of its probe is not known yet"
            );
        }
        Some(Err(fault)) => {
            let _ = writeln!(out, "  facts    none: {}", one_line(&fault.message));
        }
        Some(Ok(facts)) => {
            let _ = writeln!(out, "  facts    (* is compared with what is wanted)");
            let hidden = secret_facts(task, &filled.values);
            for (name, fact) in &**facts {
                let is_secret = matches!(fact, Fact::Secret(_))
                    || hidden.contains(name.as_str())
                    || is_digest_beside_secret(name, &filled.values);
                let shown = if is_secret {
                    fingerprint(name, fact, &looked.fingerprints)
                } else {
                    crate::plan::shorten(fact.value())
                };
                let mark = if task.expect.contains_key(name) {
                    '*'
                } else {
                    ' '
                };
                let _ = writeln!(out, "           {mark} {name} = {shown}");
            }
        }
    }
    if let Some(stamp) = looked.observed.stamp(id) {
        let _ = writeln!(out, "  stamp    {} (left by the last apply)", stamp.key);
    }
}
