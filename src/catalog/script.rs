//! A rough look at POSIX sh scripts, good enough for a lint: which variables they read and set, and which commands
//! get them as arguments. shellcheck looks properly; this knows what shellcheck can't, the inputs of a task.

use std::collections::BTreeSet;

/// Variables that every script has.
const GIVEN: &[&str] = &[
    "label", "PATH", "HOME", "IFS", "PWD", "OLDPWD", "LC_ALL", "OPTARG", "OPTIND", "PPID",
    "TMPDIR", "_",
];

/// Words after which a command begins.
const KEYWORDS: &[&str] = &[
    "if", "elif", "then", "else", "while", "until", "do", "!", "{",
];

/// Commands that are part of the shell, so that their arguments show in no process list. `export` is not among them:
/// what it gets, every command after it has in its environment.
const BUILTINS: &[&str] = &[
    "printf", "echo", "case", "[", "test", ":", "set", "read", "for", "return", "exit", "local",
    "shift", "eval", "trap",
];

/// A use of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// Its name.
    pub name: String,
    /// Line, from 1.
    pub line: u32,
    /// The command that gets it as an argument or in its environment, if that is a process of its own.
    pub command: Option<String>,
}

/// What a script does with variables.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Reads, in order.
    pub uses: Vec<Use>,
    /// Names that it sets anywhere.
    pub set: BTreeSet<String>,
}

impl Variables {
    /// Reads `script`.
    pub fn of(script: &str) -> Self {
        let mut found = Self::default();
        let mut here: Option<(String, bool)> = None;
        let mut quote = None;
        for (number, line) in (1..).zip(script.lines()) {
            // The body of a here-document is data on standard input.
            if let Some((end, literal)) = &here {
                if line.trim_start_matches('\t') == end {
                    here = None;
                } else if !literal {
                    found.read_line(line, number, &mut Some('"'), true);
                }
                continue;
            }
            found.read_line(line, number, &mut quote, false);
            here = here_document(line);
        }
        found
    }

    /// Returns the uses of names that nobody gives.
    pub fn unknown<'a>(&'a self, given: &'a dyn Fn(&str) -> bool) -> impl Iterator<Item = &'a Use> {
        self.uses.iter().filter(move |u| {
            !given(&u.name) && !self.set.contains(&u.name) && !GIVEN.contains(&u.name.as_str())
        })
    }

