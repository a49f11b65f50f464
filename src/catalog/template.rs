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
use super::placeholder::Placeholder;
use super::task::Template;
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
    let result = compiled
        .evaluate(Jinja::from_pairs(context), Purpose::Value)
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
                      compared, tested, looped over or joined by `~`"
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

/// Name of the filter that stands at every `{{ }}` when only checking.
const LET_THROUGH: &str = "_let_through";

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
            ENVIRONMENTS[purpose as usize].compile_expression_owned(inner.to_owned())
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

/// Returns `text` with every `{{ expression }}` sent through the filter that lets nothing at all be put into text.
fn forgiving(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest
        .find("{{")
        .into_iter()
        .chain(rest.find("{%"))
        .chain(rest.find("{#"))
        .min()
    {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let close = match &rest[..2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = if close == "#}" {
            rest.find(close)
        } else {
            end_of_code(rest, close)
        };
        let Some(end) = end else { break };
        let (code, after) = rest.split_at(end + 2);
        if close == "}}" {
            let inner = &code[2..code.len() - 2];
            let (open, inner) = inner
                .strip_prefix('-')
                .map_or(("{{", inner), |inner| ("{{-", inner));
            let (end, inner) = inner
                .strip_suffix('-')
                .map_or(("}}", inner), |inner| ("-}}", inner));
            out.push_str(&format!("{open} ({inner}) | {LET_THROUGH} {end}"));
        } else {
            out.push_str(code);
        }
        rest = after;
        if close == "%}" && code.trim_matches(['{', '%', '-', '+', '}', ' ']) == "raw" {
            let raw = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..raw]);
            rest = &rest[raw..];
        }
    }
    out.push_str(rest);
    out
}

/// Returns `text` as one expression that gives the same: `"a-{{ b }}"` → `('a-' ~ (b))`. `None` when it has
/// blocks or comments, or an end is missing.
pub(super) fn as_expression(text: &str) -> Option<String> {
    let literal = |text: &str| {
        format!(
            "'{}'",
            text.replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('\n', "\\n")
        )
    };
    if let Some(inner) = single_expression(text)
        && end_of_code(text, "}}") == Some(text.len() - 2)
    {
        return Some(format!("({inner})"));
    }
    if text.contains("{%") || text.contains("{#") {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            parts.push(literal(&rest[..start]));
        }
        rest = &rest[start..];
        let end = end_of_code(rest, "}}")?;
        parts.push(format!("({})", &rest[2..end]));
        rest = &rest[end + 2..];
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(literal(rest));
    }
    Some(if parts.len() == 1 {
        parts.remove(0)
    } else {
        format!("({})", parts.join(" ~ "))
    })
}

