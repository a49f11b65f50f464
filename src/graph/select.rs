//! Set expressions over labels: `openbao`, `openbao:config@bao-1`, `role:worker & k3s`, `'k3s - @node9'`.
//! Knows names and order of steps, not whether they are satisfied.
//!
//! ```text
//! expression = term { ("+" | "-") term }        in either, without
//! term       = word { "&" word }                in both; binds tighter
//! word       = "stack" | "role:" NAME | COMPONENT [":" STEP ["[" ITEM "]"]] ["@" HOST] | "@" HOST | "(" expression ")"
//! ```
//!
//! Names may be globs (`@bao-*`, `*:config`). A word that names nothing is an error, also after `-`: a
//! misspelt exclusion must not pass for one that excludes nothing.

use std::ops::Range;
use std::sync::Arc;

use super::pattern::{Pattern, Word};
use super::set::StepSet;
use super::step::{StepId, Target};
use super::{Graph, unknown};
use crate::config::{Problem, Problems, Source, Span};

/// A set expression, read but not yet held against a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    root: Expression,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Word(Pattern, Range<usize>),
    Either(Box<Expression>, Box<Expression>),
    Without(Box<Expression>, Box<Expression>),
    Both(Box<Expression>, Box<Expression>),
}

/// A selection that can't be read or names what isn't there. Points at the place in the expression; to be drawn
/// as errors of a config are: [`Problems::from`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    /// What is wrong, as a fragment that stands on its own.
    pub message: String,
    /// The whole expression.
    pub expression: String,
    /// Bytes of the expression that are meant.
    pub at: Range<usize>,
    /// What to do instead.
    pub hint: Option<String>,
}

impl From<SelectError> for Problems {
    fn from(error: SelectError) -> Self {
        let before = &error.expression[..error.at.start];
        let span = Span {
            start: error.at.start,
            end: error.at.end,
            line: 1,
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        };
        let mut problems = Self::new(Arc::new(Source {
            name: "<selection>".to_owned(),
            text: error.expression,
        }));
        problems.push(Problem::at(span, error.message).maybe_help(error.hint));
        problems
    }
}

/// What an expression selects from a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Steps that the expression names.
    pub asked: StepSet,
    /// Steps to look at and, where not satisfied, to run: those asked for and all that they need, without those held.
    pub steps: StepSet,
    /// Steps that something in `steps` needs but the expression excluded by `-`. They are looked at and never run:
    /// one that is not satisfied already blocks what needs it. What only they need is left out altogether.
    pub held: StepSet,
    /// Those of `steps` that another shard does: they are looked at, waited for, and never run here.
    pub elsewhere: StepSet,
}

impl Selection {
    /// Returns the steps that nobody asked for but that are needed.
    #[must_use]
    pub fn pulled_in(&self) -> StepSet {
        let mut pulled = self.steps.clone();
        pulled.remove(&self.asked);
        pulled
    }

    /// Returns the steps to look at and, where not satisfied, to run here.
    pub fn own(&self) -> impl Iterator<Item = StepId> + '_ {
        self.steps.iter().filter(|id| !self.elsewhere.contains(*id))
    }
}

impl Selector {
    /// Reads one expression.
    ///
    /// # Errors
    /// When it is misspelt.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let mut reader = Reader {
            text,
            tokens: tokens(text)?,
            next: 0,
        };
        let root = reader.expression()?;
        match reader.peek() {
            None => Ok(Self {
                text: text.to_owned(),
                root,
            }),
            Some((Token::Close, at)) => Err(reader.fail("`)` without `(`", at, None)),
            Some((_, at)) => {
                let hint = "put `+` (either), `-` (without) or `&` (both) between them";
                Err(reader.fail("two names without an operator between them", at, Some(hint)))
            }
        }
    }
}

impl Graph {
    /// Returns the steps that `selector` names, all they need, and those it holds back.
    ///
    /// # Errors
    /// When a word names nothing in this graph, or nothing is left.
    pub fn select(&self, selector: &Selector) -> Result<Selection, SelectError> {
        let found = self.evaluate(&selector.root, &selector.text)?;
        if found.named.is_empty() {
            return Err(SelectError {
                message: format!("nothing is left of `{}`", selector.text),
                expression: selector.text.clone(),
                at: 0..selector.text.len(),
                hint: None,
            });
        }
        Ok(self.close(found))
    }

    /// Returns the selection of several expressions together, each as if it stood in parentheses with `+` between.
    ///
    /// # Errors
    /// As [`Graph::select`].
    pub fn select_any(&self, selectors: &[Selector]) -> Result<Selection, SelectError> {
        Ok(self.close(self.find_any(selectors)?))
    }

