//! Whatever a secret or an output is, in a structured text it is one scalar: every template of every recipe, filled with strings
//! that would be something else if they could, is parsed, and the strings must be where the harmless ones were, and nothing else
//! may differ.

use std::collections::{BTreeMap, BTreeSet};

use foundry::catalog::{Encoder, Format, TextFormat, Value};
use foundry::graph::{Hole, HoleId, Input, Part, Step, StepId};
use foundry::probe::Known;
use foundry::secret::Secret;
use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::stacks::{STACKS, config_of, graph, task};

/// What the other stacks leave out: secrets that people give.
const GIVEN: &str = "
components:
  openbao: { storage: postgresql, connection_url: '${secret:pg:url}' }
  k3s: {}
  zot: { placement: host, password: '${secret:zot:password}', sync_credentials: '${secret:zot:logins}' }
  storage:
    truenas: { api_url: https://nas.example.com, api_key: '${secret:truenas:api_key}', pool: fast }
    democratic: { enabled: true, config: '${secret:truenas:democratic}' }
  minio: { deploy: always, root_password: '${secret:minio:password}' }
  cert-manager: {}
  prometheus: { secret_values: '${secret:prometheus:values}' }
  loki: {}
  grafana: { admin_password: '${secret:grafana:password}' }
  velero: { s3: { endpoint: https://s3.example.org, access_key: '${secret:velero:key}', secret_key: '${secret:velero:secret}' } }
  external-dns: { provider: aws, env: { AWS_SECRET_ACCESS_KEY: '${secret:aws:secret}', B: '${secret:aws:b}' } }
";

/// As [`GIVEN`], with the registry in the cluster.
const IN_CLUSTER: &str = "
components:
  k3s: { vip: 10.0.3.9 }
  zot: { password: '${secret:zot:password}', sync_credentials: '${secret:zot:logins}' }
  argocd: {}
  minio: { root_password: '${secret:minio:password}' }
  velero: {}
  loki: {}
";

/// Strings that mean something to some parser.
fn strings() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "x\n",
        "\nx",
        " x",
        "x ",
        "yes",
        "no",
        "null",
        "~",
        "true",
        "1e3",
        "0x1F",
        "0o17",
        "12:30:45",
        "1_000",
        ".inf",
        "-",
        "--- ",
        "---\nkind: ClusterRoleBinding\n---\n",
        "...",
        "a: b",
        "a:",
        ": ",
        "# x",
        "a # b",
        "a #",
        "#",
        ";",
        "a ; b",
        "&a",
        "*a",
        "!x",
        "|",
        ">",
        "@x",
        "`x`",
        "%x",
        "%n",
        "%%",
        "\"",
        "'",
        "\"\"",
        "''",
        "a\"b",
        "a'b",
        "\\",
        "\\\\",
        "a\\",
        "\\n",
        "\\u0041",
        "\\x41",
        "\"\n      exec:\n        command: /bin/sh\n",
        "\"\nstorage \"raft\" {}\n\"",
        "\"}],\"x\":[{\"",
        "{",
        "}",
        "[",
        "]",
        "{{",
        "}}",
        "{{ x }}",
        "{%",
        "{% raw %}",
        "{#",
        "${",
        "${x}",
        "$${x}",
        "${secret:a:b}",
        "%{",
        "%{ if true }",
        "%%{x}",
        "$",
        "$$",
        "$x",
        "$(id)",
        "`id`",
        "=",
        "a=b",
        "[default]",
        "a\n[other]\nb=c",
        "\0",
        "a\0b",
        "\u{7}",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "a\u{85}b",
        "\u{a0}",
        "\u{2028}",
        "a\u{2028}b",
        "\u{2029}",
        "\u{feff}",
        "\u{feff}x",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{f57aa}0\u{f57ab}",
        "\u{f57ac}yaml\u{f57ad}\n- x\u{f57ae}",
        "ä",
        "日本語",
        "😀",
        "\u{10ffff}",
        "e\u{301}",
        "\u{200b}",
        "\u{202e}x",
        "Ab\\tCd\\x41",
        "p\"a\\ss",
        "postgres://u:p%40@h:5432/d?x=y&z",
        "host=db password='p\"a\\ss' dbname=x",
        "-----BEGIN X-----\nMAA=\n-----END X-----\n",
        "{\"registry-1.docker.io\": {\"username\": \"u\", \"password\": \"p\"}}",
        "driver: freenas-api-nfs\nhttpConnection:\n  apiKey: x # y\n",
    ]
    .map(str::to_owned)
    .into();
    // And as many again that nobody thought of, the same every time.
    let letters: Vec<char> = "ab1 \n\t\r\"'\\${}%#:;,=[]&*!|>-?@`~\0\u{85}\u{2028}äß😀"
        .chars()
        .collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (below as u64)).unwrap()
    };
    for _ in 0..all.len() {
        let length = 1 + random(12);
        all.push(
            (0..length)
                .map(|_| letters[random(letters.len())])
                .collect(),
        );
    }
    all.push("x".repeat(100_000));
    all
}

