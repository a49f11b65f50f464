//! Tests of templates. Knows no task and no recipe.

use std::collections::BTreeMap;

use minijinja::Value as Jinja;

use super::placeholder::Placeholder;
use super::task::Template;
use super::template::*;
use super::value::{Value, Values};

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
    // Which fact a subscript reads is not plain to see, so any secret fact makes it secret.
    assert!(read("{{ facts['cert.mode'] }}").unwrap().1);
    assert!(read("{{ facts.cert.token }}").unwrap().1);
    assert!(read("{{ facts.size }}").is_err());
}

#[test]
fn filters() {
    for (template, want) in [
        ("{{ \"it's\" | shquote }}", r#"'it'"'"'s'"#),
        ("{{ 'a/b-c.d' | shquote }}", "a/b-c.d"),
        ("{{ '' | shquote }}", "''"),
        ("{{ 'a\"b${c}' | quote_hcl }}", r#""a\"b\u0024{c}""#),
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
        "{{ list | toyaml }}",
        "{{ pw | length }}",
        "{{ pw | upper }}",
        "{{ 'a' in pw }}",
        "{{ pw.x }}",
        "{{ not pw }}",
        "{% for x in list %}{% if x == 'x' %}{{ x }}{% endif %}{% endfor %}",
        "x{{ pw == 'x' }}",
        "{{ [pw] | toml | length }}",
        "{{ ('a' ~ pw) | upper }}",
        "{{ pw | yaml | trim }}",
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

/// Evaluates over a value to come, and returns the text once it has come, as [`crate::graph`] does.
fn filled(template: &str, value: &str) -> Result<String, String> {
    use super::placeholder::{Piece, split};
    fn fill(pieces: &[Piece<'_>], value: &str) -> Result<String, String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Placeholder(_) => text.push_str(value),
                Piece::Encoded(encoder, inner) => {
                    text.push_str(&encoder.encode(&fill(inner, value)?)?);
                }
            }
        }
        Ok(text)
    }
    let context = |hole: Jinja| minijinja::context! { pw => hole };
    let (with, without) = (
        context(Placeholder(3).into_jinja()),
        context(Jinja::UNDEFINED),
    );
    let text = evaluate(&Template(template.to_owned()), &with, Some(&without))
        .map_err(|error| error.message)?
        .to_string();
    fill(&split(&text)?, value)
}

#[test]
fn a_value_to_come_goes_through_encoders_as_a_known_one_does() {
    for template in [
        "{{ pw | yaml }}",
        "{{ ('a: ' ~ pw ~ \"'\") | json }}",
        "a = {{ pw | toml }}\n",
        "{{ pw | hcl }} {{ pw | quote_hcl }}",
        "{{ (pw ~ 'x') | sh }} {{ pw | shquote }}",
        "{{ pw | curl | yaml }}",
        "{{ pw | b64 | yaml }}",
        "{{ {'b': [pw, 1, true, none], 'a': 'x' ~ pw} | json }}",
        "{{ {'b': {'c': pw}} | tojson | yaml }}",
        "{{ [pw, 'x'] | yaml }}",
        "{{ [pw, 'x'] | toml }}",
        "{{ ['K10', pw, '::', pw] | join | yaml }}",
        "{% set x = 'a' ~ pw %}{{ (x ~ 'b') | yaml }}",
        "{% filter yaml %}a{{ pw }}b{% endfilter %}",
        "{% macro m(x) %}{{ x | yaml }}{% endmacro %}{{ m(pw) }}",
        "{{ ('{a: ' ~ (pw | yaml) ~ ', b: [' ~ (('c' ~ pw) | json) ~ ']}') | fromyaml | tojson }}",
    ] {
        for value in [
            "plain",
            "\u{F57AA}3\u{F57AB}\n- x",
            "\u{F57AC}yaml\u{F57AD}\n- x\u{F57AE}",
            "a\"b\\c\n${d}%{e}",
            "# : - yes",
            "",
        ] {
            let known = over(template, &[("pw", text(value))])
                .map(|(value, _)| match value {
                    Value::Text(text) => text,
                    other => panic!("{other:?}"),
                })
                .map_err(|error| error.message);
            assert_eq!(filled(template, value), known, "{template} {value:?}");
        }
    }
    let error = over("{{ 'hunter2\n' | ini }}", &[]).unwrap_err();
    assert_eq!(
        error.message,
        "the value can't be written as `ini`: it holds a line break or another control character"
    );
    for template in [
        "{{ ('{a: \"x' ~ (pw | yaml) ~ '\"}') | fromyaml }}",
        "{{ ('{' ~ (pw | yaml) ~ ': 1}') | fromyaml }}",
    ] {
        assert!(filled(template, "x").is_err(), "{template}");
    }
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let began = std::time::Instant::now();
    let error = over(
        "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}",
        &[],
    )
    .unwrap_err();
    assert!(error.message.starts_with("it does too much: "), "{error}");
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
    // Files over all hosts of a large fleet are far from it.
    let hosts = Value::List((0..10_000).map(Value::Int).collect());
    let all = "{% for host in hosts %}{{ host }}={{ host ~ '.example.com' }}\n{% endfor %}";
    assert!(over(all, &[("hosts", hosts)]).is_ok());
}
