//! How a component moves over its hosts, as a recipe's `[rollout]`, a config's `components.<name>.rollout` or the command
//! line says it. Knows numbers and names, not which hosts there are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::recipe::Recipe;
use super::table::{Sink, Table};
use super::units::parse_duration;
use crate::config::{Node, Problem, Problems, Setting, Stack, suggest_help};

/// How long a health gate may take to find everything healthy, unless said.
pub const GATE_TIMEOUT: Duration = Duration::from_secs(300);

/// A number of hosts, or a percentage of all hosts of the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred, up to 100.
    Percent(u32),
}

impl Share {
    /// Returns how many of `total` make a batch: at least one, fractions count as a whole.
    #[must_use]
    pub fn at_least_one(self, total: usize) -> usize {
        let hosts = match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (total * percent as usize).div_ceil(100),
        };
        hosts.max(1)
    }

    /// Returns how many of `total` are within a limit: fractions don't count.
    #[must_use]
    pub fn at_most(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => total * percent as usize / 100,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is neither a number of hosts nor a percentage (`5`, `10%`)");
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent) if percent <= 100 => Ok(Self::Percent(percent)),
                Ok(_) => Err(format!("`{text}` is more than all hosts")),
                Err(_) => Err(wrong()),
            },
            None => text.trim().parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The first batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canary {
    /// The first so many hosts.
    Size(Share),
    /// These hosts, as far as the component runs on them.
    Hosts(Vec<String>),
}

impl FromStr for Canary {
    type Err = String;

    /// Reads a number, a percentage, or names of hosts with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(share) = text.parse() {
            return Ok(Self::Size(share));
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) || text.contains('%') {
            return Err(format!(
                "`{text}` is neither a number of hosts, nor a percentage, nor names of hosts (`1`, `5%`, `node-1,node-2`)"
            ));
        }
        Ok(Self::Hosts(names))
    }
}

/// What is said of a rollout; what is not said is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// A batch of its own before all others.
    pub canary: Option<Canary>,
    /// Sizes of the batches; the last holds for all further ones. Without any, all hosts are one batch.
    pub batches: Option<Vec<Share>>,
    /// How long a batch must have been up before it is looked at again and the next one begins.
    pub soak: Option<Duration>,
    /// Steps that must be satisfied, looked at afresh, before the next batch begins; the recipe's `health` unless said.
    pub gate: Option<Vec<String>>,
    /// How long to wait for them; [`GATE_TIMEOUT`] unless said.
    pub gate_timeout: Option<Duration>,
    /// How many hosts may fail before no further host begins; none unless said.
    pub max_failures: Option<Share>,
    /// How many hosts may be out of reach before no further host begins; any number unless said.
    pub max_unreachable: Option<Share>,
    /// How many hosts may be in the works, failed or out of reach at any moment.
    pub max_unavailable: Option<Share>,
}

impl Rollout {
    /// Returns this with `below` in the place of everything that is not said.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            canary: self.canary.or(below.canary),
            batches: self.batches.or(below.batches),
            soak: self.soak.or(below.soak),
            gate: self.gate.or(below.gate),
            gate_timeout: self.gate_timeout.or(below.gate_timeout),
            max_failures: self.max_failures.or(below.max_failures),
            max_unreachable: self.max_unreachable.or(below.max_unreachable),
            max_unavailable: self.max_unavailable.or(below.max_unavailable),
        }
    }

    /// Returns whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns the rollout of `recipe`'s component in `stack`: what the config says over what the recipe says, and the