/// A harmless value of a hole, unlike all others.
fn harmless(hole: HoleId) -> String {
    format!("harmless{}x", hole.0)
}

/// Fills a text, one hole with a string and the others with what is harmless. The error must say nothing of the string.
fn fill(parts: &[Part], string: Option<(HoleId, &str)>) -> Result<String, String> {
    let value = |hole: HoleId| {
        Some(Value::Secret(Secret::new(match string {
            Some((other, string)) if other == hole => string.to_owned(),
            _ => harmless(hole),
        })))
    };
    match Input::Text(parts.to_vec()).fill(&value) {
        Ok(Value::Secret(text)) => Ok(text.expose().clone()),
        Ok(Value::Text(text)) => Ok(text),
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            let said = error.to_string();
            let quoted =
                string.is_some_and(|(_, string)| string.trim().len() > 4 && said.contains(string));
            assert!(!quoted, "{said}");
            Err(said)
        }
    }
}

/// Reads a text as its format's own parser does.
fn parse(format: Format, text: &str) -> Result<Vec<Json>, String> {
    match format {
        Format::Yaml => serde_yaml::Deserializer::from_str(text)
            .map(|document| Json::deserialize(document).map_err(|e| e.to_string()))
            .collect(),
        Format::Json => serde_json::from_str(text)
            .map(|value| vec![value])
            .map_err(|e| e.to_string()),
        Format::Toml => text
            .parse::<toml::Table>()
            .map(|table| vec![serde_json::to_value(table).unwrap()])
            .map_err(|e| e.to_string()),
        Format::Hcl => hcl::from_str::<Json>(text)
            .map(|value| vec![value])
            .map_err(|e| e.to_string()),
        Format::Ini | Format::Conf => lines(text).map(|value| vec![value]),
        other => panic!("no parser for {other:?}"),
    }
}

/// Reads sections of lines `name=value`, with comments, as liberally as any such reader there is.
fn lines(text: &str) -> Result<Json, String> {
    let mut found = Vec::new();
    for line in text.split(['\n', '\r', '\u{85}', '\u{2028}']) {
        // A comment begins the line, or follows a blank.
        let mut end = line.len();
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            if matches!(c, '#' | ';') && before.is_whitespace() {
                end = at;
                break;
            }
            before = c;
        }
        let line = line[..end].trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('[') {
            found.push(Json::from(line));
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("no line: {line}"))?;
        let value = value.trim();
        if value.ends_with('\\') {
            return Err("a line that goes on".to_owned());
        }
        // Quotes around a value are taken away by some.
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        found.push(serde_json::json!([name.trim(), bare.unwrap_or(value)]));
    }
    Ok(Json::from(found))
}

/// Reads one line of curl's config file, `name = "value"`.
fn curl_line(text: &str) -> Result<String, String> {
    let (_, value) = text.split_once('=').ok_or("no `=`")?;
    let quoted = value.trim().strip_prefix('"').ok_or("no quote")?;
    let mut out = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next().ok_or("no end")? {
            '"' => break,
            '\\' => out.push(match rest.next().ok_or("no end")? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'v' => '\u{b}',
                c => c,
            }),
            '\n' => return Err("a line break within quotes".to_owned()),
            c => out.push(c),
        }
    }
    match rest.as_str().trim() {
        "" => Ok(out),
        more => Err(format!("more after it: {more}")),
    }
}

/// All scalars of a parsed text by place; `None` for those that are no text.
fn leaves(value: &Json, at: &str, found: &mut BTreeMap<String, Json>) {
    match value {
        Json::Array(items) => {
            found.insert(format!("{at}#"), Json::from(items.len()));
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{at}/{index}"), found);
            }
        }
        Json::Object(entries) => {
            found.insert(format!("{at}#"), Json::from(entries.len()));
            for (key, entry) in entries {
                leaves(entry, &format!("{at}/{key:?}"), found);
            }
        }
        scalar => _ = found.insert(at.to_owned(), scalar.clone()),
    }
}

