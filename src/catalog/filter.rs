//! What templates can do beyond minijinja's own filters and tests. Knows no task and no recipe.

use std::sync::LazyLock;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Jinja};
use sha2::{Digest as _, Sha256};

use super::convert::{from_jinja, json_to_jinja, to_json};
use super::encode::Encoder;
use super::placeholder::{
    Piece, Placeholder, encoded, holds_placeholder, joined, split, text_holds_placeholder,
};
use super::units::{parse_duration, parse_size};
use super::version::Version;
use crate::config::check_yaml;

/// Longest text that `fromyaml` reads, in bytes.
const LONGEST: usize = 16 << 20;

/// Names of our filters, for the reference and for suggestions.
pub const FILTERS: &[&str] = &[
    "addresses",
    "b64",
    "basename",
    "bytes",
    "curl",
    "dirname",
    "fromyaml",
    "hcl",
    "ini",
    "json",
    "merge",
    "quote_hcl",
    "seconds",
    "sh",
    "sha256",
    "shquote",
    "systemd",
    "tojson",
    "toml",
    "toyaml",
    "version_eq",
    "version_ge",
    "version_gt",
    "version_le",
    "version_lt",
    "with_role",
    "without_role",
    "yaml",
];

/// Filters of minijinja that look into a text or a number: a value to come can't go through them. The others only
/// pick, order or join values.
const LOOK_INSIDE: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "escape",
    "e",
    "float",
    "format",
    "indent",
    "int",
    "length",
    "lines",
    "lower",
    "max",
    "min",
    "pprint",
    "replace",
    "round",
    "sort",
    "split",
    "sum",
    "title",
    "trim",
    "unique",
    "upper",
];

/// Adds them all to `environment`.
pub(super) fn register(environment: &mut Environment<'static>) {
    for name in LOOK_INSIDE {
        // Keyword arguments (`sort(reverse=true)`) are the last of them, as values of their own kind.
        environment.add_filter(*name, move |args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            refuse_placeholders(name, &args)?;
            unguarded(name, &args)
        });
    }
    text_filter(environment, "sha256", |text| {
        Ok(hex::encode(Sha256::digest(text.as_bytes())))
    });
    let encoders = Encoder::ALL.map(|encoder| (encoder.name(), encoder));
    let older = [("shquote", Encoder::Sh), ("quote_hcl", Encoder::Hcl)];
    for (name, encoder) in encoders.into_iter().chain(older) {
        environment.add_filter(name, move |value: Jinja| STRICT.scalar(encoder, &value));
    }
    text_filter(environment, "basename", |text| {
        Ok(text.rsplit('/').next().unwrap_or_default().to_owned())
    });
    text_filter(environment, "dirname", |text| {
        Ok(match text.rsplit_once('/') {
            Some(("", _)) => "/".to_owned(),
            Some((folder, _)) => folder.to_owned(),
            None => ".".to_owned(),
        })
    });
    environment.add_filter("bytes", |value: Jinja| {
        number("bytes", &value, |text| parse_size(text).map(Jinja::from))
    });
    environment.add_filter("seconds", |value: Jinja| {
        number("seconds", &value, |text| {
            parse_duration(text).map(|duration| Jinja::from(duration.as_secs()))
        })
    });
    environment.add_filter("tojson", |value: Jinja, options: Kwargs| {
        let pretty: Option<bool> = options.get("indent")?;
        options.assert_all_used()?;
        if pretty != Some(true) && holds_placeholder(&value) {
            return STRICT.flow(Encoder::Json, &value);
        }
        let json = json_of("tojson", &value)?;
        if pretty.unwrap_or(false) {
            serde_json::to_string_pretty(&json)
        } else {
            serde_json::to_string(&json)
        }
        .map_err(|e| wrong(format!("tojson: {e}")))
    });
    environment.add_filter("toyaml", |value: Jinja| {
        serde_yaml::to_string(&json_of("toyaml", &value)?)
            .map_err(|e| wrong(format!("toyaml: {e}")))
    });
    environment.add_filter("fromyaml", |value: Jinja| {
        let text = value
            .as_str()
            .ok_or_else(|| wrong(format!("fromyaml takes text, not {}", value.kind())))?;
        from_yaml(text).map_err(|e| wrong(format!("fromyaml: {e}")))
    });
    environment.add_filter("merge", |base: Jinja, over: Jinja| merged(&base, &over));
    environment.add_filter("with_role", |hosts: Jinja, role: &str| {
        by_role(&hosts, role, true)
    });
    environment.add_filter("without_role", |hosts: Jinja, role: &str| {
        by_role(&hosts, role, false)
    });
    environment.add_filter("addresses", addresses);
    version_filter(environment, "version_eq", std::cmp::Ordering::is_eq);
    version_filter(environment, "version_ge", std::cmp::Ordering::is_ge);
    version_filter(environment, "version_gt", std::cmp::Ordering::is_gt);
    version_filter(environment, "version_le", std::cmp::Ordering::is_le);
    version_filter(environment, "version_lt", std::cmp::Ordering::is_lt);
}