    fn read_line(&mut self, line: &str, number: u32, quote: &mut Option<char>, data: bool) {
        let chars: Vec<char> = line.chars().collect();
        let mut command: Option<String> = None;
        let mut word = String::new();
        let mut at = 0;
        while at < chars.len() {
            let c = chars[at];
            match (*quote, c) {
                (_, '\\') if *quote != Some('\'') => at += 1,
                (Some('\''), '\'') | (None, '\'') if !data => {
                    *quote = if quote.is_some() { None } else { Some('\'') }
                }
                (Some('\''), _) => {}
                (Some('"'), '"') if !data => *quote = None,
                (None, '"') => {
                    *quote = Some('"');
                    word.push(c);
                }
                (None, '#') if at == 0 || chars[at - 1].is_whitespace() => break,
                (_, '$') if chars[at + 1..].starts_with(&['(', '(']) => {
                    at = self.arithmetic(&chars, at + 3, number);
                    word.push('$');
                    continue;
                }
                (_, '$') if chars.get(at + 1) == Some(&'(') => {
                    // A command within a word: its own arguments follow.
                    self.end_word(&word, &mut command);
                    (command, word) = (None, String::new());
                    at += 1;
                }
                (_, '$') => {
                    let braces = chars.get(at + 1) == Some(&'{');
                    let start = at + 1 + usize::from(braces);
                    let length = usize::from(braces && chars.get(start) == Some(&'#'));
                    let name: String = chars[(start + length).min(chars.len())..]
                        .iter()
                        .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
                        .collect();
                    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                        let after: String = chars[(start + length + name.len()).min(chars.len())..]
                            .iter()
                            .take(2)
                            .collect();
                        if braces && (after.starts_with('=') || after == ":=") {
                            self.set.insert(name.clone());
                        }
                        let argument = command.clone().filter(|name| !data && !name.is_empty());
                        self.uses.push(Use {
                            name,
                            line: number,
                            command: argument,
                        });
                    }
                    word.push('$');
                }
                (None, '|' | ';' | '&' | '(' | ')' | '`') => {
                    self.end_word(&word, &mut command);
                    (command, word) = (None, String::new());
                }
                (None, c) if c.is_whitespace() => {
                    self.end_word(&word, &mut command);
                    word.clear();
                }
                _ => word.push(c),
            }
            at += 1;
        }
        self.end_word(&word, &mut command);
        self.set_by_words(line);
    }

    /// Reads `$((…))`, where variables need no `$`; returns where it ends.
    fn arithmetic(&mut self, chars: &[char], mut at: usize, line: u32) -> usize {
        let mut name = String::new();
        while at < chars.len() && !chars[at..].starts_with(&[')', ')']) {
            let c = chars[at];
            if chars[at..].starts_with(&['$', '(']) {
                // A command within: its words are no variables.
                at += chars[at..]
                    .iter()
                    .position(|c| *c == ')')
                    .unwrap_or(chars.len() - at);
            } else if c.is_ascii_alphabetic()
                || c == '_'
                || (c.is_ascii_digit() && !name.is_empty())
            {
                name.push(c);
            } else if !name.is_empty() {
                self.uses.push(Use {
                    name: std::mem::take(&mut name),
                    line,
                    command: None,
                });
            }
            at += 1;
        }
        if !name.is_empty() {
            self.uses.push(Use {
                name,
                line,
                command: None,
            });
        }
        at + 2
    }

    /// Takes a whole word: an assignment, or the name of a command.
    fn end_word(&mut self, word: &str, command: &mut Option<String>) {
        if word.is_empty() || command.is_some() {
            return;
        }
        if let Some((name, _)) = word.split_once('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            self.set.insert(name.to_owned());
        } else if BUILTINS.contains(&word) {
            *command = Some(String::new());
        } else if !KEYWORDS.contains(&word) && !word.starts_with(['<', '>']) {
            *command = Some(word.to_owned());
        }
    }

    /// Finds what `for`, `read`, `export` and `local` set.
    fn set_by_words(&mut self, line: &str) {
        let words: Vec<&str> = line
            .split(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '(' | ')' | '{' | '}'))
            .collect();
        for (at, word) in words.iter().enumerate() {
            if !matches!(*word, "for" | "read" | "export" | "local" | "getopts") {
                continue;
            }
            for name in &words[at + 1..] {
                if matches!(*name, "in" | "do" | "done" | "then")
                    || name.starts_with(['<', '>', '&'])
                {
                    break;
                }
                self.set
                    .insert(name.split('=').next().unwrap_or_default().to_owned());
            }
        }
    }
}

/// Returns the end mark of a here-document that begins in `line`, and whether its body is literal.
fn here_document(line: &str) -> Option<(String, bool)> {
    let (_, after) = line.split_once("<<")?;
    let after = after.strip_prefix('-').unwrap_or(after).trim_start();
    let literal = after.starts_with(['\'', '"', '\\']);
    let mark: String = after
        .trim_start_matches(['\'', '"', '\\'])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!mark.is_empty()).then_some((mark, literal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_reads_and_writes() {
        let found = Variables::of(
            "a=1 b=\"$path\"\nfor x in $names; do echo \"$x\"; done\nwhile IFS= read -r line; do :; done <<END\n$list\nEND\nawk '{ print $inner }' # $comment\n: \"${d:=5}\" ${#e}\nf=$(date) g=$((f + h + $(date +%s)))\n",
        );
        let names: Vec<&str> = found.uses.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["path", "names", "x", "list", "d", "e", "f", "h"]);
        for set in ["a", "b", "x", "line", "d", "f", "g"] {
            assert!(found.set.contains(set), "{set}");
        }
    }

    #[test]
    fn tells_whose_argument_it_is() {
        let command = |script: &str| {
            Variables::of(script)
                .uses
                .into_iter()
                .find(|u| u.name == "pw")
                .and_then(|u| u.command)
        };
        for (script, want) in [
            ("curl -u \"x:$pw\" url", Some("curl")),
            ("PGPASSWORD=$pw psql", None),
            ("printf '%s' \"$pw\" | tool", None),
            ("if [ -n \"$pw\" ]; then :; fi", None),
            ("x=$(tool --password \"$pw\")", Some("tool")),
            ("cat <<END\n$pw\nEND", None),
            ("cd / && tool \"$pw\"", Some("tool")),
            ("export pw", None),
        ] {
            assert_eq!(command(script).as_deref(), want, "{script}");
        }
    }
}