fn places(format: Format, text: &str) -> Result<BTreeMap<String, Json>, String> {
    let mut found = BTreeMap::new();
    leaves(&Json::from(parse(format, text)?), "", &mut found);
    Ok(found)
}

/// The parts of a text that go through an encoder.
fn encoded(parts: &[Part]) -> impl Iterator<Item = (Encoder, &[Part])> {
    parts.iter().filter_map(|part| match part {
        Part::Encoded(encoder, inner) => Some((*encoder, inner.as_slice())),
        _ => None,
    })
}

fn holes(parts: &[Part]) -> BTreeSet<HoleId> {
    Input::Text(parts.to_vec()).holes().into_iter().collect()
}

/// What was tried.
#[derive(Default)]
struct Tried {
    texts: BTreeSet<String>,
    documents: usize,
    refused: usize,
}

impl Tried {
    /// Tries one string in one place of one text; what is within its scalars as well.
    fn text(&mut self, what: &str, format: Format, parts: &[Part], hole: HoleId, string: &str) {
        let calm = fill(parts, None).unwrap_or_else(|e| panic!("{what}: {e}"));
        let calm = places(format, &calm).unwrap_or_else(|e| panic!("{what}: {e}\n{calm}"));
        let wild = match fill(parts, Some((hole, string))) {
            Ok(wild) => wild,
            Err(_) => {
                self.refused += 1;
                return;
            }
        };
        self.documents += 1;
        let wild = places(format, &wild)
            .unwrap_or_else(|e| panic!("{what}: {string:?} breaks it: {e}\n{wild}"));
        assert_eq!(
            calm.keys().collect::<Vec<_>>(),
            wild.keys().collect::<Vec<_>>(),
            "{what}: {string:?} adds or takes away something"
        );
        let mut want: BTreeMap<String, usize> = BTreeMap::new();
        for (_, inner) in encoded(parts).filter(|(_, inner)| holes(inner).contains(&hole)) {
            *want.entry(fill(inner, None).unwrap()).or_default() += 1;
        }
        for (place, before) in &calm {
            let after = &wild[place];
            let touched = before.as_str().and_then(|before| want.get_mut(before));
            let Some(count) = touched else {
                assert_eq!(before, after, "{what}: {string:?} changes {place}");
                continue;
            };
            *count -= 1;
            let inner = encoded(parts)
                .find(|(_, inner)| {
                    holes(inner).contains(&hole)
                        && fill(inner, None).ok().as_deref() == before.as_str()
                })
                .unwrap();
            let scalar = fill(inner.1, Some((hole, string))).unwrap();
            assert_eq!(after.as_str(), Some(&*scalar), "{what}: {place}");
            self.within(what, inner.1, hole, string, &scalar);
        }
        assert!(
            want.values().all(|count| *count == 0),
            "{what}: {want:?} is not where it should be"
        );
    }

    /// Looks at what is structured within a scalar.
    fn within(&mut self, what: &str, parts: &[Part], hole: HoleId, string: &str, scalar: &str) {
        let encoders: BTreeSet<Encoder> = encoded(parts)
            .filter(|(_, inner)| holes(inner).contains(&hole))
            .map(|(encoder, _)| encoder)
            .collect();
        for encoder in encoders {
            match encoder {
                Encoder::Json => self.text(what, Format::Json, parts, hole, string),
                Encoder::Ini => self.text(what, Format::Ini, parts, hole, string),
                Encoder::Curl => {
                    let (_, inner) = encoded(parts).next().unwrap();
                    let want = fill(inner, Some((hole, string))).unwrap();
                    assert_eq!(curl_line(scalar), Ok(want), "{what}");
                }
                other => panic!("{what}: nothing reads {other:?} within a scalar"),
            }
        }
    }
}

/// Returns the format of an input, as the task says.
fn format_of(step: &Step, name: &str) -> Option<Format> {
    match step.task.as_ref()?.inputs.get(name)?.format.as_ref()? {
        TextFormat::Is(format) => Some(*format),
        TextFormat::OfPath(path) => match step.inputs.get(path)? {
            Input::Known(Value::Text(path)) => Format::of_path(path),
            _ => None,
        },
    }
}

