//! A run as JUnit XML, for the test pages of CI systems: a suite for each component, a case for each step and kind of
//! host. Ten thousand hosts of one kind are one case, which names those that are not as wanted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indexmap::IndexMap;

use super::merge::Outcome;
use super::words;
use crate::event::Final;
use crate::terminal::shown;

/// Hosts named in a failure; the rest is counted.
const NAMED: usize = 20;

/// The steps of one case.
#[derive(Default)]
struct Case<'a> {
    steps: Vec<&'a Outcome>,
}

/// Returns the report of `outcomes`, of which `group` says what kind of host each host is.
#[must_use]
pub fn junit(outcomes: &[Outcome], group: &BTreeMap<String, String>, ms: u64) -> String {
    let mut suites: IndexMap<&str, IndexMap<(&str, &str), Case<'_>>> = IndexMap::new();
    for outcome in outcomes {
        let (component, step) = parts(&outcome.label);
        let kind = outcome
            .host
            .as_deref()
            .map_or("", |host| group.get(host).map_or("hosts", String::as_str));
        let cases = suites.entry(component).or_default();
        cases.entry((step, kind)).or_default().steps.push(outcome);
    }
    let all = || suites.values().flat_map(IndexMap::values);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"foundry\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">",
        all().count(),
        all().filter(|case| case.kind() == Kind::Failure).count(),
        all().filter(|case| case.kind() == Kind::Error).count(),
        all().filter(|case| case.kind() == Kind::Skipped).count(),
        seconds(ms),
    );
    for (component, cases) in &suites {
        let count = |kind| cases.values().filter(|case| case.kind() == kind).count();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">",
            escape(component),
            cases.len(),
            count(Kind::Failure),
            count(Kind::Error),
            count(Kind::Skipped),
            seconds(cases.values().map(Case::longest).sum()),
        );
        for ((step, kind), case) in cases {
            case.write(&mut out, component, step, kind);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Failure,
    Error,
    Skipped,
}

impl Case<'_> {
    fn of(&self, states: &[Final]) -> impl Iterator<Item = &Outcome> {
        let states = states.to_vec();
        self.steps
            .iter()
            .copied()
            .filter(move |step| states.contains(&step.state))
    }

    /// A failure on one host is a failure of the case; out of reach or broken off is an error; what was not begun is
    /// skipped.
    fn kind(&self) -> Kind {
        let any = |states: &[Final]| self.of(states).next().is_some();
        if any(&[Final::Failed]) {
            Kind::Failure
        } else if any(&[Final::Unreachable, Final::Interrupted]) {
            Kind::Error
        } else if any(&[Final::Blocked, Final::Skipped]) {
            Kind::Skipped
        } else {
            Kind::Passed
        }
    }

    fn longest(&self) -> u64 {
        self.steps.iter().map(|step| step.ms).max().unwrap_or(0)
    }

    fn write(&self, out: &mut String, component: &str, step: &str, kind: &str) {
        let name = match kind {
            "" => step.to_owned(),
            kind => format!("{step} on {kind}"),
        };
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            escape(component),
            escape(&name),
            seconds(self.longest()),
        );
        let states: &[Final] = match self.kind() {
            Kind::Passed => {
                out.push_str("/>\n");
                return;
            }
            Kind::Failure => &[Final::Failed],
            Kind::Error => &[Final::Unreachable, Final::Interrupted],
            Kind::Skipped => &[Final::Blocked, Final::Skipped],
        };
        let tag = match self.kind() {
            Kind::Failure => "failure",
            Kind::Error => "error",
            Kind::Passed | Kind::Skipped => "skipped",
        };
        let bad: Vec<&Outcome> = self.of(states).collect();
        let total = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let first = bad.first().map_or_else(String::new, |step| step.why());
        let message = if total == 1 {
            first
        } else {
            format!("{} of {}: {first}", bad.len(), words::count(total, "host"))
        };
        let _ = write!(
            out,
            ">\n      <{tag} message=\"{}\"",
            escape(&message.replace('\n', " "))
        );
        if tag == "skipped" {
            out.push_str("/>\n    </testcase>\n");
            return;
        }
        out.push('>');
        for step in bad.iter().take(NAMED) {
            let _ = writeln!(out, "{}: {}", escape(&step.label), escape(&step.why()));
            if let Some(output) = step
                .trouble
                .as_ref()
                .and_then(|trouble| trouble.output.as_ref())
            {
                let _ = writeln!(out, "{}", escape(output));
            }
        }
        if bad.len() > NAMED {
            let _ = writeln!(out, "and {} more", bad.len() - NAMED);
        }
        let _ = write!(out, "</{tag}>\n    </testcase>\n");
    }
}

/// Takes a label apart: the component, and the step with its item but without the host.
fn parts(label: &str) -> (&str, &str) {
    let (component, rest) = label.split_once(':').unwrap_or(("", label));
    let step = match (rest.rfind(']'), rest.rfind('@')) {
        (Some(item), Some(host)) if host < item => rest,
        (_, Some(host)) => &rest[..host],
        (_, None) => rest,
    };
    (component, step)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Makes text safe within XML; other control characters are shown.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            // What XML can't have at all, and what would turn the page around that shows it.
            c => out.push_str(&shown(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::merge::Merged;

    #[test]
    fn a_case_for_each_step_and_kind_of_host() {
        let merged = Merged::of([fixture::run().as_slice()]);
        insta::assert_snapshot!(junit(&merged.outcomes, &merged.groups, merged.ms), @r##"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="foundry" tests="4" failures="1" errors="0" skipped="1" time="62.100">
          <testsuite name="base" tests="1" failures="0" errors="0" skipped="0" time="0.000">
            <testcase classname="base" name="time on demo" time="0.000"/>
          </testsuite>
          <testsuite name="demo" tests="3" failures="1" errors="0" skipped="1" time="62.630">
            <testcase classname="demo" name="config on demo" time="1.100"/>
            <testcase classname="demo" name="service on demo" time="61.530">
              <failure message="applied, but still not as wanted: fact `active` is failed, wanted active">demo:service@b: applied, but still not as wanted: fact `active` is failed, wanted active
        Job for demo.service failed.
        listen tcp :8200: address already in use
        </failure>
            </testcase>
            <testcase classname="demo" name="join on demo" time="0.000">
              <skipped message="blocked by demo:service@b"/>
            </testcase>
          </testsuite>
        </testsuites>
        "##);
    }

    #[test]
    fn labels_come_apart_whatever_their_items() {
        assert_eq!(parts("a:b[c@d]@h"), ("a", "b[c@d]"));
        assert_eq!(parts("a:b[c@d]"), ("a", "b[c@d]"));
        assert_eq!(parts("a:b"), ("a", "b"));
    }

    #[test]
    fn nothing_breaks_out_of_xml() {
        assert_eq!(
            escape("<a b=\"c\">&\u{1b}\u{0}\u{202e}\r\n"),
            "&lt;a b=&quot;c&quot;&gt;&amp;^[^@\\u{202e}\n"
        );
    }
}