    fn find_any(&self, selectors: &[Selector]) -> Result<Found, SelectError> {
        let mut all = Found {
            named: StepSet::none(self.steps.len()),
            excluded: StepSet::none(self.steps.len()),
        };
        for selector in selectors {
            self.select(selector)?;
            let found = self.evaluate(&selector.root, &selector.text)?;
            all.named.add(&found.named);
            all.excluded.add(&found.excluded);
        }
        all.excluded.remove(&all.named);
        Ok(all)
    }

    /// Returns the selection of several expressions together of which nothing outside of `limit` and nothing within
    /// `exclude` is run: that is held, as what an expression excludes by `-`.
    ///
    /// # Errors
    /// As [`Graph::select`].
    pub fn select_within(
        &self,
        selectors: &[Selector],
        limit: Option<&Selector>,
        exclude: Option<&Selector>,
    ) -> Result<Selection, SelectError> {
        let mut found = self.find_any(selectors)?;
        if let Some(limit) = limit {
            let within = self.evaluate(&limit.root, &limit.text)?.named;
            let mut outside = StepSet::all(self.steps.len());
            outside.remove(&within);
            found.named.remove(&outside);
            // A gathering point is nowhere, and so outside of nothing.
            let mut gathers = StepSet::none(self.steps.len());
            for id in self.ids().filter(|id| self.step(*id).task.is_none()) {
                gathers.insert(id);
            }
            outside.remove(&gathers);
            found.excluded.add(&outside);
        }
        if let Some(exclude) = exclude {
            let without = self.evaluate(&exclude.root, &exclude.text)?.named;
            found.named.remove(&without);
            found.excluded.add(&without);
        }
        match [limit, exclude].into_iter().flatten().next() {
            Some(selector) if found.named.is_empty() => Err(SelectError {
                message: format!("nothing that was asked for is left by `{}`", selector.text),
                expression: selector.text.clone(),
                at: 0..selector.text.len(),
                hint: None,
            }),
            _ => Ok(self.close(found)),
        }
    }

    /// Returns exactly the steps that `selector` names, without what they need: for queries.
    ///
    /// # Errors
    /// As [`Graph::select`].
    pub fn matching(&self, selector: &Selector) -> Result<StepSet, SelectError> {
        self.select(selector).map(|selection| selection.asked)
    }

    fn close(&self, found: Found) -> Selection {
        let mut steps = found.named.clone();
        let mut held = StepSet::none(self.steps.len());
        let mut open: Vec<StepId> = found.named.iter().collect();
        while let Some(id) = open.pop() {
            for need in &self.step(id).needs {
                if found.excluded.contains(*need) {
                    held.insert(*need);
                } else if steps.insert(*need) {
                    open.push(*need);
                }
            }
        }
        Selection {
            asked: found.named,
            steps,
            held,
            elsewhere: StepSet::none(self.steps.len()),
        }
    }

    fn evaluate(&self, expression: &Expression, text: &str) -> Result<Found, SelectError> {
        let two = |a, b| Ok((self.evaluate(a, text)?, self.evaluate(b, text)?));
        Ok(match expression {
            Expression::Word(pattern, at) => Found {
                named: self.named(pattern, at, text)?,
                excluded: StepSet::none(self.steps.len()),
            },
            Expression::Either(a, b) => {
                let (mut a, b) = two(a, b)?;
                a.named.add(&b.named);
                a.excluded.add(&b.excluded);
                a.excluded.remove(&a.named);
                a
            }
            Expression::Without(a, b) => {
                let (mut a, b) = two(a, b)?;
                a.named.remove(&b.named);
                a.excluded.add(&b.named);
                a
            }
            Expression::Both(a, b) => {
                let (mut a, b) = two(a, b)?;
                a.named.keep(&b.named);
                a.excluded.add(&b.excluded);
                a.excluded.remove(&a.named);
                a
            }
        })
    }

    fn named(
        &self,
        pattern: &Pattern,
        at: &Range<usize>,
        text: &str,
    ) -> Result<StepSet, SelectError> {
        let mut named = StepSet::none(self.steps.len());
        for id in self.ids().filter(|id| self.is_named(*id, pattern)) {
            named.insert(id);
        }
        if named.is_empty() && !self.steps.is_empty() {
            return Err(unknown::explain(self, pattern, at, text));
        }
        Ok(named)
    }

