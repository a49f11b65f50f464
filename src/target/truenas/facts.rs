//! Puts what is wanted of a thing beside what is there, field by field. Pure.

use std::collections::BTreeSet;

use crate::probe::{Differences, Fact, Facts, Place};

/// Fields that differ, as they are found.
#[derive(Default)]
pub struct Compared(Vec<Place>);

impl Compared {
    /// Notes a thing that is not there at all.
    pub fn absent(name: &str) -> Self {
        let mut compared = Self::default();
        compared.push(name, "absent", "there");
        compared
    }

    /// Notes a field if it differs.
    pub fn field(&mut self, name: &str, found: &str, wanted: &str) {
        if found != wanted {
            self.push(name, shown(found), shown(wanted));
        }
    }

    /// As [`Self::field`], for lists whose order means nothing.
    pub fn set<T: AsRef<str>, U: AsRef<str>>(&mut self, name: &str, found: &[T], wanted: &[U]) {
        let found: BTreeSet<&str> = found.iter().map(AsRef::as_ref).collect();
        let wanted: BTreeSet<&str> = wanted.iter().map(AsRef::as_ref).collect();
        if found != wanted {
            let words = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(" ");
            self.field(name, &words(found), &words(wanted));
        }
    }

    fn push(&mut self, name: &str, found: &str, wanted: &str) {
        self.0.push(Place {
            name: name.to_owned(),
            found: found.into(),
            wanted: wanted.into(),
        });
    }

    /// Returns whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns it as the fact `differs`.
    pub fn into_facts(self) -> Facts {
        let differs: Differences = self.0.into_iter().collect();
        [("differs".to_owned(), Fact::Differences(differs))].into()
    }
}

/// Words what is empty.
fn shown(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Words a truth value.
pub fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
