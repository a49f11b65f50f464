//! What is wrong with several files together: a catalog, or a stack and its recipes. Does not know how they are drawn.

use std::fmt;
use std::sync::Arc;

use crate::config::{Problem, Problems, Source};

/// Problems of several files, each with its place. One line per problem; `config::render` draws each file's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllProblems {
    /// Per file, in the order found.
    pub files: Vec<Problems>,
}

impl AllProblems {
    /// Adds a problem of a file.
    pub fn push(&mut self, source: &Arc<Source>, problem: Problem) {
        match self.files.iter_mut().find(|file| file.source == *source) {
            Some(file) => file.push(problem),
            None => {
                let mut file = Problems::new(source.clone());
                file.push(problem);
                self.files.push(file);
            }
        }
    }

    /// Adds the problems of a file.
    pub fn extend(&mut self, problems: Problems) {
        for problem in problems.list {
            self.push(&problems.source, problem);
        }
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the problems sorted by place within each file.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        for file in &mut self.files {
            file.list
                .sort_by_key(|problem| problem.span.map_or(0, |span| span.start));
        }
        self
    }

    /// Returns `value` if nothing is wrong.
    ///
    /// # Errors
    /// The problems, sorted by place within each file, if there is any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.files.is_empty() {
            Ok(value)
        } else {
            Err(self.sorted())
        }
    }
}

impl From<Problems> for AllProblems {
    fn from(problems: Problems) -> Self {
        Self {
            files: vec![problems],
        }
    }
}

impl fmt::Display for AllProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.files.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{file}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AllProblems {}
