//! What templates gave → the typed inputs of a step, values to come cut out as holes. Does not know hosts, nor which
//! step an output comes from: whoever calls says which hole a placeholder is.

use std::collections::BTreeMap;

use minijinja::Value as Jinja;
use minijinja::value::ValueKind;

use super::input::{HoleId, Input, Part};
use crate::catalog::{
    Encoder, Format, InputSpec, Misplaced, Piece, Placeholder, Value, ValueType, check_pieces,
    split_placeholders,
};

/// An input whose holes are still placeholders: what is the same for all hosts is evaluated once, and the holes of
/// each host are put in afterwards.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Draft {
    /// Nothing is to come.
    Known(Value),
    /// Exactly one placeholder.
    Hole(Placeholder),
    /// Text with placeholders.
    Text(Vec<DraftPart>),
    /// A sequence with placeholders in it.
    List(Vec<Draft>),
    /// A mapping with placeholders in it.
    Map(BTreeMap<String, Draft>),
}

/// A piece of text with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DraftPart {
    Literal(String),
    Hole(Placeholder),
    Encoded(Encoder, Vec<DraftPart>),
}

impl DraftPart {
    fn of(piece: Piece<'_>) -> Self {
        match piece {
            Piece::Literal(text) => Self::Literal(text.to_owned()),
            Piece::Placeholder(placeholder) => Self::Hole(placeholder),
            Piece::Encoded(encoder, inner) => {
                Self::Encoded(encoder, inner.into_iter().map(Self::of).collect())
            }
        }
    }

    fn each_hole(&self, visit: &mut impl FnMut(Placeholder)) {
        match self {
            Self::Literal(_) => {}
            Self::Hole(placeholder) => visit(*placeholder),
            Self::Encoded(_, inner) => inner.iter().for_each(|part| part.each_hole(visit)),
        }
    }