/// recipe's `health` as its gate if neither names one. `None` where nobody says anything, or the config says `false`.
///
/// # Errors
/// All that is wrong with what the config says, with places there.
pub fn resolve_rollout(recipe: &Recipe, stack: &Stack) -> Result<Option<Rollout>, Problems> {
    let given = stack
        .components
        .get(&recipe.name)
        .and_then(|component| component.rollout.as_ref());
    let rollout = match given.map(|node| (&node.value, node)) {
        None | Some((Setting::Null, _)) => recipe.rollout.clone(),
        Some((Setting::Bool(false), _)) => return Ok(None),
        Some((_, node)) => {
            let sink = Sink::new(Problems::new(stack.source.clone()));
            let what = format!("`rollout` of `{}`", recipe.name);
            let own = Table::of(&sink, what, node.span, node.clone()).map(|table| {
                let gate = gate_span(node);
                let rollout = rollout(table);
                check_gate(&sink, &rollout, recipe, gate.unwrap_or(node.span));
                check_hosts(&sink, &rollout, stack, node.span);
                rollout
            });
            sink.into_problems().into_result(())?;
            Some(
                own.unwrap_or_default()
                    .over(recipe.rollout.clone().unwrap_or_default()),
            )
        }
    };
    Ok(rollout.map(|rollout| with_health(rollout, recipe)))
}

/// Returns `rollout` with the recipe's health steps as its gate, if it names none.
#[must_use]
pub fn with_health(rollout: Rollout, recipe: &Recipe) -> Rollout {
    rollout.over(Rollout {
        gate: Some(recipe.health.clone()),
        ..Rollout::default()
    })
}

fn gate_span(node: &Node) -> Option<crate::config::Span> {
    match &node.value {
        Setting::Map(entries) => entries.get("gate").map(|(_, node)| node.span),
        _ => None,
    }
}

fn check_gate(sink: &Sink, rollout: &Rollout, recipe: &Recipe, span: crate::config::Span) {
    for name in rollout.gate.iter().flatten() {
        if !recipe.steps.contains_key(name) {
            sink.push(
                Problem::at(span, format!("`{}` has no step `{name}`", recipe.name))
                    .maybe_help(suggest_help(name, recipe.steps.keys().map(String::as_str))),
            );
        }
    }
}

fn check_hosts(sink: &Sink, rollout: &Rollout, stack: &Stack, span: crate::config::Span) {
    let Some(Canary::Hosts(names)) = &rollout.canary else {
        return;
    };
    for name in names {
        if !stack.hosts.iter().any(|host| *host.name == **name) {
            sink.push(
                Problem::at(span, format!("`canary` names the unknown host `{name}`")).maybe_help(
                    suggest_help(name, stack.hosts.iter().map(|host| &*host.name)),
                ),
            );
        }
    }
}

/// Reads a `rollout` table.
pub(super) fn rollout(mut table: Table<'_>) -> Rollout {
    let sink = table.sink();
    let rollout = Rollout {
        canary: table
            .take("canary")
            .and_then(|(_, node)| canary(sink, &node)),
        batches: table.take("batches").map(|(_, node)| batches(sink, &node)),
        soak: duration(&mut table, "soak"),
        gate: table.take("gate").and_then(|(_, node)| gate(sink, &node)),
        gate_timeout: duration(&mut table, "gate_timeout"),
        max_failures: limit(&mut table, "max_failures"),
        max_unreachable: limit(&mut table, "max_unreachable"),
        max_unavailable: limit(&mut table, "max_unavailable"),
    };
    table.finish();
    rollout
}

fn canary(sink: &Sink, node: &Node) -> Option<Canary> {
    match &node.value {
        Setting::List(items) => {
            let names = items.iter().filter_map(|item| match &item.value {
                Setting::Text(name) => Some(name.clone()),
                _ => {
                    sink.push(Problem::at(item.span, "a host is named by text"));
                    None
                }
            });
            Some(Canary::Hosts(names.collect()))
        }
        _ => batch(sink, node).map(Canary::Size),
    }
}

fn batches(sink: &Sink, node: &Node) -> Vec<Share> {
    match &node.value {
        Setting::List(items) => items.iter().filter_map(|item| batch(sink, item)).collect(),
        _ => batch(sink, node).into_iter().collect(),
    }
}