#[test]
fn whatever_a_secret_is_it_is_one_scalar() {
    let strings = strings();
    let mut tried = Tried::default();
    let mut whole = BTreeSet::new();
    let given = [("given", GIVEN), ("in-cluster", IN_CLUSTER)];
    for (stack, components) in STACKS.iter().copied().chain(given) {
        let graph = graph(&config_of(components));
        for step in &graph.steps {
            for (name, input) in step.inputs.iter() {
                let holes = input.holes();
                let name_of = || {
                    format!(
                        "{}:{} `{name}` of {stack}",
                        step.label.component, step.label.step
                    )
                };
                let texts: Vec<(Option<Format>, &[Part])> = match input {
                    Input::Text(parts) => vec![(format_of(step, name), parts)],
                    // Values of a table, such as those that are kept in OpenBAO.
                    Input::Map(entries) => entries
                        .iter()
                        .filter_map(|(key, entry)| match entry {
                            Input::Text(parts) if key == "kubeconfig" => {
                                Some((Some(Format::Yaml), parts.as_slice()))
                            }
                            Input::Text(parts) => Some((None, parts.as_slice())),
                            _ => None,
                        })
                        .collect(),
                    Input::Hole(_) if format_of(step, name).is_some() => {
                        whole.insert(format!("{}:{}", step.label.component, step.label.step));
                        continue;
                    }
                    _ => continue,
                };
                for (format, parts) in texts {
                    let Some(format) = format else {
                        panic!(
                            "{}: {} holes in a text of no format ({})",
                            name_of(),
                            holes.len(),
                            task(step)
                        );
                    };
                    if encoded(parts).next().is_none() {
                        // A document that is given as a whole.
                        whole.insert(format!("{}:{}", step.label.component, step.label.step));
                        continue;
                    }
                    if !tried.texts.insert(name_of()) {
                        continue;
                    }
                    for hole in self::holes(parts) {
                        for string in &strings {
                            tried.text(&name_of(), format, parts, hole, string);
                        }
                    }
                }
            }
        }
    }
    let steps: BTreeSet<&str> = tried
        .texts
        .iter()
        .filter_map(|text| text.split(' ').next())
        .collect();
    eprintln!(
        "{} texts of {} steps × {} strings: {} documents parsed, {} values refused\n{}",
        tried.texts.len(),
        steps.len(),
        strings.len(),
        tried.documents,
        tried.refused,
        steps.iter().copied().collect::<Vec<_>>().join(" ")
    );
    let want = [
        "argocd:registry",
        "cert-manager:credentials",
        "external-dns:credentials",
        "grafana:credentials",
        "k3s:agent-config",
        "k3s:agent-password",
        "k3s:kubeconfig",
        "loki:credentials",
        "minio:credentials",
        "openbao:config",
        "powerdns:config",
        "s3:credentials",
        "storage:democratic-secret",
        "storage:truenas",
        "velero:credentials",
        "zot:certificate",
        "zot:class",
        "zot:credentials",
    ];
    for step in want {
        assert!(steps.contains(step), "{step} was not tried");
    }
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    assert_eq!(whole, ["prometheus:chart", "zot:sync-credentials"]);
    assert!(tried.documents > 5000 && tried.refused > 100);
}

#[test]
fn what_a_format_can_t_hold_is_an_error_by_the_setting_s_name() {
    let graph = graph(&config_of(GIVEN));
    let secrets = |value: &str| {
        let holes = (0u32..).map(HoleId).zip(&graph.holes);
        let given = holes.filter(|(_, hole)| matches!(hole, Hole::Secret(_)));
        given
            .map(|(hole, _)| (hole, Secret::new(value.to_owned())))
            .collect::<Vec<_>>()
    };
    let steps: Vec<StepId> = graph.ids().collect();
    let fine = Known::new(&graph, secrets("a\"b\\c: ${d}")).unwritable(&graph, &steps);
    assert_eq!(fine, Vec::<String>::new());
    let found = Known::new(&graph, secrets("hunter2\nx")).unwritable(&graph, &steps);
    assert_eq!(
        found,
        [
            "velero:credentials: input `objects`: `velero.s3.access_key` (${secret:foundry/velero:key}) can't be written as `ini`: \
             it holds a line break or another control character"
        ]
    );
}