/// Returns where `close` ends the code that `text` begins with, strings and nested brackets skipped.
fn end_of_code(text: &str, close: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for (at, c) in text.char_indices().skip(2) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if depth == 0 && text[at..].starts_with(close) => return Some(at),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// Returns what stands between the braces if `text` may be one `{{ expression }}`.
fn single_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn over(template: &str, inputs: &[(&str, Value)]) -> Result<(Value, bool), TemplateError> {
        let inputs = inputs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect();
        evaluate_over(&Template(template.to_owned()), &inputs, None)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn single_expressions_keep_their_type() {
        let list = Value::List(vec![text("a"), Value::Int(2)]);
        let map = Value::Map([("k".to_owned(), Value::Bool(true))].into());
        for (template, want) in [
            ("{{ list }}", list.clone()),
            ("{{ map }}", map.clone()),
            ("{{ none }}", Value::Null),
            ("{{ 1 + 1 }}", Value::Int(2)),
            ("{{- list[0] -}}", text("a")),
            (
                "{{ {'x': list[1]} }}",
                Value::Map([("x".to_owned(), Value::Int(2))].into()),
            ),
            ("{{ list[0] }} and {{ list[1] }}", text("a and 2")),
            ("{{ list | join('}}') }}", text("a}}2")),
            ("plain { text }", text("plain { text }")),
            ("{{ map.k }}\n", text("true\n")),
            (
                "{% raw %}{{ x }}{% endraw %}{# {{ y }} #}!",
                text("{{ x }}!"),
            ),
            (
                "{% if map.k %}\nyes\n{% endif %}\nend\n",
                text("yes\nend\n"),
            ),
        ] {
            let given = [("list", list.clone()), ("map", map.clone())];
            assert_eq!(over(template, &given), Ok((want, false)), "{template}");
        }
    }

    #[test]
    fn is_strict() {
        let list = [("list", Value::List(vec![])), ("nothing", Value::Null)];
        for template in [
            "{{ missing }}",
            "{{ missing.deep }}",
            "x {{ missing }}",
            "{{ missing | upper }}",
            "{{ missing == 1 }}",
            "x {{ list }}",
            "x {{ nothing }}",
            "{{ unclosed ",
            "{{ 1 / 3 }}",
            "{{ 'x' | nosuchfilter }}",
            "{% include 'x' %}",
        ] {
            assert!(over(template, &list).is_err(), "{template}");
        }
        let error = over("one\ntwo {{ list }}", &list).unwrap_err();
        assert_eq!(error.line, Some(2));
    }

    #[test]
    fn a_secret_taints_what_mentions_it() {
        let given = [
            ("pw", Value::Secret("hunter2".to_owned().into())),
            ("open", text("x")),
        ];
        assert_eq!(over("{{ open }}", &given), Ok((text("x"), false)));
        let (value, secret) = over("{{ pw | sha256 }}", &given).unwrap();
        assert!(secret);
        let Value::Secret(digest) = value else {
            panic!("not secret")
        };
        assert_eq!(
            digest.expose(),
            "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"
        );
        let (value, _) = over("{{ [open, 'is ' ~ pw] }}", &given).unwrap();
        assert!(!format!("{value:?}").contains("hunter2"));
        let error = over("{{ pw | bytes }}", &given).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn reads_facts_with_dots() {
        let facts: BTreeMap<_, _> = [
            ("mode".to_owned(), text("0644")),
            ("cert.mode".to_owned(), text("0600")),
            (
                "cert.token".to_owned(),
                Value::Secret("t".to_owned().into()),
            ),
        ]
        .into();
        let read = |template: &str| {
            evaluate_over(&Template(template.to_owned()), &Values::new(), Some(&facts))
        };
        assert_eq!(read("{{ facts.mode }}"), Ok((text("0644"), false)));
        assert_eq!(read("{{ facts.cert.mode }}"), Ok((text("0600"), false)));
        assert!(read("{{ facts['cert.mode'] }}").unwrap().0.is_secret());
        assert!(read("{{ facts.cert.token }}").unwrap().1);
        assert!(read("{{ facts.size }}").is_err());
    }

    #[test]
    fn filters() {
        for (template, want) in [
            ("{{ \"it's\" | shquote }}", r"'it'\''s'"),
            ("{{ 'a/b-c.d' | shquote }}", "a/b-c.d"),
            ("{{ '' | shquote }}", "''"),
            ("{{ 'a\"b${c}' | quote_hcl }}", r#""a\"b$${c}""#),
            ("{{ 'hi' | b64 }}", "aGk="),
            (
                "{{ {'b': [1, 'x'], 'a': none} | tojson }}",
                r#"{"a":null,"b":[1,"x"]}"#,
            ),
            (
                "{{ {'b': [1, 'x<y'], 'a': none} | toyaml }}",
                "a: null\nb:\n- 1\n- x<y\n",
            ),
            (
                "{{ '/etc/x/y.conf' | dirname }} {{ '/etc/x/y.conf' | basename }}",
                "/etc/x y.conf",
            ),
            ("{{ '/x' | dirname }}", "/"),
        ] {
            assert_eq!(over(template, &[]), Ok((text(want), false)), "{template}");
        }
        for (template, want) in [
            ("{{ '2.6.0' is version_ge('v2.6') }}", Value::Bool(true)),
            ("{{ '2.5.9' | version_ge('2.6.0') }}", Value::Bool(false)),
            ("{{ '10Ki' | bytes }}", Value::Int(10240)),
            ("{{ '1h' | seconds }}", Value::Int(3600)),
        ] {
            assert_eq!(over(template, &[]), Ok((want, false)), "{template}");
        }
    }

    #[test]
    fn placeholders_can_only_be_put_in() {
        let context = |hole: Jinja| {
            minijinja::context! { pw => hole.clone(), list => vec![hole, Jinja::from("x")] }
        };
        let (with, without) = (
            context(Placeholder(3).into_jinja()),
            context(Jinja::UNDEFINED),
        );
        let run = |template: &str| evaluate(&Template(template.to_owned()), &with, Some(&without));
        assert_eq!(
            run("pw={{ pw }}").unwrap().to_string(),
            format!("pw={}", Placeholder(3).into_jinja())
        );
        assert!(
            run("{{ pw }}")
                .unwrap()
                .downcast_object_ref::<Placeholder>()
                .is_some()
        );
        assert!(run("{{ {'a': [pw]} }}").is_ok());
        assert!(run("{{ list }}").is_ok());
        for template in [
            "{% if pw is not none %}{{ pw }}{% endif %}",
            "{% set x = pw %}{{- x -}}{# {{ #}{% raw %}{{ {% endraw %}",
            "{% for x in list %}{{ x }}{{ {'a': '}}'}['a'] }}{% endfor %}",
        ] {
            assert!(run(template).is_ok(), "{template}: {:?}", run(template));
        }
        for template in [
            "{{ pw == 'x' }}",
            "{% if pw %}x{% endif %}",
            "{{ pw | sha256 }}",
            "{{ {'a': pw} | tojson }}",
            "{{ list | toyaml }}",
            "{{ pw | length }}",
            "{{ pw | upper }}",
            "{{ 'a' in pw }}",
            "{{ pw.x }}",
            "{{ not pw }}",
            "{% for x in list %}{% if x == 'x' %}{{ x }}{% endif %}{% endfor %}",
            "x{{ pw == 'x' }}",
            "x{{ pw ~ 'x' }}",
        ] {
            assert!(run(template).is_err(), "{template}");
        }
    }

    #[test]
    fn tells_what_it_mentions() {
        let of = |template: &str| {
            mentions(&Template(template.to_owned()))
                .unwrap()
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("{{ host.name }}-{{ settings.a.b }}"),
            ["host.name", "settings.a.b"]
        );
        assert_eq!(
            of("{% for o in others %}{{ o.name }}{% endfor %}"),
            ["others"]
        );
        assert_eq!(of("plain"), Vec::<String>::new());
    }
}