/// Returns the address by which the others reach each host, by its name.
fn addresses(hosts: &Jinja) -> Result<Jinja, Error> {
    let entry = |host: Jinja| {
        let inner = host.get_attr("labels")?.get_attr("internal-address")?;
        let address = if inner.is_undefined() {
            host.get_attr("address")?
        } else {
            inner
        };
        Ok((host.get_attr("name")?, address))
    };
    let entries: Result<Vec<(Jinja, Jinja)>, Error> = hosts.try_iter()?.map(entry).collect();
    Ok(Jinja::from_pairs(entries?))
}

/// Returns those of `hosts` that have the role, or those that have not.
fn by_role(hosts: &Jinja, role: &str, wanted: bool) -> Result<Vec<Jinja>, Error> {
    let has = |host: &Jinja| -> Result<bool, Error> {
        let mut roles = host.get_attr("roles")?.try_iter()?;
        Ok(roles.any(|own| own.as_str() == Some(role)) == wanted)
    };
    let mut found = Vec::new();
    for host in hosts.try_iter()? {
        if has(&host)? {
            found.push(host);
        }
    }
    Ok(found)
}

/// Replaces the filters that take values to come by ones that take nothing at all in their place.
pub(super) fn register_without(environment: &mut Environment<'static>) {
    let encoders = Encoder::ALL.map(|encoder| (encoder.name(), encoder));
    let older = [("shquote", Encoder::Sh), ("quote_hcl", Encoder::Hcl)];
    for (name, encoder) in encoders.into_iter().chain(older) {
        environment.add_filter(name, move |value: Jinja| LENIENT.scalar(encoder, &value));
    }
    environment.add_filter("tojson", |value: Jinja, options: Kwargs| {
        let _: Option<bool> = options.get("indent")?;
        options.assert_all_used()?;
        LENIENT.flow(Encoder::Json, &value)
    });
}

/// Writes values by encoders.
struct Writing {
    /// Whether nothing at all may stand in the place of a value: only so that what is written without the values to come can be
    /// looked at.
    lenient: bool,
}

const STRICT: Writing = Writing { lenient: false };
const LENIENT: Writing = Writing { lenient: true };

impl Writing {
    /// Writes `value` by an encoder: now, or once the values to come in it are known.
    fn scalar(&self, encoder: Encoder, value: &Jinja) -> Result<String, Error> {
        let cant = |why: &str| {
            wrong(format!(
                "the value can't be written as `{}`: {why}",
                encoder.name()
            ))
        };
        let literal = matches!(
            encoder,
            Encoder::Yaml | Encoder::Json | Encoder::Toml | Encoder::Hcl
        );
        let flows = matches!(encoder, Encoder::Yaml | Encoder::Json);
        match value.kind() {
            ValueKind::String => text_scalar(encoder, value.as_str().unwrap_or_default()),
            ValueKind::Plain if value.downcast_object_ref::<Placeholder>().is_some() => {
                Ok(encoded(encoder, &value.to_string()))
            }
            ValueKind::Bool if literal => {
                Ok(if value.is_true() { "true" } else { "false" }.to_owned())
            }
            ValueKind::Number if literal => Ok(value.to_string()),
            ValueKind::Number => text_scalar(encoder, &value.to_string()),
            ValueKind::Bool => text_scalar(encoder, if value.is_true() { "true" } else { "false" }),
            ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable if flows => {
                self.flow(encoder, value)
            }
            ValueKind::Seq | ValueKind::Iterable if literal => {
                let items: Result<Vec<String>, Error> = value
                    .try_iter()?
                    .map(|item| self.scalar(encoder, &item))
                    .collect();
                Ok(format!("[{}]", items?.join(", ")))
            }
            ValueKind::Undefined if self.lenient => Ok(String::new()),
            ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
            kind => Err(cant(&format!("it is a {kind}"))),
        }
    }

