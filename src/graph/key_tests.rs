//! Keys are pinned, differ when anything differs, and agree with their explanation.

use std::sync::Arc;

use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::catalog::InputSpec;
use crate::config::HostId;
use crate::graph::fixture;

fn secrets() -> Fingerprints {
    Fingerprints::new("k1".into(), Secret::new([7; 32]))
}

fn task() -> Task {
    let mut task = fixture::task("file");
    for (name, kind) in [
        ("path", ValueType::Path),
        ("mode", ValueType::Mode),
        ("names", ValueType::List(Box::new(ValueType::String))),
    ] {
        let spec = InputSpec {
            format: None,
            kind,
            default: None,
            secret: false,
            doc: String::new(),
        };
        task.inputs.insert(name.to_owned(), spec);
    }
    task
}

fn inputs() -> Values {
    IndexMap::from([
        ("path".to_owned(), Value::Text("/etc/a".into())),
        ("mode".to_owned(), Value::Text("0644".into())),
        (
            "content".to_owned(),
            Value::Secret(Secret::new("hunter2".to_owned())),
        ),
        ("long".to_owned(), Value::Text("x".repeat(65))),
        (
            "names".to_owned(),
            Value::List(vec![Value::Text("a".into()), Value::Text("b".into())]),
        ),
        (
            "any".to_owned(),
            Value::Map(BTreeMap::from([
                ("n".to_owned(), Value::Int(-3)),
                ("b".to_owned(), Value::Bool(true)),
                ("z".to_owned(), Value::Null),
            ])),
        ),
    ])
}

const HOST: Target = Target::Host(HostId(3));

/// Stamps on hosts hold these: if this test fails, every step everywhere would be applied again.
#[test]
fn keys_are_pinned() {
    let service = Target::Service("bao".into(), Arc::from([HostId(0)]));
    let made = [
        key(&fixture::task("file"), &HOST, &Values::new(), &secrets()),
        key(&task(), &HOST, &inputs(), &secrets()),
        key(
            &task(),
            &Target::Group(Arc::from([])),
            &inputs(),
            &secrets(),
        ),
        key(&task(), &service, &inputs(), &secrets()),
    ]
    .map(|key| key.to_string());
    insta::assert_snapshot!(made.join("\n"), @r#"
    d654c3b59ba3983bc35430d8616d3289430b4fc7d3986007fb54de18ec5631a5
    6a37af4c7e4d20ed718347faa238acabe5c8d809a5e8f140d05055e6ce4ee0a9
    61d641f3040d189a2698e9b20b122ab4b62960680d7eab6204811c2a633b99c0
    6f1bbf9b4f735d0244d301c61e5a84aad6634781bc83e492d350166ac9401dc9
    "#);
}

/// The encoding of the module's header, spelt out by hand.
#[test]
fn the_encoding_is_the_one_written_down() {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let mut bytes = Vec::new();
    text(&mut bytes, "file");
    bytes.extend(task().digest);
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    text(&mut bytes, "names");
    bytes.extend(10_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(3_u32.to_le_bytes());
    text(&mut bytes, "curl");
    text(&mut bytes, "path");
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(blake3::keyed_hash(&[7; 32], b"s").as_bytes());
    let inputs = IndexMap::from([
        (
            "path".to_owned(),
            Value::Secret(Secret::new("s".to_owned())),
        ),
        (
            "names".to_owned(),
            Value::List(vec![Value::Text("curl".into())]),
        ),
    ]);
    assert_eq!(
        key(&task(), &HOST, &inputs, &secrets()),
        Key(blake3::derive_key(CONTEXT, &bytes))
    );
}

#[test]
fn the_explanation_is_readable_and_holds_no_secret() {
    let text = explain_key(&task(), &HOST, &inputs(), &secrets());
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r#"
    task "file" 39aac93919e644bc384a2c14a24d6c8c4b57159cc1b54d2c469d79be97d1bf51
    target host
    inputs (6)
      "any" any map (3) "b" bool true "n" int -3 "z" null
      "content" any secret b9724048f7337b93e7d67358df0434edb59fd3c349f496449fb037f83842adb0
      "long" any text blake3:a32b4a703f5d61b2df5bfbf5a5e7af5f8818b4c52489214e76704330024fe067 (65 bytes)
      "mode" mode text "0644"
      "names" list string list (2) text "a" text "b"
      "path" path text "/etc/a"
    "#);
}

#[test]
fn stamps_tell_short_values_and_hide_the_rest() {
    let mut values = inputs();
    values.insert("empty".into(), Value::Text(String::new()));
    values.insert("none".into(), Value::Null);
    values.insert(
        "in".into(),
        Value::List(vec![Value::Secret(Secret::new("pw".to_owned()))]),
    );
    let told: Vec<String> = shown(&values, &secrets())
        .into_iter()
        .map(|(name, told)| format!("{name}={told}"))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    any=blake3:f2203074834f5532
    content=secret:k1:c28101272c6ee7dc0ac7ea77a9f3cca1
    empty=
    in=secret:k1:1e3febd4c499cce01d69f550ccea5392
    long=blake3:5139b924cf70fdbd
    mode=0644
    names=a, b
    none=none
    path=/etc/a
    "#);
}

#[test]
fn a_secret_is_known_by_the_stacks_own_key_only() {
    let other = Fingerprints::new("k2".into(), Secret::new([8; 32]));
    assert_ne!(
        key(&task(), &HOST, &inputs(), &secrets()),
        key(&task(), &HOST, &inputs(), &other)
    );
    let plain = IndexMap::from([("content".to_owned(), Value::Text("hunter2".into()))]);
    let secret = IndexMap::from([(
        "content".to_owned(),
        Value::Secret(Secret::new("hunter2".to_owned())),
    )]);
    assert_ne!(
        key(&task(), &HOST, &plain, &secrets()),
        key(&task(), &HOST, &secret, &secrets())
    );
}

#[test]
fn task_and_kind_of_target_count_and_the_host_does_not() {
    let of = |task: &Task, target: &Target| key(task, target, &inputs(), &secrets());
    let plain = of(&task(), &HOST);
    assert_eq!(plain, of(&task(), &Target::Host(HostId(9))));
    assert_ne!(plain, of(&task(), &Target::Group(Arc::from([]))));
    let mut changed = task();
    changed.digest[0] ^= 1;
    assert_ne!(plain, of(&changed, &HOST));
    let mut renamed = task();
    renamed.name = "files".into();
    assert_ne!(plain, of(&renamed, &HOST));
    let mut retyped = task();
    retyped.inputs["path"].kind = ValueType::Text;
    assert_ne!(plain, of(&retyped, &HOST));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2_i64..3).prop_map(Value::Int),
        "[ab\" \\\\]{0,3}".prop_map(Value::Text),
        "a{63,66}".prop_map(Value::Text),
        "[ab]{0,2}".prop_map(|text| Value::Secret(Secret::new(text))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..3).prop_map(Value::Map),
        ]
    })
}

