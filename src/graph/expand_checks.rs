//! What recipes say must or should hold of the stack's settings and hosts. Does not know steps.

use minijinja::value::ValueKind;

use super::expand::Expansion;
use crate::catalog::{AllProblems, StackCheck, Template};
use crate::config::{Problem, Setting, Span};

/// What came of the checks.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// What is refused, with places in the config.
    pub refused: AllProblems,
    /// What is only warned of.
    pub warnings: Vec<Problem>,
}

impl Expansion<'_> {
    /// Evaluates the checks of all components. A check that can't be evaluated is a problem of its recipe.
    pub fn checks(&self, problems: &mut AllProblems) -> Checked {
        let mut checked = Checked::default();
        for (part, of) in self.parts.iter().enumerate() {
            for (name, check) in &of.base.recipe.checks {
                let Some(mut problem) = self.check(part, name, check, problems) else {
                    continue;
                };
                problem.span = self.place(part, check.setting.as_deref());
                if check.refuse {
                    checked.refused.push(&self.stack.source, problem);
                } else {
                    checked.warnings.push(problem);
                }
            }
        }
        checked
    }

    /// Returns what one check has to say, if anything.
    fn check(
        &self,
        part: usize,
        name: &str,
        check: &StackCheck,
        problems: &mut AllProblems,
    ) -> Option<Problem> {
        let key = if check.refuse { "refuse" } else { "warn" };
        let mut wrong = |key: &str, line, message: String| {
            let message = format!("`{key}` of check `{name}`: {message}");
            self.report(part, problems, &["checks", name, key], line, message);
        };
        match self.evaluate(part, &check.when, None, None) {
            Ok(value) if value.kind() == ValueKind::Bool => {
                if !value.is_true() {
                    return None;
                }
            }
            Ok(value) => {
                let kind = value.kind();
                wrong(
                    "when",
                    None,
                    format!("it must give true or false, not {kind}"),
                );
                return None;
            }
            Err(error) => {
                wrong("when", error.line, error.message);
                return None;
            }
        }
        let mut words = |key: &str, template: &Template| {
            self.evaluate(part, template, None, None)
                .map(|value| value.to_string())
                .map_err(|error| wrong(key, error.line, error.message))
                .ok()
        };
        let message = words(key, &check.say)?;
        let help = match &check.help {
            Some(help) => Some(words("help", help)?),
            None => None,
        };
        Some(Problem::new(message).maybe_help(help))
    }

    /// Returns where the config says what the check is about: the setting, else the component.
    fn place(&self, part: usize, setting: Option<&str>) -> Option<Span> {
        let component = self.stack.components.get(&*self.parts[part].name)?;
        let written = setting.and_then(|setting| match &component.settings.value {
            Setting::Map(entries) => entries.get(setting).map(|(span, _)| *span),
            _ => None,
        });
        Some(written.unwrap_or(component.span))
    }
}
