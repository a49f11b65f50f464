//! What is wrong in a file that a person wrote: every problem with its place, so that all can be mended at once.
//! Does not know what the file means, nor how problems are drawn.

use std::fmt;
use std::sync::Arc;

use super::setting::{Source, Span};

/// The most problems kept: ten thousand hosts with the same mistake need not be told ten thousand times.
const MOST: usize = 500;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where; `None` when it is about the file as a whole.
    pub span: Option<Span>,
    /// A few words to stand under the place; may be empty. Boxed, because results carry problems around.
    pub label: Box<str>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it, with their words (`first here`).
    pub also: Vec<(Span, String)>,
    /// What of the file may not be shown with it.
    pub cover: Cover,
}

/// What of a file may not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cover {
    /// What looks secret by its name.
    #[default]
    Names,
    /// That, and what stands at the problem's place.
    Place,
    /// All values: nobody can tell what they are.
    Values,
}

impl Problem {
    /// Makes a problem of the file as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            label: Box::default(),
            help: None,
            also: Vec::new(),
            cover: Cover::Names,
        }
    }

    /// Makes a problem at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            ..Self::new(message)
        }
    }

    /// Puts a few words under the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into().into_boxed_str();
        self
    }

    /// Has what stands at its place covered wherever the file is shown.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.cover = Cover::Place;
        self
    }

    /// Has every value covered wherever the file is shown: it could not be read, so that nobody knows which are secret.
    #[must_use]
    pub fn unread(mut self) -> Self {
        self.cover = Cover::Values;
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do about it, if there is something to say.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Points at another place that has to do with it.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }
}

/// All problems found in one file. As an error it is one line per problem; `config::render` draws it with snippets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub source: Arc<Source>,
    /// The problems, in the order found.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Starts an empty list for a file.
    #[must_use]
    pub fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            list: Vec::new(),
        }
    }

    /// Adds a problem, unless the very same one is there already (an aliased part of a file is read more than once).
    pub fn push(&mut self, problem: Problem) {
        if self.list.len() < MOST && !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Adds several problems.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem);
        }
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns `value` if nothing is wrong.
    ///
    /// # Errors
    /// The problems, sorted by place, if there is any.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.list
            .sort_by_key(|problem| problem.span.map_or(0, |span| span.start));
        Err(self)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match problem.span {
                Some(span) => write!(f, "{}:{}:{}: ", self.source.name, span.line, span.column)?,
                None => write!(f, "{}: ", self.source.name)?,
            }
            f.write_str(&problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Arc<Source> {
        Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: "a: 1\nb: 2\n".to_owned(),
        })
    }

    fn span(start: usize, line: u32) -> Span {
        Span {
            start,
            end: start + 1,
            line,
            column: 1,
        }
    }

    #[test]
    fn nothing_wrong_gives_the_value() {
        assert_eq!(Problems::new(source()).into_result(7), Ok(7));
    }

    #[test]
    fn problems_come_sorted_by_place_and_once() {
        let mut problems = Problems::new(source());
        problems.push(Problem::at(span(5, 2), "second"));
        problems.push(Problem::at(span(0, 1), "first").help("mend it"));
        problems.push(Problem::at(span(5, 2), "second"));
        let problems = problems.into_result(()).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "stack.yaml:1:1: first (mend it)\nstack.yaml:2:1: second"
        );
    }
}
