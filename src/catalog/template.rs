//! Evaluates templates: strict about what is undefined, native values for single expressions, compiled once.
//! Does not know where the variables come from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, RwLock};

use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value as Jinja,
    escape_formatter,
};

use super::convert::{from_jinja, to_jinja};
use super::filter;
use super::placeholder::{Placeholder, all_known};
use super::task::Template;
use super::template_text::{LET_THROUGH, forgiving, lenient, single_expression};
use super::value::{Value, Values};
use crate::secret::Secret;

/// Why a template gave no value. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// Line within the template, from 1, where that is known.
    pub line: Option<u32>,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: None,
        }
    }

    /// Takes over what minijinja says; `secret` keeps its details out, which may quote values.
    fn from_jinja(error: &Error, secret: bool) -> Self {
        let message = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => format!(
                "it does too much: more than {FUEL} steps of work; does it loop over a loop, or over a large range?"
            ),
            (kind, Some(_)) if secret => format!("{kind} (it mentions a secret, so no details)"),
            (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self {
            message,
            line: error.line().and_then(|line| u32::try_from(line).ok()),
        }
    }
}

/// Most that one evaluation may do, in instructions and bytes as minijinja counts them. A file that names ten thousand hosts takes
/// a million.
const FUEL: u64 = 20_000_000;

/// Evaluates `template` over known inputs (and facts, where a template may use them as `facts.name`).
/// The second of the result tells whether it mentions a secret; then every text in the first is [`Value::Secret`].
///
/// # Errors
/// When the template is wrong, mentions what is not there, or gives what is no [`Value`].
pub fn evaluate_over(
    template: &Template,
    inputs: &Values,
    facts: Option<&BTreeMap<String, Value>>,
) -> Result<(Value, bool), TemplateError> {
    let compiled = compile(template)?;
    if let Kind::Plain(_) = compiled.kind {
        return Ok((Value::Text(template.0.clone()), false));
    }
    let mut secret = false;
    let mut context = Vec::with_capacity(compiled.variables.len());
    for name in &compiled.variables {
        if let Some(value) = inputs.get(name) {
            secret |= value.is_secret();
            context.push((Jinja::from(name.as_str()), to_jinja(value)));
        }
    }
    if let Some(facts) = facts
        && compiled.variables.contains("facts")
    {
        secret |= facts
            .iter()
            .any(|(name, value)| value.is_secret() && compiled.may_mention_fact(name));
        context.push((Jinja::from("facts"), FactTree::root(facts)));
    }
    let result = all_known(|| compiled.evaluate(Jinja::from_pairs(context), Purpose::Value))
        .map_err(|e| TemplateError::from_jinja(&e, secret))?;
    if result.is_undefined() {
        return Err(TemplateError::new(format!(
            "{} is not defined",
            template.0.trim()
        )));
    }
    let value = from_jinja(&result).map_err(|e| {
        TemplateError::new(if secret {
            "gives no value (it mentions a secret, so no details)".into()
        } else {
            e
        })
    })?;
    Ok((if secret { conceal(value) } else { value }, secret))
}

/// Evaluates `template` over a context of the engine's own making, which may hold [`Placeholder`]s.
///
/// `without` is the same context with [`Jinja::UNDEFINED`] in the places of all placeholders, if there are any.
/// Whether two values are compared can't be overheard. So the template is evaluated once more with nothing at all
/// in those places: nothing may be put into text, a list or a map, and whatever else happens to it is an error.
///
/// # Errors
/// As [`evaluate_over`], and when a placeholder is compared, tested or looked into.
pub fn evaluate(
    template: &Template,
    context: &Jinja,
    without: Option<&Jinja>,
) -> Result<Jinja, TemplateError> {
    let result = evaluate_for(Purpose::Value, template, context)?;
    if result.is_undefined() {
        return Err(TemplateError::new(format!(
            "{} is not defined",
            template.0.trim()
        )));
    }
    if let Some(without) = without {
        evaluate_for(Purpose::Check, template, without).map_err(|e| TemplateError {
            message: "a secret or an output of a step is not known yet: it can be put in as it is, but not \
                      compared, tested or looped over"
                .to_owned(),
            ..e
        })?;
    }
    Ok(result)
}

/// Evaluates `template` for one purpose: one half of [`evaluate`], for functions that templates call.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_for(
    purpose: Purpose,
    template: &Template,
    context: &Jinja,
) -> Result<Jinja, TemplateError> {
    compile(template)?
        .evaluate(context.clone(), purpose)
        .map_err(|e| TemplateError::from_jinja(&e, false))
}

/// Returns the variables that `template` takes from its context, with the attributes it reads of them where that is
/// plain to see: `host.name`, `settings.audit.path`, `others`. Functions it calls are among them.
///
/// # Errors
/// When it can't be compiled.
pub fn mentions(template: &Template) -> Result<BTreeSet<String>, TemplateError> {
    Ok(compile(template)?.nested.clone())
}

/// A compiled template.
struct Compiled {
    kind: Kind,
    /// Variables it takes from the context.
    variables: BTreeSet<String>,
    /// The same with attributes.
    nested: BTreeSet<String>,
}

enum Kind {
    /// Text without any template in it.
    Plain(Arc<str>),
    /// One `{{ expression }}`, once per purpose.
    Expression([Expression<'static, 'static>; 2]),
    /// Anything else: the name in the environment of each purpose.
    Text([String; 2]),
}

/// What an evaluation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its value.
    Value,
    /// Only to see whether it goes without the values to come.
    Check,
}

