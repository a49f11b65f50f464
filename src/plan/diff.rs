//! What would change in files: which are worth reading once more, and how found and wanted differ line by line. Reads
//! nothing itself.

use similar::TextDiff;

use super::plan::Plan;
use super::verdict::Verdict;
use crate::catalog::{Collector, Value, Values, evaluate_over};
use crate::config::HostId;
use crate::graph::{Graph, Step, StepId, Target};
use crate::probe::{Ask, Fact, Facts, Question, stamp_path};

/// The input that a task calls what it puts into a file.
const CONTENT: &str = "content";

/// Unchanged lines shown around each change.
const CONTEXT: usize = 3;

/// A file to be read before its difference can be shown.
pub struct DiffAsk {
    /// The step that would change it.
    pub step: StepId,
    /// Where it is.
    pub host: HostId,
    /// What to ask there: its fact `content`.
    pub ask: Ask,
}

/// Returns the files that the plan would change and that may be shown: those of steps with a `content` input that is
/// not secret, whose digest the probe asks for.
#[must_use]
pub fn diff_asks(graph: &Graph, plan: &Plan) -> Vec<DiffAsk> {
    let changes = |id: &StepId| {
        matches!(
            plan.verdict(*id),
            Some(Verdict::Changed | Verdict::Drifted | Verdict::Missing)
        )
    };
    plan.order
        .iter()
        .copied()
        .filter(changes)
        .filter_map(|id| {
            let step = graph.step(id);
            let Target::Host(host) = step.target else {
                return None;
            };
            let values = plan.known.fill(&step.inputs).values;
            shown_content(&values)?;
            let question = Question {
                collector: Collector::Content,
                prefix: String::new(),
                subject: Value::Text(path(step, &values)?),
                secret: false,
            };
            let ask = Ask {
                label: step.label.to_string(),
                questions: vec![question],
                unnamed: Vec::new(),
                script: None,
                stamp: stamp_path(&step.label),
            };
            Some(DiffAsk {
                step: id,
                host,
                ask,
            })
        })
        .collect()
}

/// Returns what would change in the file of `step`, whose text `found` tells as the fact `content`, as a unified diff;
/// `None` if nothing would or nothing may be shown.
#[must_use]
pub fn diff(graph: &Graph, plan: &Plan, step: StepId, found: &Facts) -> Option<String> {
    let step = graph.step(step);
    let values = plan.known.fill(&step.inputs).values;
    let wanted = shown_content(&values)?;
    let path = path(step, &values)?;
    let Fact::Text(found) = found.get(CONTENT)? else {
        return None;
    };
    let (found, from) = if found == "absent" {
        ("", "/dev/null")
    } else {
        (found.as_str(), path.as_str())
    };
    unified(from, &path, found, wanted)
}

/// Returns a unified diff, or none if there is no difference.
fn unified(from: &str, to: &str, found: &str, wanted: &str) -> Option<String> {
    if found == wanted {
        return None;
    }
    let diff = TextDiff::from_lines(found, wanted);
    Some(
        diff.unified_diff()
            .context_radius(CONTEXT)
            .header(from, to)
            .to_string(),
    )
}

fn shown_content(values: &Values) -> Option<&str> {
    match values.get(CONTENT) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// The file that the step's probe takes the digest of, without a prefix: the one that `content` goes to.
fn path(step: &Step, values: &Values) -> Option<String> {
    let questions = &step.task.as_ref()?.probe.questions;
    let digest = questions
        .iter()
        .find(|spec| spec.collector == Collector::Digest && spec.prefix.is_empty())?;
    match evaluate_over(&digest.subject, values, None) {
        Ok((Value::Text(path), false)) => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn differences_are_shown_with_three_lines_around() {
        let found: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let wanted = found.replace("line 10\n", "line ten\n");
        insta::assert_snapshot!(unified("/etc/x", "/etc/x", &found, &wanted).unwrap(), @r"
        --- /etc/x
        +++ /etc/x
        @@ -7,7 +7,7 @@
         line 7
         line 8
         line 9
        -line 10
        +line ten
         line 11
         line 12
         line 13
        ");
        assert_eq!(unified("/etc/x", "/etc/x", "a", "a"), None);
        let new = unified("/dev/null", "/etc/x", "", "a").unwrap();
        assert!(new.ends_with("+a\n\\ No newline at end of file\n"), "{new}");
    }
}