    /// Writes `value` as JSON in one line, which is YAML too; values to come in it go through `encoder`.
    fn flow(&self, encoder: Encoder, value: &Jinja) -> Result<String, Error> {
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Result<Vec<String>, Error> = value
                    .try_iter()?
                    .map(|item| self.flow(encoder, &item))
                    .collect();
                Ok(format!("[{}]", items?.join(",")))
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    let name = key.to_string();
                    refuse_placeholders(encoder.name(), &[Jinja::from(name.as_str())])?;
                    entries.push((name, self.flow(encoder, &value.get_item(&key)?)?));
                }
                // Sorted, as `tojson` writes what is known.
                entries.sort();
                let entries: Result<Vec<String>, Error> = entries
                    .into_iter()
                    .map(|(name, value)| Ok(format!("{}:{value}", text_scalar(encoder, &name)?)))
                    .collect();
                Ok(format!("{{{}}}", entries?.join(",")))
            }
            ValueKind::String | ValueKind::Plain => self.scalar(encoder, value),
            ValueKind::Undefined if self.lenient => Ok("null".to_owned()),
            ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
            _ => serde_json::to_string(&json_of(encoder.name(), value)?)
                .map_err(|e| wrong(format!("{}: {e}", encoder.name()))),
        }
    }
}

fn text_scalar(encoder: Encoder, text: &str) -> Result<String, Error> {
    if text_holds_placeholder(text) {
        return Ok(encoded(encoder, text));
    }
    encoder
        .encode(text)
        .map(|text| (*text).clone())
        .map_err(|why| {
            wrong(format!(
                "the value can't be written as `{}`: {why}",
                encoder.name()
            ))
        })
}

/// Marks the place of what goes through an encoder, for a parser of YAML: it is a plain scalar to it.
const STAND_IN: char = '\u{F57AF}';

/// Reads YAML. What goes through an encoder in it is a scalar whose text is what was put in; a value to come that is put in as it
/// is stays where it is, within one scalar.
fn from_yaml(text: &str) -> Result<Jinja, String> {
    check_yaml(text, LONGEST)?;
    let parse = |text: &str| serde_yaml::from_str(text).map_err(|e| e.to_string());
    if !text_holds_placeholder(text) {
        return Ok(json_to_jinja(parse(text)?));
    }
    let mut inner = Vec::new();
    let mut stood_in = String::with_capacity(text.len());
    for piece in split(text)? {
        match piece {
            Piece::Encoded(Encoder::Yaml | Encoder::Json, text) => {
                stood_in.push_str(&format!("{STAND_IN}{}{STAND_IN}", inner.len()));
                inner.push(joined(&text));
            }
            other => stood_in.push_str(&joined(&[other])),
        }
    }
    let mut parsed: serde_json::Value = parse(&stood_in)?;
    put_back(&mut parsed, &inner)?;
    Ok(json_to_jinja(parsed))
}

/// Puts texts back where they were stood in for.
fn put_back(value: &mut serde_json::Value, inner: &[String]) -> Result<(), String> {
    use serde_json::Value as Json;
    let misplaced = || {
        "what goes through `| yaml` must be a value of its own: not a key, not within quotes or other text"
            .to_owned()
    };
    match value {
        Json::String(text) if text.contains(STAND_IN) => {
            let number = text
                .strip_prefix(STAND_IN)
                .and_then(|text| text.strip_suffix(STAND_IN))
                .and_then(|number| number.parse::<usize>().ok());
            *text = number
                .and_then(|number| inner.get(number))
                .ok_or_else(misplaced)?
                .clone();
            Ok(())
        }
        Json::Array(items) => items.iter_mut().try_for_each(|item| put_back(item, inner)),
        Json::Object(entries) if entries.keys().any(|key| key.contains(STAND_IN)) => {
            Err(misplaced())
        }
        Json::Object(entries) => entries
            .values_mut()
            .try_for_each(|entry| put_back(entry, inner)),
        _ => Ok(()),
    }
}

fn text_filter(
    environment: &mut Environment<'static>,
    name: &'static str,
    filter: impl Fn(&str) -> Result<String, Error> + Send + Sync + 'static,
) {
    environment.add_filter(name, move |value: Jinja| {
        refuse_placeholders(name, std::slice::from_ref(&value))?;
        match value.as_str() {
            Some(text) => filter(text),
            None if value.is_number() => filter(&value.to_string()),
            None => Err(wrong(format!("{name} takes text, not {}", value.kind()))),
        }
    });
}

