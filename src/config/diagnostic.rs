//! Draws problems as text with file:line:column, the lines around them and what to do. Pure formatting: does not
//! print and does not know the terminal. A value that looks like a password is covered in the lines shown.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity,
    SourceCode,
};

use super::cover::{cover_places, cover_secrets, cover_values};
use super::problem::{Cover, Problem, Problems};
use super::setting::Span;

/// The most problems drawn at once; nobody reads more.
const MOST: usize = 30;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub colour: bool,
    /// Box-drawing characters in place of ASCII.
    pub unicode: bool,
    /// Columns to wrap at.
    pub width: usize,
}

/// Returns all problems as text, one drawn after the other, with an empty line between them.
#[must_use]
pub fn render(problems: &Problems, style: Style) -> String {
    draw(problems, style, Severity::Error)
}

/// As [`render`], for what is no mistake but should be known.
#[must_use]
pub fn render_warnings(warnings: &Problems, style: Style) -> String {
    draw(warnings, style, Severity::Warning)
}

fn draw(problems: &Problems, style: Style, severity: Severity) -> String {
    let mut theme = match (style.colour, style.unicode) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::ascii(),
        (false, true) => GraphicalTheme::unicode_nocolor(),
        (false, false) => GraphicalTheme::none(),
    };
    theme.characters.error = "error:".to_owned();
    theme.characters.warning = "warning:".to_owned();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(style.width)
        // A terminal breaks long lines itself, and a paste stays whole.
        .with_wrap_lines(false)
        .with_links(false);
    let secret = problems.list.iter();
    let places = secret
        .filter(|problem| problem.cover == Cover::Place)
        .filter_map(|problem| problem.span);
    let mut covered = cover_places(cover_secrets(&problems.source.text), places);
    if problems
        .list
        .iter()
        .any(|problem| problem.cover == Cover::Values)
    {
        covered = cover_values(&covered);
    }
    let source = NamedSource::new(&problems.source.name, covered);
    let mut text = String::new();
    for problem in problems.list.iter().take(MOST) {
        let drawn = Drawn {
            problem,
            severity,
            source: &source,
            text: &problems.source.text,
        };
        if handler.render_report(&mut text, &drawn).is_err() {
            text.push_str(&problem.message);
        }
        text.push('\n');
    }
    if let Some(more @ 1..) = problems.list.len().checked_sub(MOST) {
        text.push_str(&format!("… and {more} more problems\n"));
    }
    // miette ends lines of its frame with blanks.
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// One problem beside its source, as miette wants it.
#[derive(Debug)]
struct Drawn<'a> {
    problem: &'a Problem,
    severity: Severity,
    source: &'a NamedSource<String>,
    text: &'a str,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span?;
        let main = LabeledSpan::new_primary_with_span(label(&self.problem.label), self.range(span));
        let also = self
            .problem
            .also
            .iter()
            .map(|(span, words)| LabeledSpan::new_with_span(label(words), self.range(*span)));
        Some(Box::new(std::iter::once(main).chain(also)))
    }
}

fn label(words: &str) -> Option<String> {
    (!words.is_empty()).then(|| words.to_owned())
}

impl Drawn<'_> {
    /// Returns the bytes to underline: no more than the first line of the span, and at least one character where there is one.
    fn range(&self, span: Span) -> std::ops::Range<usize> {
        let start = span.start.min(self.text.len());
        let line = self.text[start..].lines().next().unwrap_or("");
        let end = span.end.clamp(start, start + line.trim_end().len());
        if end > start {
            return start..end;
        }
        start..start + line.chars().next().map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::setting::Source;
    use super::*;

    const PLAIN: Style = Style {
        colour: false,
        unicode: true,
        width: 100,
    };

    fn problems() -> Problems {
        Problems::new(Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: "cluster:\n  name: production\n  nodse: []\nadmin_password: hunter2\n".to_owned(),
        }))
    }

    #[test]
    fn draws_place_snippet_and_help() {
        let mut problems = problems();
        let span = |start, end, line, column| Span {
            start,
            end,
            line,
            column,
        };
        problems.push(
            Problem::at(span(30, 35, 3, 3), "unknown key `nodse` in `cluster`")
                .label("not known here")
                .help("did you mean `nodes`?")
                .also(span(0, 7, 1, 1), "in this section"),
        );
        problems.push(Problem::at(span(56, 63, 4, 17), "wants a list, found text"));
        problems.push(Problem::new("is empty"));
        insta::assert_snapshot!(render(&problems, PLAIN), @r"
         error: unknown key `nodse` in `cluster`
          ╭─[stack.yaml:3:3]
        1 │ cluster:
          · ───┬───
          ·    ╰── in this section
        2 │   name: production
        3 │   nodse: []
          ·   ──┬──
          ·     ╰── not known here
        4 │ admin_password: *******
          ╰────
         help: did you mean `nodes`?

         error: wants a list, found text
          ╭─[stack.yaml:4:17]
        3 │   nodse: []
        4 │ admin_password: *******
          ·                 ───────
          ╰────

         error: is empty
        ");
    }

    #[test]
    fn what_a_problem_says_is_secret_is_never_shown() {
        let text = "components:\n  openbao:\n    url: postgres:hunter2\n    block: |\n      hunter3\n      hunter4\n    next: shown\n";
        let mut problems = Problems::new(Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: text.to_owned(),
        }));
        for (value, line) in [("postgres:hunter2", 3), ("hunter3\n      hunter4\n", 5)] {
            let start = text.find(value).unwrap();
            let span = Span {
                start,
                end: start + value.len(),
                line,
                column: 10,
            };
            problems.push(Problem::at(span, "`url` is secret").secret());
        }
        problems.push(Problem::at(
            Span {
                start: text.find("next").unwrap(),
                end: text.find("next").unwrap() + 4,
                line: 7,
                column: 5,
            },
            "unknown key `next`",
        ));
        let drawn = render(&problems, PLAIN);
        assert!(!drawn.contains("hunter"), "{drawn}");
        assert!(drawn.contains("next: shown"), "{drawn}");
    }

    #[test]
    fn draws_no_more_than_anyone_reads() {
        let mut problems = problems();
        problems.extend((0..MOST + 3).map(|n| Problem::new(format!("problem {n}"))));
        let text = render(&problems, PLAIN);
        assert!(text.ends_with("… and 3 more problems\n"), "{text}");
        assert_eq!(text.matches("error:").count(), MOST);
    }
}