    fn is_named(&self, id: StepId, pattern: &Pattern) -> bool {
        let step = self.step(id);
        let is = |word: &Option<Word>, name: Option<&str>| match word {
            None => true,
            Some(word) => name.is_some_and(|name| word.glob.matches(name)),
        };
        match pattern {
            Pattern::Stack => true,
            Pattern::Role(role) => match &step.target {
                Target::Host(host) => self
                    .stack
                    .host(*host)
                    .roles
                    .iter()
                    .any(|name| role.glob.matches(name)),
                Target::Group(_) | Target::Service(..) | Target::Gather => false,
            },
            Pattern::Steps {
                component,
                step: name,
                item,
                host,
            } => {
                is(component, Some(&step.label.component))
                    && is(name, Some(&step.label.step))
                    && is(item, step.label.item.as_deref())
                    && is(host, step.label.host.as_deref())
            }
        }
    }
}

/// What a part of an expression comes to. `excluded` and `named` have nothing in common.
struct Found {
    named: StepSet,
    excluded: StepSet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name,
    Plus,
    Minus,
    And,
    Open,
    Close,
}

fn failure(text: &str, message: &str, at: Range<usize>, hint: Option<&str>) -> SelectError {
    SelectError {
        message: message.to_owned(),
        expression: text.to_owned(),
        at,
        hint: hint.map(str::to_owned),
    }
}

/// Cuts an expression into tokens. Inside `[…]` everything belongs to the item; `-` is an operator only where a
/// name can't go on (names hold dashes: `cert-manager`).
fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, SelectError> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        let token = match first {
            c if c.is_whitespace() => continue,
            '+' => Token::Plus,
            '-' => Token::Minus,
            '&' => Token::And,
            '(' => Token::Open,
            ')' => Token::Close,
            _ => {
                let mut opened = (first == '[').then_some(start);
                let mut end = start + first.len_utf8();
                while let Some((at, c)) = rest.next_if(|(_, c)| {
                    opened.is_some() || !(c.is_whitespace() || "+&()".contains(*c))
                }) {
                    match c {
                        '[' if opened.is_none() => opened = Some(at),
                        ']' => opened = None,
                        _ => {}
                    }
                    end = at + c.len_utf8();
                }
                if let Some(at) = opened {
                    return Err(failure(text, "`[` is never closed", at..at + 1, None));
                }
                tokens.push((Token::Name, start..end));
                continue;
            }
        };
        tokens.push((token, start..start + first.len_utf8()));
    }
    Ok(tokens)
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
}

impl Reader<'_> {
    fn expression(&mut self) -> Result<Expression, SelectError> {
        let mut left = self.term()?;
        loop {
            if self.take(&Token::Plus) {
                left = Expression::Either(Box::new(left), Box::new(self.term()?));
            } else if self.take(&Token::Minus) {
                left = Expression::Without(Box::new(left), Box::new(self.term()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn term(&mut self) -> Result<Expression, SelectError> {
        let mut left = self.word()?;
        while self.take(&Token::And) {
            left = Expression::Both(Box::new(left), Box::new(self.word()?));
        }
        Ok(left)
    }

    fn word(&mut self) -> Result<Expression, SelectError> {
        let before_all = self.next == 0;
        match self.peek() {
            Some((Token::Name, at)) => {
                self.next += 1;
                let pattern =
                    Pattern::parse(&self.text[at.clone()], at.start).map_err(|wrong| {
                        let end = self.text[wrong.at..]
                            .chars()
                            .next()
                            .map_or(wrong.at, |c| wrong.at + c.len_utf8());
                        self.fail(wrong.why, wrong.at..end, None)
                    })?;
                Ok(Expression::Word(pattern, at))
            }
            Some((Token::Open, open)) => {
                self.next += 1;
                let inner = self.expression()?;
                if self.take(&Token::Close) {
                    Ok(inner)
                } else {
                    Err(self.fail("`(` is never closed", open, None))
                }
            }
            Some((Token::Minus, at)) if before_all => {
                let hint = format!("to take it from everything: `stack {}`", self.text.trim());
                Err(self.fail("nothing stands before `-`", at, Some(&hint)))
            }
            Some((_, at)) => Err(self.fail("a name is missing here", at, None)),
            None => {
                let end = self.text.len();
                Err(self.fail("a name is missing at the end", end..end, None))
            }
        }
    }

    fn peek(&self) -> Option<(Token, Range<usize>)> {
        self.tokens.get(self.next).cloned()
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let there = self
            .tokens
            .get(self.next)
            .is_some_and(|(token, _)| token == wanted);
        self.next += usize::from(there);
        there
    }

    fn fail(&self, message: &str, at: Range<usize>, hint: Option<&str>) -> SelectError {
        failure(self.text, message, at, hint)
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
