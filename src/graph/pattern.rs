//! One word of a selection: a label of which parts may be left out or be globs. Does not know set expressions.

use std::ops::Range;

use super::label::{Misspelt, Piece, split};

/// Text with `*` (any characters) and `?` (one character).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub fn matches(&self, text: &str) -> bool {
        if !self.is_pattern() {
            return self.0 == text;
        }
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut from) = (0, 0);
        // The last star seen and how much of the text it has taken so far: where to go on after a mismatch.
        let mut star: Option<(usize, usize)> = None;
        while from < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == text[from] => {
                    at += 1;
                    from += 1;
                }
                _ => match star {
                    Some((star_at, taken)) => {
                        at = star_at + 1;
                        from = taken + 1;
                        star = Some((star_at, taken + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }

    pub fn is_pattern(&self) -> bool {
        self.0.contains(['*', '?'])
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A glob and the bytes of the expression in which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub glob: Glob,
    pub at: Range<usize>,
}

impl Word {
    fn new(piece: Piece<'_>, offset: usize) -> Self {
        let start = offset + piece.at;
        Self {
            glob: Glob(piece.text.to_owned()),
            at: start..start + piece.text.len(),
        }
    }
}

/// What one word of a selection names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `stack`: everything.
    Stack,
    /// `role:worker`: the steps on hosts that have the role.
    Role(Word),
    /// `openbao:config[item]@host` with parts left out.
    Steps {
        component: Option<Word>,
        step: Option<Word>,
        item: Option<Word>,
        host: Option<Word>,
    },
}

impl Pattern {
    /// Reads a word that stands at byte `offset` of its expression.
    pub fn parse(text: &str, offset: usize) -> Result<Self, Misspelt> {
        if text == "stack" {
            return Ok(Self::Stack);
        }
        let parts = split(text).map_err(|wrong| Misspelt {
            at: wrong.at + offset,
            ..wrong
        })?;
        let word = |piece: Option<Piece<'_>>| piece.map(|piece| Word::new(piece, offset));
        if parts.component.is_some_and(|piece| piece.text == "role") {
            return match (parts.step, parts.item, parts.host) {
                (Some(role), None, None) => Ok(Self::Role(Word::new(role, offset))),
                (None, ..) => Err(Misspelt {
                    why: "no role: write `role:NAME`",
                    at: offset,
                }),
                (_, item, host) => Err(Misspelt {
                    why: "only a role's name may follow `role:`; combine with `&`",
                    at: offset + item.or(host).map_or(0, |piece| piece.at - 1),
                }),
            };
        }
        Ok(Self::Steps {
            component: word(parts.component),
            step: word(parts.step),
            item: word(parts.item),
            host: word(parts.host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs() {
        let cases = [
            ("bao-*", "bao-1", true),
            ("bao-*", "bao-", true),
            ("bao-*", "xbao-1", false),
            ("*-1", "bao-1", true),
            ("b?o", "bao", true),
            ("b?o", "bo", false),
            ("*a*b*", "xaxxbx", true),
            ("*a*b", "xaxxbx", false),
            ("a*bc", "abbc", true),
            ("é*", "éa", true),
            ("*", "", true),
            ("", "", true),
            ("a.c", "abc", false),
        ];
        for (glob, text, wanted) in cases {
            assert_eq!(Glob(glob.into()).matches(text), wanted, "{glob} on {text}");
        }
    }

    /// Says what a glob means in the plainest way there is, slowly.
    fn plainly(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', tail)), None) => plainly(tail, text),
            (Some(('*', tail)), Some((_, rest))) => plainly(tail, text) || plainly(glob, rest),
            (Some(_), None) => false,
            (Some((c, tail)), Some((d, rest))) => (*c == '?' || c == d) && plainly(tail, rest),
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_they_say(glob in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let chars: Vec<char> = glob.chars().collect();
            let wanted = plainly(&chars, &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(Glob(glob).matches(&text), wanted);
        }
    }
}