/// Reads the size of a batch, which can't be nothing.
fn batch(sink: &Sink, node: &Node) -> Option<Share> {
    let share = share(sink, node)?;
    if matches!(share, Share::Count(0) | Share::Percent(0)) {
        sink.push(Problem::at(node.span, "a batch has at least one host"));
        return None;
    }
    Some(share)
}

fn share(sink: &Sink, node: &Node) -> Option<Share> {
    let read = match &node.value {
        Setting::Int(count) => u32::try_from(*count)
            .map(Share::Count)
            .map_err(|_| format!("`{count}` is no number of hosts")),
        Setting::Text(text) => text.parse(),
        _ => Err("a number of hosts or a percentage is wanted, such as `5` or \"10%\"".to_owned()),
    };
    read.map_err(|message| sink.push(Problem::at(node.span, message)))
        .ok()
}

fn limit(table: &mut Table<'_>, key: &'static str) -> Option<Share> {
    let (_, node) = table.take(key)?;
    let share = share(table.sink(), &node)?;
    if key == "max_unavailable" && matches!(share, Share::Count(0) | Share::Percent(0)) {
        table.sink().push(Problem::at(
            node.span,
            "with no host unavailable no host can be worked on: at least 1",
        ));
        return None;
    }
    Some(share)
}

fn gate(sink: &Sink, node: &Node) -> Option<Vec<String>> {
    match &node.value {
        Setting::Bool(false) => Some(Vec::new()),
        Setting::Text(name) => Some(vec![name.clone()]),
        Setting::List(items)
            if items
                .iter()
                .all(|item| matches!(item.value, Setting::Text(_))) =>
        {
            let names = items.iter().filter_map(|item| match &item.value {
                Setting::Text(name) => Some(name.clone()),
                _ => None,
            });
            Some(names.collect())
        }
        _ => {
            sink.push(Problem::at(
                node.span,
                "`gate` is the name of a step, a list of such, or `false`",
            ));
            None
        }
    }
}

/// Reads a duration; in a config, a bare number is seconds.
fn duration(table: &mut Table<'_>, key: &'static str) -> Option<Duration> {
    let (_, node) = table.take(key)?;
    let read = match &node.value {
        Setting::Int(0) => Ok(Duration::ZERO),
        Setting::Text(text) => parse_duration(text),
        _ => Err(format!("`{key}` is a duration, such as `90s` or `10m`")),
    };
    read.map_err(|message| table.sink().push(Problem::at(node.span, message)))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_hosts() {
        for (text, total, batch, limit) in [
            ("3", 100, 3, 3),
            ("0", 100, 1, 0),
            ("10%", 25, 3, 2),
            ("10%", 5, 1, 0),
            ("100%", 7, 7, 7),
            ("0%", 7, 1, 0),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.to_string(), text);
            assert_eq!(
                (share.at_least_one(total), share.at_most(total)),
                (batch, limit),
                "{text} of {total}"
            );
        }
        for text in ["", "-1", "101%", "ten", "1.5", "%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_canary_is_a_number_or_names() {
        assert_eq!("2".parse(), Ok(Canary::Size(Share::Count(2))));
        assert_eq!(
            "a,b".parse(),
            Ok(Canary::Hosts(vec!["a".to_owned(), "b".to_owned()]))
        );
        assert!("a,,b".parse::<Canary>().is_err());
        assert!("120%".parse::<Canary>().is_err());
    }

    #[test]
    fn what_is_said_later_wins() {
        let recipe = Rollout {
            batches: Some(vec![Share::Percent(25)]),
            max_failures: Some(Share::Count(1)),
            ..Rollout::default()
        };
        let config = Rollout {
            max_failures: Some(Share::Percent(5)),
            ..Rollout::default()
        };
        let both = config.over(recipe);
        assert_eq!(both.batches, Some(vec![Share::Percent(25)]));
        assert_eq!(both.max_failures, Some(Share::Percent(5)));
    }
}