fn version_filter(
    environment: &mut Environment<'static>,
    name: &'static str,
    holds: fn(std::cmp::Ordering) -> bool,
) {
    let compare = move |version: Jinja, other: Jinja| -> Result<bool, Error> {
        refuse_placeholders(name, &[version.clone(), other.clone()])?;
        let parse = |value: &Jinja| match value.as_str() {
            Some(text) => Version::parse(text).map_err(wrong),
            None => Err(wrong(format!(
                "{name} takes versions as text, not {}",
                value.kind()
            ))),
        };
        Ok(holds(parse(&version)?.cmp(&parse(&other)?)))
    };
    environment.add_filter(name, compare);
    environment.add_test(name, compare);
}

/// Puts `over` over `base`: tables are merged key by key, whatever else is replaced.
fn merged(base: &Jinja, over: &Jinja) -> Result<Jinja, Error> {
    if base.kind() != ValueKind::Map || over.kind() != ValueKind::Map {
        return Ok(over.clone());
    }
    let mut pairs = Vec::new();
    for key in base.try_iter()? {
        let mine = base.get_item(&key)?;
        let theirs = over.get_item(&key)?;
        let value = match theirs.is_undefined() {
            true => mine,
            false => merged(&mine, &theirs)?,
        };
        pairs.push((key, value));
    }
    for key in over.try_iter()? {
        if base.get_item(&key)?.is_undefined() {
            let value = over.get_item(&key)?;
            pairs.push((key, value));
        }
    }
    Ok(Jinja::from_pairs(pairs))
}

fn number(
    name: &str,
    value: &Jinja,
    parse: impl Fn(&str) -> Result<Jinja, String>,
) -> Result<Jinja, Error> {
    refuse_placeholders(name, std::slice::from_ref(value))?;
    match value.as_str() {
        Some(text) => parse(text).map_err(wrong),
        None if value.is_integer() => Ok(value.clone()),
        None => Err(wrong(format!("{name} takes text, not {}", value.kind()))),
    }
}

fn json_of(name: &str, value: &Jinja) -> Result<serde_json::Value, Error> {
    refuse_placeholders(name, std::slice::from_ref(value))?;
    Ok(to_json(&from_jinja(value).map_err(wrong)?))
}

fn refuse_placeholders(name: &str, args: &[Jinja]) -> Result<(), Error> {
    if args.iter().any(holds_placeholder) {
        return Err(wrong(format!(
            "a secret or an output of a step is not known yet: it can be put into text, and end with a filter that quotes it \
             (`yaml`, `json`, `sh`, …), but not go through `{name}`"
        )));
    }
    Ok(())
}

/// Applies minijinja's own filter `name`, which our guarded one hides.
fn unguarded(name: &str, args: &[Jinja]) -> Result<Jinja, Error> {
    static ORIGINAL: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
    });
    ORIGINAL.empty_state().apply_filter(name, args)
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use super::super::template::evaluate_over;
    use super::super::{Template, Value, Values};

    #[test]
    fn yaml_is_read_and_merged_key_by_key() {
        let inputs = Values::from_iter([(
            "text".to_owned(),
            Value::Text("a: { b: 1, c: [1, 2] }\nd: x\n".to_owned()),
        )]);
        let template =
            "{{ text | fromyaml | merge({'a': {'c': [], 'e': none}, 'f': true}) | tojson }}";
        let (value, _) = evaluate_over(&Template(template.to_owned()), &inputs, None).unwrap();
        let want = r#"{"a":{"b":1,"c":[],"e":null},"d":"x","f":true}"#;
        assert_eq!(value, Value::Text(want.to_owned()));
        let broken = Values::from_iter([("text".to_owned(), Value::Text("a: [".to_owned()))]);
        let said = evaluate_over(&Template(template.to_owned()), &broken, None).unwrap_err();
        assert!(said.message.starts_with("fromyaml: "), "{said}");
    }

    #[test]
    fn guarded_filters_take_keyword_arguments() {
        let names = Value::List(
            ["b", "A", "c", "b"]
                .map(|name| Value::Text(name.to_owned()))
                .into(),
        );
        let inputs = Values::from_iter([("names".to_owned(), names)]);
        for (text, want) in [
            (
                "{{ names | unique | sort(case_sensitive=true) | join(' ') }}",
                "A b c",
            ),
            (
                "{{ names | unique | sort(reverse=true) | join(' ') }}",
                "c b A",
            ),
        ] {
            let (value, _) = evaluate_over(&Template(text.to_owned()), &inputs, None).unwrap();
            assert_eq!(value, Value::Text(want.to_owned()), "{text}");
        }
    }
}
