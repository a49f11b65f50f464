//! Inputs of steps, with holes where a value is not known before secrets are resolved and other steps have answered.
//! Fills holes with values it is handed; does not know where those come from.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::step::StepId;
use crate::catalog::{Encoder, Value};
use crate::secret::{Secret, SecretRef};

/// Index of a hole in [`super::Graph::holes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoleId(pub u32);

/// A value to come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hole {
    /// A secret reference of the config.
    Secret(SecretRef),
    /// An output of a step.
    Output(StepId, String),
}

/// The inputs of a step by name, in the order in which the task declares them, defaults filled in.
pub type Inputs = IndexMap<String, Input>;

/// A value that may have holes.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Known now.
    Known(Value),
    /// Exactly one hole: keeps the type of what fills it.
    Hole(HoleId),
    /// Text with holes in it.
    Text(Vec<Part>),
    /// A sequence.
    List(Vec<Input>),
    /// A mapping.
    Map(BTreeMap<String, Input>),
}

/// A piece of text with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A hole.
    Hole(HoleId),
    /// Text that goes through an encoder once its holes are filled, so that it is one scalar of the format around it.
    Encoded(Encoder, Vec<Part>),
}

/// Why inputs could not be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// These holes have no value yet. In order of appearance, without doubles; never empty.
    #[error("{} value(s) not known yet", .0.len())]
    Unknown(Vec<HoleId>),
    /// A list or mapping stands in the middle of a text.
    #[error("a {kind} can't stand inside a text")]
    NotText {
        /// Which hole.
        hole: HoleId,
        /// `list` or `mapping`.
        kind: &'static str,
    },
    /// What fills the holes can't be written in the format around them. Says nothing of what it is.
    #[error("it can't be written as `{}`: {why}", .encoder.name())]
    Unencodable {
        /// The holes that it is made of, in order of appearance.
        holes: Vec<HoleId>,
        /// What it was to go through.
        encoder: Encoder,
        /// Why not.
        why: &'static str,
    },
}

impl Input {
    /// Returns every hole in it, in order of appearance, doubles included.
    #[must_use]
    pub fn holes(&self) -> Vec<HoleId> {
        let mut found = Vec::new();
        self.collect_holes(&mut found);
        found
    }

    fn collect_holes(&self, found: &mut Vec<HoleId>) {
        match self {
            Self::Known(_) => {}
            Self::Hole(hole) => found.push(*hole),
            Self::Text(parts) => holes_of(parts, found),
            Self::List(items) => items.iter().for_each(|item| item.collect_holes(found)),
            Self::Map(entries) => entries.values().for_each(|item| item.collect_holes(found)),
        }
    }

    /// Returns the value with each hole replaced by what `value_of` gives for it. Text that takes up a secret is
    /// secret as a whole.
    ///
    /// # Errors
    /// When `value_of` does not know a hole (all such are named), or gives a list or mapping for one inside a text.
    pub fn fill(&self, value_of: &impl Fn(HoleId) -> Option<Value>) -> Result<Value, Unfilled> {
        match self {
            Self::Known(value) => Ok(value.clone()),
            Self::Hole(hole) => value_of(*hole).ok_or_else(|| Unfilled::Unknown(vec![*hole])),
            Self::Text(parts) => fill_text(parts, value_of),
            Self::List(items) => {
                let mut unknown = Vec::new();
                let values = items
                    .iter()
                    .filter_map(|item| collect(item.fill(value_of), &mut unknown).transpose())
                    .collect::<Result<_, _>>()?;
                known(Value::List(values), unknown)
            }
            Self::Map(entries) => {
                let mut unknown = Vec::new();
                let mut values = BTreeMap::new();
                for (name, item) in entries {
                    if let Some(value) = collect(item.fill(value_of), &mut unknown)? {
                        values.insert(name.clone(), value);
                    }
                }
                known(Value::Map(values), unknown)
            }
        }
    }
}

/// Appends the holes of a text, in order of appearance.
fn holes_of(parts: &[Part], found: &mut Vec<HoleId>) {
    for part in parts {
        match part {
            Part::Literal(_) => {}
            Part::Hole(hole) => found.push(*hole),
            Part::Encoded(_, inner) => holes_of(inner, found),
        }
    }
}

fn fill_text(
    parts: &[Part],
    value_of: &impl Fn(HoleId) -> Option<Value>,
) -> Result<Value, Unfilled> {
    let mut filling = Filling {
        value_of,
        unknown: Vec::new(),
        secret: false,
    };
    let mut text = filling.text(parts)?;
    let Filling {
        unknown, secret, ..
    } = filling;
    let text = std::mem::take(&mut *text);
    known(
        if secret {
            Value::Secret(Secret::new(text))
        } else {
            Value::Text(text)
        },
        unknown,
    )
}

/// A text on its way to be filled.
struct Filling<'a, F> {
    value_of: &'a F,
    /// Holes without a value.
    unknown: Vec<HoleId>,
    /// Whether a secret is among what was put in.
    secret: bool,
}

