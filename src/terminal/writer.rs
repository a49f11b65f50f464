//! The one place that writes to standard output and standard error. Turns marks into escape sequences where colours are
//! wanted; lets nothing else through that a terminal or a CI runner would act upon.

use std::io::{self, IsTerminal as _, Write};

use super::clean::{self, shown};
use super::guard;
use super::page::Page;
use super::style::{RESET, sgr};

/// Where lines go, as far as it matters for what they may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct To {
    colour: bool,
    terminal: bool,
}

/// Returns whether standard output is a terminal.
#[must_use]
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns whether standard error is a terminal.
#[must_use]
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Returns whether colours are wanted on standard output and on standard error: by what they are, `NO_COLOR` and
/// `CLICOLOR`.
#[must_use]
pub fn colours() -> (bool, bool) {
    (console::colors_enabled(), console::colors_enabled_stderr())
}

/// Writes a page to standard output. A reader that went away (`| head`) is no error.
///
/// # Errors
/// When it can't be written.
pub fn page(page: &Page) -> io::Result<()> {
    let to = To {
        colour: colours().0,
        terminal: stdout_is_terminal(),
    };
    send(io::stdout().lock(), &rendered(page.as_str(), to))
}

/// Writes data to standard output: to a file or another program byte for byte, to a terminal so that it does nothing there.
///
/// # Errors
/// When it can't be written.
pub fn data(text: &str) -> io::Result<()> {
    if !stdout_is_terminal() {
        return send(io::stdout().lock(), text);
    }
    let mut safe = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line
            .strip_suffix('\n')
            .map_or((line, ""), |line| (line, "\n"));
        safe.push_str(&super::style::plain(&shown(line)));
        safe.push_str(end);
    }
    send(io::stdout().lock(), &safe)
}

/// Writes a page to standard error.
pub fn tell(page: &Page) {
    let to = To {
        colour: colours().1,
        terminal: stderr_is_terminal(),
    };
    // Nobody is left to tell when standard error itself is gone.
    let _ = send(io::stderr().lock(), &rendered(page.as_str(), to));
}

/// Returns a page as it is written where there is no terminal.
#[must_use]
pub fn written(page: &Page, colour: bool) -> String {
    let to = To {
        colour,
        terminal: false,
    };
    rendered(page.as_str(), to)
}

/// Returns a page as it is written to a terminal.
#[must_use]
pub fn paged(page: &Page, colour: bool) -> String {
    let to = To {
        colour,
        terminal: true,
    };
    rendered(page.as_str(), to)
}

/// Returns text for a library that draws on the terminal itself, a question or a progress bar: what a terminal would act upon
/// is shown, line breaks are kept, marks are escape sequences.
#[must_use]
pub fn to_ansi(text: &str) -> String {
    let to = To {
        colour: colours().1,
        terminal: true,
    };
    rendered(text, to)
}

/// Standard output as a stream of events for programs, each a line of JSON of which [`super::escape_json`] took care.
#[must_use]
pub fn events() -> io::Stdout {
    io::stdout()
}

/// Standard error for lines that were rendered by [`written`], and for commands to a CI runner that are ours.
#[must_use]
pub fn runner() -> io::Stderr {
    io::stderr()
}

fn send(mut to: impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Returns `text` as it is sent: the net below everything. No escape character is in it but those made here.
fn rendered(text: &str, to: To) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        let (line, end) = line
            .strip_suffix('\n')
            .map_or((line, ""), |line| (line, "\n"));
        let mut sent = String::with_capacity(line.len() + 16);
        let mut styled = false;
        for c in line.chars() {
            match sgr(c) {
                None => clean::push(&mut sent, c),
                Some(_) if !to.colour => {}
                Some(number) => {
                    styled = c != RESET;
                    sent.push('\u{1b}');
                    sent.push_str(&format!("[{number}m"));
                }
            }
        }
        if styled {
            sent.push_str("\u{1b}[0m");
        }
        if to.terminal {
            out.push_str(&sent);
        } else {
            guard::push(&mut out, &sent);
        }
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::style::style;
    use super::*;

    #[test]
    fn only_our_own_styles_become_escapes_and_end_with_their_line() {
        let mut page = Page::new();
        page.line(format_args!(
            "{} \u{1b}[31mtheirs",
            style("ours").red().bold()
        ));
        page.line("\u{fdd3}a mark of theirs");
        page.line("::error::x");
        assert_eq!(
            paged(&page, true),
            "\u{1b}[31m\u{1b}[1mours\u{1b}[0m ^[[31mtheirs\n\u{1b}[31ma mark of theirs\u{1b}[0m\n::error::x\n"
        );
        assert_eq!(
            written(&page, false),
            "ours ^[[31mtheirs\na mark of theirs\n\\::error::x\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_gets_anything_through(text in "[\\x00-\\x9f:#\\[a\u{202a}-\u{202e}\u{fdd0}-\u{fddf}\u{1b}]{0,40}", colour: bool, terminal: bool) {
            let sent = rendered(&text, To { colour, terminal });
            let mut rest = sent.as_str();
            while let Some((before, after)) = rest.split_once('\u{1b}') {
                prop_assert!(colour && after.starts_with('['), "{sent:?}");
                let end = after.find('m').unwrap();
                prop_assert!(after[1..end].parse::<u8>().is_ok(), "{sent:?}");
                let bell = before.contains('\u{7}');
                prop_assert!(!bell);
                rest = &after[end + 1..];
            }
            let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\u{1b}') || ('\u{202a}'..='\u{202e}').contains(&c);
            prop_assert!(!sent.contains(odd), "{sent:?}");
            if !terminal {
                prop_assert!(!sent.lines().any(|line| line.trim_start().starts_with("::")));
                prop_assert!(!sent.contains("##["));
            }
        }
    }
}