impl Compiled {
    fn evaluate(&self, context: Jinja, purpose: Purpose) -> Result<Jinja, Error> {
        match &self.kind {
            Kind::Plain(text) => Ok(Jinja::from(text.clone())),
            Kind::Expression(both) => both[purpose as usize].eval(context),
            Kind::Text(names) => ENVIRONMENTS[purpose as usize]
                .get_template(&names[purpose as usize])?
                .render(context)
                .map(Jinja::from),
        }
    }

    /// Returns whether the fact `name` may be read.
    fn may_mention_fact(&self, name: &str) -> bool {
        self.nested.iter().any(|mention| {
            mention == "facts"
                || mention.strip_prefix("facts.").is_some_and(|read| {
                    name == read
                        || name.starts_with(&format!("{read}."))
                        || read.starts_with(&format!("{name}."))
                })
        })
    }
}

/// Marks a template's name among those that the loader may load: the rest of the name is the template itself.
const TEXT: char = '\u{1}';

/// One environment per purpose. Templates are few (those of the catalog), so compiled ones are kept for good.
static ENVIRONMENTS: LazyLock<[Environment<'static>; 2]> =
    LazyLock::new(|| [environment(Purpose::Value), environment(Purpose::Check)]);

static COMPILED: LazyLock<RwLock<HashMap<Template, Arc<Compiled>>>> =
    LazyLock::new(Default::default);

fn environment(purpose: Purpose) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(
        minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .unwrap_or_default(),
    );
    environment.set_fuel(Some(FUEL));
    environment.set_loader(|name| Ok(name.strip_prefix(TEXT).map(str::to_owned)));
    environment.set_formatter(|out, state, value| match value.kind() {
        // Not Python's words.
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        ValueKind::None => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a value that is not given (none) can't be put into text; ask `{% if x is not none %}` or use `| default('…', true)`",
        )),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a {} can't be put into text as it is; use `| join(', ')`, `| tojson` or `| toyaml`", value.kind()),
        )),
        ValueKind::Plain if value.downcast_object_ref::<Placeholder>().is_none() => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a function can't be put into text; call it",
        )),
        _ => escape_formatter(out, state, value),
    });
    filter::register(&mut environment);
    if purpose == Purpose::Check {
        environment.add_filter(LET_THROUGH, |value: Jinja| {
            if value.is_undefined() {
                Jinja::from("")
            } else {
                value
            }
        });
        environment.add_test("none", |value: Jinja| value.is_none());
        filter::register_without(&mut environment);
    }
    environment
}

/// Returns `template` compiled, from the cache if it was there.
fn compile(template: &Template) -> Result<Arc<Compiled>, TemplateError> {
    let poisoned = || TemplateError::new("the template cache was left behind by a panic");
    if let Some(compiled) = COMPILED.read().map_err(|_| poisoned())?.get(template) {
        return Ok(compiled.clone());
    }
    let compiled =
        Arc::new(compile_anew(&template.0).map_err(|e| TemplateError::from_jinja(&e, false))?);
    COMPILED
        .write()
        .map_err(|_| poisoned())?
        .insert(template.clone(), compiled.clone());
    Ok(compiled)
}

fn compile_anew(text: &str) -> Result<Compiled, Error> {
    if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
        return Ok(Compiled {
            kind: Kind::Plain(text.into()),
            variables: BTreeSet::new(),
            nested: BTreeSet::new(),
        });
    }
    if let Some(inner) = single_expression(text) {
        let compile = |purpose: Purpose| {
            let inner = match purpose {
                Purpose::Value => inner.to_owned(),
                Purpose::Check => lenient(inner),
            };
            ENVIRONMENTS[purpose as usize].compile_expression_owned(inner)
        };
        match compile(Purpose::Value) {
            Ok(expression) => {
                return Ok(Compiled {
                    variables: expression.undeclared_variables(false).into_iter().collect(),
                    nested: expression.undeclared_variables(true).into_iter().collect(),
                    kind: Kind::Expression([expression, compile(Purpose::Check)?]),
                });
            }
            // `{{ a }} and {{ b }}` begins and ends like one expression.
            Err(error) if !inner.contains("}}") => return Err(error),
            Err(_) => {}
        }
    }
    let names = [
        format!("{TEXT}{text}"),
        format!("{TEXT}{}", forgiving(text)),
    ];
    let template = ENVIRONMENTS[Purpose::Value as usize].get_template(&names[0])?;
    let variables = template.undeclared_variables(false).into_iter().collect();
    let nested = template.undeclared_variables(true).into_iter().collect();
    Ok(Compiled {
        kind: Kind::Text(names),
        variables,
        nested,
    })
}

/// Makes every text in `value` a secret.
fn conceal(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Secret(Secret::new(text)),
        Value::List(items) => Value::List(items.into_iter().map(conceal).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(k, v)| (k, conceal(v))).collect())
        }
        other => other,
    }
}

/// Facts as a template reads them: `facts.mode`, `facts.cert.mode`, `facts["cert.mode"]`.
#[derive(Debug)]
struct FactTree {
    facts: BTreeMap<String, Jinja>,
    prefix: String,
}

impl FactTree {
    fn root(facts: &BTreeMap<String, Value>) -> Jinja {
        Jinja::from_object(Self {
            facts: facts
                .iter()
                .map(|(name, value)| (name.clone(), to_jinja(value)))
                .collect(),
            prefix: String::new(),
        })
    }
}

impl Object for FactTree {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let name = format!("{}{}", self.prefix, key.as_str()?);
        if let Some(value) = self.facts.get(&name) {
            return Some(value.clone());
        }
        let prefix = format!("{name}.");
        let below = |(name, _): (&String, &Jinja)| name.starts_with(&prefix);
        self.facts
            .range(prefix.clone()..)
            .next()
            .is_some_and(below)
            .then(|| {
                Jinja::from_object(Self {
                    facts: self.facts.clone(),
                    prefix: prefix.clone(),
                })
            })
    }
}