impl<F: Fn(HoleId) -> Option<Value>> Filling<'_, F> {
    fn text(&mut self, parts: &[Part]) -> Result<zeroize::Zeroizing<String>, Unfilled> {
        let mut text = zeroize::Zeroizing::new(String::new());
        for part in parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Hole(hole) => self.hole(*hole, &mut text)?,
                Part::Encoded(encoder, inner) => {
                    let before = self.unknown.len();
                    let plain = self.text(inner)?;
                    // What is not whole yet is not judged.
                    if self.unknown.len() > before {
                        continue;
                    }
                    let encoded = encoder.encode(&plain).map_err(|why| {
                        let mut holes = Vec::new();
                        holes_of(inner, &mut holes);
                        Unfilled::Unencodable {
                            holes: dedup(holes),
                            encoder: *encoder,
                            why,
                        }
                    })?;
                    text.push_str(&encoded);
                }
            }
        }
        Ok(text)
    }

    fn hole(&mut self, hole: HoleId, text: &mut String) -> Result<(), Unfilled> {
        let not_text = |kind| Unfilled::NotText { hole, kind };
        match (self.value_of)(hole) {
            None => self.unknown.push(hole),
            Some(Value::Null) => {}
            Some(Value::Bool(value)) => text.push_str(if value { "true" } else { "false" }),
            Some(Value::Int(value)) => text.push_str(&value.to_string()),
            Some(Value::Text(value)) => text.push_str(&value),
            Some(Value::Secret(value)) => {
                self.secret = true;
                text.push_str(value.expose());
            }
            Some(Value::List(_)) => return Err(not_text("list")),
            Some(Value::Map(_)) => return Err(not_text("mapping")),
        }
        Ok(())
    }
}

/// Puts unknown holes aside, so that one error can name them all.
fn collect(
    filled: Result<Value, Unfilled>,
    unknown: &mut Vec<HoleId>,
) -> Result<Option<Value>, Unfilled> {
    match filled {
        Ok(value) => Ok(Some(value)),
        Err(Unfilled::Unknown(holes)) => {
            unknown.extend(holes);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn known<T>(value: T, unknown: Vec<HoleId>) -> Result<T, Unfilled> {
    if unknown.is_empty() {
        Ok(value)
    } else {
        Err(Unfilled::Unknown(dedup(unknown)))
    }
}

fn dedup(holes: Vec<HoleId>) -> Vec<HoleId> {
    let unique: indexmap::IndexSet<HoleId> = holes.into_iter().collect();
    unique.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[&str]) -> Input {
        Input::Text(
            parts
                .iter()
                .map(|part| match part.strip_prefix('#') {
                    Some(hole) => Part::Hole(HoleId(hole.parse().unwrap())),
                    None => Part::Literal((*part).to_owned()),
                })
                .collect(),
        )
    }

    fn values(hole: HoleId) -> Option<Value> {
        match hole.0 {
            0 => Some(Value::Text("zero".into())),
            1 => Some(Value::Secret(Secret::new("one".to_owned()))),
            2 => Some(Value::Int(2)),
            3 => Some(Value::List(vec![Value::Bool(true)])),
            _ => None,
        }
    }

    #[test]
    fn one_hole_keeps_its_type_and_text_takes_up_the_rest() {
        let cases = [
            (Input::Hole(HoleId(3)), Value::List(vec![Value::Bool(true)])),
            (
                text(&["a=", "#0", ",", "#2"]),
                Value::Text("a=zero,2".into()),
            ),
            (
                text(&["token ", "#1", "/", "#0"]),
                Value::Secret(Secret::new("token one/zero".to_owned())),
            ),
            (
                Input::List(vec![Input::Hole(HoleId(2)), text(&["x"])]),
                Value::List(vec![Value::Int(2), Value::Text("x".into())]),
            ),
        ];
        for (input, wanted) in cases {
            assert_eq!(input.fill(&values), Ok(wanted), "{input:?}");
        }
    }

    #[test]
    fn every_unknown_hole_is_named_once() {
        let input = Input::List(vec![
            text(&["#9", "#8", "#9"]),
            Input::Hole(HoleId(0)),
            Input::Map(BTreeMap::from([("k".to_owned(), Input::Hole(HoleId(7)))])),
            Input::Hole(HoleId(8)),
        ]);
        assert_eq!(
            input.fill(&values),
            Err(Unfilled::Unknown(vec![HoleId(9), HoleId(8), HoleId(7)]))
        );
        assert_eq!(input.holes(), [9, 8, 9, 0, 7, 8].map(HoleId));
    }

    #[test]
    fn what_goes_through_an_encoder_is_written_when_it_is_whole() {
        let encoded = |parts: &[&str]| match text(parts) {
            Input::Text(parts) => Part::Encoded(Encoder::Yaml, parts),
            other => panic!("{other:?}"),
        };
        let values = |hole: HoleId| match hole.0 {
            0 => Some(Value::Secret(Secret::new("a\"\nb: c".to_owned()))),
            1 => Some(Value::Text("x".to_owned())),
            _ => None,
        };
        let input = Input::Text(vec![
            Part::Literal("k: ".to_owned()),
            encoded(&["K10", "#1", "::", "#0"]),
        ]);
        assert_eq!(input.holes(), [1, 0].map(HoleId));
        let want = "k: \"K10x::a\\\"\\nb: c\"";
        assert_eq!(
            input.fill(&values),
            Ok(Value::Secret(Secret::new(want.to_owned())))
        );
        let open = Input::Text(vec![encoded(&["#0", "#7"]), encoded(&["#8"])]);
        assert_eq!(
            open.fill(&values),
            Err(Unfilled::Unknown(vec![HoleId(7), HoleId(8)]))
        );
        let Input::Text(inner) = text(&["#1", "#0"]) else {
            panic!()
        };
        let wrong = Input::Text(vec![Part::Encoded(Encoder::Ini, inner)]);
        let error = wrong.fill(&values).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it can't be written as `ini`: it holds a line break or another control character"
        );
        assert!(
            matches!(error, Unfilled::Unencodable { holes, .. } if holes == [HoleId(1), HoleId(0)])
        );
    }

    #[test]
    fn a_list_inside_a_text_is_refused() {
        assert_eq!(
            text(&["x", "#3"]).fill(&values).unwrap_err().to_string(),
            "a list can't stand inside a text"
        );
    }
}
