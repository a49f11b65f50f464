//! Small programs that built-in actions run on hosts: a static script with quoted variables before it.
//! Does not know how a host is reached.

use std::fmt::Write as _;
use std::time::Duration;

use crate::probe::{AccessError, Program, Reader, Reply, with_functions};
use crate::run::{StepError, Writer};
use crate::secret::Secret;

/// How much of a script's output an error keeps.
const OUTPUT_KEPT: usize = 4096;

/// A script on its way to a host.
pub struct Script {
    text: String,
    deadline: Duration,
}

impl Script {
    /// Makes a script of a static POSIX sh text; variables are set before it runs.
    #[must_use]
    pub fn new(body: &'static str, deadline: Duration, variables: &[(&str, &str)]) -> Self {
        Self::of(body, deadline, variables)
    }

    /// As [`Self::new`], of a task's own script.
    #[must_use]
    pub fn of(body: &str, deadline: Duration, variables: &[(&str, &str)]) -> Self {
        let mut text = String::from(
            "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nset -eu\numask 022\ncd /\n",
        );
        for (name, value) in variables {
            let _ = writeln!(text, "{name}={}", quote(value));
        }
        text.push_str(&with_functions(body));
        Self { text, deadline }
    }

    /// Returns the whole of it, which may hold secrets.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs it and returns what it printed; a status other than 0 is an error with the script's own words.
    ///
    /// # Errors
    /// When the host can't be told, or the script failed.
    pub async fn run(self, writer: &dyn Writer) -> Result<Secret<String>, StepError> {
        let reply = self.reply(writer).await?;
        match reply.status {
            Some(0) => Ok(Secret::new(
                String::from_utf8_lossy(&reply.stdout).into_owned(),
            )),
            status => Err(StepError::Failed {
                message: match status {
                    Some(status) => format!("the script ended with status {status}"),
                    None => "the script was killed".to_owned(),
                },
                output: tail(&reply.stderr),
                hint: None,
                status,
            }),
        }
    }

    fn program(self) -> Program {
        Program {
            text: Secret::new(self.text),
            deadline: self.deadline,
        }
    }

    /// Runs it where nothing may be changed and returns the reply, whatever its status.
    ///
    /// # Errors
    /// When the host can't be asked.
    pub async fn ask(self, reader: &dyn Reader) -> Result<Reply, AccessError> {
        reader.ask(&self.program()).await
    }

    /// Runs it and returns the reply, whatever its status.
    ///
    /// # Errors
    /// When the host can't be told.
    pub async fn reply(self, writer: &dyn Writer) -> Result<Reply, StepError> {
        Ok(writer.run(&self.program()).await?)
    }
}

/// Returns `text` as one word of sh.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns the last lines of an output, within limits.
#[must_use]
pub fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(OUTPUT_KEPT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_one_word_of_sh_whatever_is_in_it() {
        assert_eq!(quote("a'b $c\n"), "'a'\\''b $c\n'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn the_tail_of_an_output_ends_where_it_ended() {
        let long = format!("{}ü end\n", "x".repeat(2 * OUTPUT_KEPT));
        let kept = tail(long.as_bytes());
        assert!(kept.ends_with("ü end"));
        assert!(kept.len() <= OUTPUT_KEPT);
    }
}
