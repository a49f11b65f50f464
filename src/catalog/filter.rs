//! What templates can do beyond minijinja's own filters and tests. Knows no task and no recipe.

use std::sync::LazyLock;

use base64::Engine as _;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Jinja};
use sha2::{Digest as _, Sha256};

use super::convert::{from_jinja, json_to_jinja, to_json};
use super::placeholder::holds_placeholder;
use super::units::{parse_duration, parse_size};
use super::version::Version;

/// Names of our filters, for the reference and for suggestions.
pub const FILTERS: &[&str] = &[
    "addresses",
    "b64",
    "basename",
    "bytes",
    "dirname",
    "fromyaml",
    "merge",
    "quote_hcl",
    "seconds",
    "sha256",
    "shquote",
    "tojson",
    "toyaml",
    "version_eq",
    "version_ge",
    "version_gt",
    "version_le",
    "version_lt",
    "with_role",
    "without_role",
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
    text_filter(environment, "b64", |text| {
        Ok(base64::engine::general_purpose::STANDARD.encode(text))
    });
    text_filter(environment, "shquote", |text| Ok(shquote(text)));
    text_filter(environment, "quote_hcl", |text| Ok(quote_hcl(text)));
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
    // A value to come may stand in the text: it stays where it is, within one scalar.
    environment.add_filter("fromyaml", |value: Jinja| {
        let text = value
            .as_str()
            .ok_or_else(|| wrong(format!("fromyaml takes text, not {}", value.kind())))?;
        let parsed: serde_json::Value =
            serde_yaml::from_str(text).map_err(|e| wrong(format!("fromyaml: {e}")))?;
        Ok(json_to_jinja(parsed))
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

/// Quotes `text` for a POSIX shell.
#[must_use]
pub fn shquote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Quotes `text` as an HCL string that is taken literally.
fn quote_hcl(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out.replace("${", "$${").replace("%{", "%%{")
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
            "a secret or an output of a step is not known yet: it can be put into text as it is, but not go through `{name}`"
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
