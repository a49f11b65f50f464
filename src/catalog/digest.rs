//! The digest of a task's definition: a written-down encoding, so that comments and formatting don't matter.
//! What is only for people (summary, docs) or only for the run (time-outs, tries, `remove`) does not enter it:
//! it changes nothing about what is wanted.
//!
//! Encoding: texts and lists are preceded by their length as u64 little-endian, cases of an enum by their number as
//! u32 little-endian, options by 0 or 1 as u32. Maps and tables go in the order of their keys.

use std::collections::BTreeMap;

use super::task::{Collector, Effect, Task, ValueType};
use super::value::Value;

/// Returns the BLAKE3 digest of `task`'s definition.
pub(super) fn digest_of(task: &Task) -> [u8; 32] {
    let mut encoder = Encoder(blake3::Hasher::new_derive_key(
        "foundry 2026 task definition v1",
    ));
    encoder.text(&task.name);
    encoder.case(u32::from(task.stamp));
    let inputs: BTreeMap<_, _> = task.inputs.iter().collect();
    encoder.length(inputs.len());
    for (name, input) in inputs {
        encoder.text(name);
        encoder.kind(&input.kind);
        encoder.option(input.default.as_ref(), Encoder::value);
        encoder.case(u32::from(input.secret));
    }
    let outputs: BTreeMap<_, _> = task.outputs.iter().collect();
    encoder.length(outputs.len());
    for (name, output) in outputs {
        encoder.text(name);
        encoder.kind(&output.kind);
        encoder.text(&output.from.0);
        encoder.case(u32::from(output.secret));
    }
    encoder.length(task.probe.questions.len());
    for question in &task.probe.questions {
        encoder.case(collector_number(question.collector));
        encoder.text(&question.prefix);
        encoder.text(&question.subject.0);
    }
    encoder.option(task.probe.script.as_deref(), Encoder::text);
    encoder.option(task.probe.action.as_deref(), Encoder::text);
    if let Some(when) = &task.probe.when {
        // No number of expectations: tasks without this are encoded as they were before there was any.
        encoder.case(u32::MAX);
        encoder.text(&when.0);
    }
    let expect: BTreeMap<_, _> = task.expect.iter().collect();
    encoder.length(expect.len());
    for (name, template) in expect {
        encoder.text(name);
        encoder.text(&template.0);
    }
    encoder.option(task.apply.as_ref(), Encoder::effect);
    *encoder.0.finalize().as_bytes()
}

struct Encoder(blake3::Hasher);

impl Encoder {
    fn case(&mut self, number: u32) {
        self.0.update(&number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0.update(&(length as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text.as_bytes());
    }

    fn option<T: ?Sized>(&mut self, value: Option<&T>, encode: impl Fn(&mut Self, &T)) {
        self.case(u32::from(value.is_some()));
        if let Some(value) = value {
            encode(self, value);
        }
    }

    fn effect(&mut self, effect: &Effect) {
        self.option(effect.script.as_deref(), Self::text);
        self.option(
            effect.stdin.as_ref().map(|stdin| stdin.0.as_str()),
            Self::text,
        );
        self.option(effect.action.as_deref(), Self::text);
    }

    fn kind(&mut self, kind: &ValueType) {
        let number = match kind {
            ValueType::Text => 0,
            ValueType::String => 1,
            ValueType::Path => 2,
            ValueType::Mode => 3,
            ValueType::Int => 4,
            ValueType::Bool => 5,
            ValueType::Size => 6,
            ValueType::Duration => 7,
            ValueType::Version => 8,
            ValueType::Enum(_) => 9,
            ValueType::List(_) => 10,
            ValueType::Map(_) => 11,
            ValueType::Any => 12,
        };
        self.case(number);
        match kind {
            ValueType::Enum(words) => {
                self.length(words.len());
                words.iter().for_each(|word| self.text(word));
            }
            ValueType::List(inner) | ValueType::Map(inner) => self.kind(inner),
            _ => {}
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.case(0),
            Value::Bool(b) => {
                self.case(1);
                self.case(u32::from(*b));
            }
            Value::Int(n) => {
                self.case(2);
                self.0.update(&n.to_le_bytes());
            }
            Value::Text(text) => {
                self.case(3);
                self.text(text);
            }
            // A definition holds no secrets; one that did would be as guessable as any literal.
            Value::Secret(secret) => {
                self.case(4);
                self.text(secret.expose());
            }
            Value::List(items) => {
                self.case(5);
                self.length(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Map(entries) => {
                self.case(6);
                self.length(entries.len());
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }
}

fn collector_number(collector: Collector) -> u32 {
    match collector {
        Collector::Stat => 0,
        Collector::Digest => 1,
        Collector::Package => 2,
        Collector::Unit => 3,
        Collector::User => 4,
        Collector::Group => 5,
        Collector::Line => 6,
        Collector::Sysctl => 7,
        Collector::Module => 8,
        Collector::Port => 9,
        Collector::Content => 10,
        Collector::Fresh => 11,
    }
}
