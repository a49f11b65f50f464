//! What tools said once, on one kind of system or another → facts; and inputs, facts and a stamp → a verdict. The cases
//! are files under `tests/fixtures`.

use foundry::catalog::{Catalog, Value, Values};
use foundry::config::HostId;
use foundry::graph::{Fingerprints, Inputs, Label, Step, Target};
use foundry::plan::{decide_step, stamp};
use foundry::secret::Secret;
use serde_json::Value as Json;

use super::*;

/// Reads every case of every file in a folder, with where it stands.
fn cases(folder: &str) -> Vec<(String, Json)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let all: Vec<Json> = serde_json::from_slice(&fs::read(&file).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for case in all {
            cases.push((format!("{name}: {}", case["case"].as_str().unwrap()), case));
        }
    }
    assert!(cases.len() > 5, "there are cases");
    cases
}

/// Text stays text; `{"secret": "…"}` is one.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(entries) => match entries.get("secret") {
            Some(secret) => Value::Secret(secret.as_str().unwrap().to_owned().into()),
            None => Value::Map(
                entries
                    .iter()
                    .map(|(key, item)| (key.clone(), value(item)))
                    .collect(),
            ),
        },
    }
}

fn words(json: &Json) -> BTreeMap<String, String> {
    json.as_object()
        .map(|entries| {
            entries
                .iter()
                .map(|(key, text)| (key.clone(), text.as_str().unwrap().to_owned()))
                .collect()
        })
        .unwrap_or_default()
}

fn collector(name: &str) -> Collector {
    use Collector::*;
    [
        Stat, Digest, Package, Unit, User, Group, Line, Sysctl, Module, Port, Content, Fresh,
    ]
    .into_iter()
    .find(|one| format!("{one:?}").to_lowercase() == name)
    .unwrap_or_else(|| panic!("no collector {name}"))
}

#[test]
fn what_tools_say_becomes_facts_or_a_fault() {
    for (name, case) in cases("collect") {
        let subject = question(
            collector(case["collector"].as_str().unwrap()),
            value(&case["subject"]),
        );
        let batch = Batch::new([Arc::new(ask(vec![subject]))], None, nonce());
        let mut reply = Reply {
            status: Some(0),
            ..Reply::default()
        };
        let mark = "5a".repeat(16);
        for (section, said) in case["said"].as_object().unwrap() {
            let text = |stream: &str| {
                said[stream]
                    .as_str()
                    .unwrap_or_default()
                    .replace('\u{2400}', "\0")
            };
            let open = format!("\n{mark} o {section}\n");
            let close = match said["status"].as_i64() {
                Some(-1) => String::new(),
                status => format!("\n{mark} c {section} {}\n", status.unwrap_or_default()),
            };
            reply
                .stdout
                .extend_from_slice(format!("{open}{}{close}", text("out")).as_bytes());
            reply
                .stderr
                .extend_from_slice(format!("{open}{}{close}", text("err")).as_bytes());
        }
        match batch.read(&reply).facts.remove(0) {
            Ok(facts) => {
                let found: BTreeMap<String, String> = facts
                    .iter()
                    .map(|(name, fact)| (name.clone(), fact.value().to_owned()))
                    .collect();
                assert_eq!(found, words(&case["facts"]), "{name}");
            }
            Err(fault) => {
                assert_eq!(
                    Some(fault.message.as_str()),
                    case["fault"].as_str(),
                    "{name}"
                );
                assert_eq!(
                    Some(fault.not_yet),
                    case["not_yet"].as_bool().or(Some(false)),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn facts_of_real_tasks_get_their_verdict() {
    let catalog = Catalog::embedded().unwrap();
    let prints = Fingerprints::new("k1".to_owned(), Secret::new([7; 32]));
    for (name, case) in cases("verdict") {
        let task = &catalog.tasks[case["task"].as_str().unwrap()];
        let given = case["inputs"].as_object().unwrap();
        let values = |given: &serde_json::Map<String, Json>| -> Values {
            task.inputs
                .iter()
                .map(|(input, spec)| {
                    let default = || spec.default.clone().unwrap_or(Value::Null);
                    (input.clone(), given.get(input).map_or_else(default, value))
                })
                .collect()
        };
        let step = Step {
            label: Label {
                component: "c".into(),
                step: "s".into(),
                item: None,
                host: Some("h".into()),
            },
            task: Some(Arc::clone(task)),
            target: Target::Host(HostId(0)),
            inputs: Arc::new(Inputs::new()),
            needs: Vec::new(),
            watch: Vec::new(),
            pool: None,
        };
        let facts = match case["fault"].as_str() {
            Some(message) => Err(Fault {
                message: message.to_owned(),
                not_yet: false,
            }),
            None => Ok(words(&case["facts"])
                .into_iter()
                .map(|(fact, text)| match text.strip_prefix("secret:") {
                    Some(text) => (fact, Fact::Secret(text.to_owned().into())),
                    None => (fact, Fact::Text(text)),
                })
                .collect()),
        };
        // The inputs of the last apply, where they were others.
        let applied = case["applied"].as_object().map(|before| {
            let mut all = given.clone();
            all.extend(before.clone());
            stamp(task, &step.target, &values(&all), &prints)
        });
        let decision = decide_step(
            &step,
            &values(given),
            facts.as_ref(),
            applied.as_ref(),
            &prints,
        );
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let wanted: Vec<&str> = case["reasons"].as_array().map_or(Vec::new(), |all| {
            all.iter().map(|reason| reason.as_str().unwrap()).collect()
        });
        assert_eq!(
            decision.verdict.to_string(),
            case["verdict"].as_str().unwrap(),
            "{name}: {reasons:?}"
        );
        assert_eq!(reasons, wanted, "{name}");
        if let Some(outputs) = case["outputs"].as_object() {
            for (output, wanted) in outputs {
                assert_eq!(decision.outputs.get(output), Some(&value(wanted)), "{name}");
            }
        }
    }
}