fn some_inputs(least: usize) -> impl Strategy<Value = Values> {
    prop::collection::vec(("path|mode|names|x|xy", value()), least..4)
        .prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn keys_explanations_and_inputs_are_equal_together(a in some_inputs(0), b in some_inputs(0)) {
        let same = a == b;
        prop_assert_eq!(key(&task(), &HOST, &a, &secrets()) == key(&task(), &HOST, &b, &secrets()), same);
        prop_assert_eq!(explain_key(&task(), &HOST, &a, &secrets()) == explain_key(&task(), &HOST, &b, &secrets()), same);
    }

    #[test]
    fn any_change_of_any_input_changes_the_key(inputs in some_inputs(1), new in value(), at in any::<prop::sample::Index>()) {
        let mut changed = inputs.clone();
        let slot = &mut changed[at.index(inputs.len())];
        prop_assume!(*slot != new);
        let same_type = std::mem::discriminant(slot) == std::mem::discriminant(&new);
        *slot = new;
        prop_assert_ne!(key(&task(), &HOST, &inputs, &secrets()), key(&task(), &HOST, &changed, &secrets()));
        prop_assert_ne!(explain_key(&task(), &HOST, &inputs, &secrets()), explain_key(&task(), &HOST, &changed, &secrets()));
        if same_type {
            prop_assert_ne!(shown(&inputs, &secrets()), shown(&changed, &secrets()));
        }
    }

    #[test]
    fn the_order_of_insertion_does_not_count(inputs in some_inputs(0)) {
        let reversed: Values = inputs.iter().rev().map(|(name, value)| (name.clone(), value.clone())).collect();
        prop_assert_eq!(key(&task(), &HOST, &inputs, &secrets()), key(&task(), &HOST, &reversed, &secrets()));
    }
}