    fn bind<E>(&self, hole: &mut impl FnMut(Placeholder) -> Result<HoleId, E>) -> Result<Part, E> {
        Ok(match self {
            Self::Literal(text) => Part::Literal(text.clone()),
            Self::Hole(placeholder) => Part::Hole(hole(*placeholder)?),
            Self::Encoded(encoder, inner) => Part::Encoded(
                *encoder,
                inner
                    .iter()
                    .map(|part| part.bind(hole))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

impl Draft {
    /// Reads what a template gave.
    pub fn of(value: &Jinja) -> Result<Self, String> {
        if let Some(placeholder) = value.downcast_object_ref::<Placeholder>() {
            return Ok(Self::Hole(*placeholder));
        }
        match value.kind() {
            ValueKind::None => Ok(Self::Known(Value::Null)),
            ValueKind::Bool => Ok(Self::Known(Value::Bool(value.is_true()))),
            ValueKind::Number => value
                .as_i64()
                .map(|n| Self::Known(Value::Int(n)))
                .ok_or_else(|| format!("{value} is not a whole number of 64 bits")),
            ValueKind::String => Self::of_text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter().map_err(|e| e.to_string())?;
                Ok(Self::of_list(
                    items
                        .map(|item| Self::of(&item))
                        .collect::<Result<_, _>>()?,
                ))
            }
            ValueKind::Map => {
                let entries = value
                    .try_iter()
                    .map_err(|e| e.to_string())?
                    .map(|key| {
                        let entry = value.get_item(&key).map_err(|e| e.to_string())?;
                        let name = key.to_string();
                        match split_placeholders(&name).as_deref() {
                            Ok([] | [Piece::Literal(_)]) => Ok((name, Self::of(&entry)?)),
                            _ => Err(
                                "a secret or an output of a step can't be the key of a table"
                                    .to_owned(),
                            ),
                        }
                    })
                    .collect::<Result<_, String>>()?;
                Ok(Self::of_map(entries))
            }
            kind => Err(format!("{kind} is not a value")),
        }
    }

    fn of_text(text: &str) -> Result<Self, String> {
        let pieces = split_placeholders(text)?;
        if pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Literal(_)))
        {
            return Ok(Self::Known(Value::Text(text.to_owned())));
        }
        let parts = pieces.into_iter().map(DraftPart::of);
        Ok(Self::Text(parts.collect()))
    }

    /// Makes a list, known as a whole if all of it is.
    pub fn of_list(items: Vec<Self>) -> Self {
        if !items.iter().all(|item| matches!(item, Self::Known(_))) {
            return Self::List(items);
        }
        Self::Known(Value::List(
            items.into_iter().filter_map(Self::known).collect(),
        ))
    }

    /// Makes a mapping, known as a whole if all of it is.
    pub fn of_map(entries: BTreeMap<String, Self>) -> Self {
        if !entries
            .values()
            .all(|entry| matches!(entry, Self::Known(_)))
        {
            return Self::Map(entries);
        }
        let known = entries
            .into_iter()
            .filter_map(|(key, entry)| Some((key, entry.known()?)));
        Self::Known(Value::Map(known.collect()))
    }

    fn known(self) -> Option<Value> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Brings it into the form of the input's type; nothing given takes the default.
    pub fn check(self, spec: &InputSpec) -> Result<Self, String> {
        match (self, &spec.default) {
            (Self::Known(Value::Null), Some(default)) => Ok(Self::Known(default.clone())),
            (Self::Known(Value::Null), None) => {
                Err("it must be given, but there is no value".to_owned())
            }
            (draft, _) => draft.check_kind(&spec.kind),
        }
    }

    fn check_kind(self, kind: &ValueType) -> Result<Self, String> {
        match (self, kind) {
            (Self::Known(value), kind) => kind.check(value).map(Self::Known),
            (draft @ Self::Hole(_), _) | (draft, ValueType::Any) => Ok(draft),
            (draft @ Self::Text(_), kind) if kind.is_text() => Ok(draft),
            (Self::List(items), ValueType::List(item)) => items
                .into_iter()
                .map(|draft| draft.check_kind(item))
                .collect::<Result<_, _>>()
                .map(Self::List),
            (Self::Map(entries), ValueType::Map(entry)) => entries
                .into_iter()
                .map(|(key, draft)| Ok((key, draft.check_kind(entry)?)))
                .collect::<Result<_, String>>()
                .map(Self::Map),
            (Self::Text(_), kind) => Err(format!("a text is given, but {kind} is wanted")),
            (Self::List(_), kind) => Err(format!("a list is given, but {kind} is wanted")),
            (Self::Map(_), kind) => Err(format!("a table is given, but {kind} is wanted")),
        }
    }

    /// Calls `visit` with every placeholder in it; whether it stands alone decides which types fit.
    pub fn each_hole(&self, visit: &mut impl FnMut(Placeholder)) {
        match self {
            Self::Known(_) => {}
            Self::Hole(placeholder) => visit(*placeholder),
            Self::Text(parts) => parts.iter().for_each(|part| part.each_hole(visit)),
            Self::List(items) => items.iter().for_each(|item| item.each_hole(visit)),
            Self::Map(entries) => entries.values().for_each(|entry| entry.each_hole(visit)),
        }
    }

    /// Checks that what is to come can only become one scalar of a text of this format.
    ///
    /// # Errors
    /// About the first that could become more.
    pub fn check_format(&self, format: Format) -> Result<(), Misplaced> {
        let Self::Text(parts) = self else {
            return Ok(());
        };
        let pieces: Vec<Piece<'_>> = parts
            .iter()
            .map(|part| match part {
                DraftPart::Literal(text) => Piece::Literal(text),
                DraftPart::Hole(placeholder) => Piece::Placeholder(*placeholder),
                DraftPart::Encoded(encoder, _) => Piece::Encoded(*encoder, Vec::new()),
            })
            .collect();
        check_pieces(format, &pieces)
    }

    /// Returns the text that it is, if nothing of it is to come.
    pub fn known_text(&self) -> Option<&str> {
        match self {
            Self::Known(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Puts holes in the places of placeholders.
    pub fn bind<E>(
        &self,
        hole: &mut impl FnMut(Placeholder) -> Result<HoleId, E>,
    ) -> Result<Input, E> {
        Ok(match self {
            Self::Known(value) => Input::Known(value.clone()),
            Self::Hole(placeholder) => Input::Hole(hole(*placeholder)?),
            Self::Text(parts) => Input::Text(
                parts
                    .iter()
                    .map(|part| part.bind(hole))
                    .collect::<Result<_, _>>()?,
            ),
            Self::List(items) => Input::List(
                items
                    .iter()
                    .map(|item| item.bind(hole))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => Input::Map(
                entries
                    .iter()
                    .map(|(key, entry)| Ok((key.clone(), entry.bind(hole)?)))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_known_and_cuts_out_the_rest() {
        let hole = Placeholder(4).into_jinja();
        let text = Jinja::from(format!("a{hole}b"));
        assert_eq!(Draft::of(&hole), Ok(Draft::Hole(Placeholder(4))));
        let list = Draft::of(&Jinja::from(vec![Jinja::from("x"), text])).unwrap();
        let input = list.bind(&mut |placeholder| Ok::<_, ()>(HoleId(placeholder.0 + 1)));
        assert_eq!(
            input,
            Ok(Input::List(vec![
                Input::Known(Value::Text("x".to_owned())),
                Input::Text(vec![
                    Part::Literal("a".to_owned()),
                    Part::Hole(HoleId(5)),
                    Part::Literal("b".to_owned()),
                ]),
            ]))
        );
        let known = Draft::of(&Jinja::from(vec![Jinja::from("x")])).unwrap();
        assert_eq!(
            known,
            Draft::Known(Value::List(vec![Value::Text("x".to_owned())]))
        );
        let key = Jinja::from_pairs([(Jinja::from(format!("{hole}")), Jinja::from(1))]);
        assert!(Draft::of(&key).is_err());
    }

    #[test]
    fn checks_types_around_holes() {
        let text = || Draft::Text(vec![DraftPart::Hole(Placeholder(0))]);
        let spec = |kind, default| InputSpec {
            kind,
            default,
            secret: false,
            format: None,
            doc: String::new(),
        };
        assert!(text().check(&spec(ValueType::Path, None)).is_ok());
        assert!(text().check(&spec(ValueType::Int, None)).is_err());
        assert!(
            Draft::Hole(Placeholder(0))
                .check(&spec(ValueType::Int, None))
                .is_ok()
        );
        let list = ValueType::List(Box::new(ValueType::String));
        assert!(
            Draft::List(vec![text()])
                .check(&spec(list.clone(), None))
                .is_ok()
        );
        assert!(text().check(&spec(list, None)).is_err());
        let null = || Draft::Known(Value::Null);
        assert!(null().check(&spec(ValueType::Int, None)).is_err());
        let default = Some(Value::Int(7));
        assert_eq!(
            null().check(&spec(ValueType::Int, default)),
            Ok(Draft::Known(Value::Int(7)))
        );
    }
}
