//! Probe scripts: calling each under its own time-out, and reading the facts it prints. Does not know what they ask.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::fact::{Fact, Facts, Fault};
use super::frame::Section;
use super::mask::Mask;
use super::shell::{ShellError, assign_used_into, uses};
use super::timed::{self, TOOK_TOO_LONG, Timed};
use crate::catalog::Values;

/// A probe script bound to its variables.
#[derive(Clone)]
pub struct ProbeScript {
    /// The function's body, shared by all steps of its task.
    text: Arc<str>,
    /// Assignments of its variables, in sh.
    variables: Zeroizing<String>,
    /// When it is killed. Counts in whole seconds.
    pub(super) timeout: Duration,
    /// Whether what it prints is secret: it has a secret among its variables.
    secret: bool,
    /// What must not show up in a fault.
    mask: Arc<Mask>,
}

impl ProbeScript {
    /// Binds `text` to those of `values` that it uses. It is killed after `timeout`, ten seconds unless given.
    ///
    /// # Errors
    /// When one of them can't be a shell variable.
    pub fn new(text: &str, values: &Values, timeout: Option<Duration>) -> Result<Self, ShellError> {
        let mut variables = Zeroizing::new(String::new());
        assign_used_into(&mut variables, text, values)?;
        let secret = values
            .iter()
            .any(|(name, value)| value.is_secret() && uses(text, name));
        Ok(Self {
            text: Arc::from(text),
            variables,
            timeout: timeout.unwrap_or(TIMEOUT),
            secret,
            mask: Arc::new(Mask::of(values)),
        })
    }
}

/// Two that ask the same and print the same of it. Those that have secrets to hide are not compared: each is its own.
impl PartialEq for ProbeScript {
    fn eq(&self, other: &Self) -> bool {
        let masks =
            Arc::ptr_eq(&self.mask, &other.mask) || (self.mask.is_none() && other.mask.is_none());
        masks
            && self.text == other.text
            && self.variables == other.variables
            && self.timeout == other.timeout
            && self.secret == other.secret
    }
}

impl Eq for ProbeScript {}

impl Hash for ProbeScript {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.variables.hash(state);
    }
}

/// Time-out of a probe script that sets none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `__q NUMBER SCRIPT SECONDS` asks by a script, as one frame.
const FUNCTION: &str = r#"__q() {
__b "s$1"
__r "$2" </dev/null &
__p=$!
__t "$3" 0
__c "s$1"
}
"#;

/// Appends the calls of `scripts`, each as the frame `s<number>`; returns how many processes that starts, sleeps of the
/// ticker after the first left out (the program counts those).
pub(super) fn render<'a>(
    scripts: impl IntoIterator<Item = (usize, &'a str, &'a ProbeScript)>,
    out: &mut String,
) -> Result<u32, ShellError> {
    let mut timed = Timed::default();
    let mut processes = 0;
    for (number, label, script) in scripts {
        if processes == 0 {
            out.push_str(FUNCTION);
            processes += timed::TICKER;
        }
        let index = timed.ready(&script.text, label, &script.variables, out)?;
        let seconds = timed::seconds(script.timeout);
        let _ = writeln!(out, "__q {number} \"$__p{index}\" {seconds}");
        processes += 1;
    }
    timed.end(out);
    Ok(processes)
}

/// Reads what a script printed.
pub(super) fn read(script: &ProbeScript, section: &Section) -> Result<Facts, Fault> {
    let said = script.mask.hide(section.err.trim());
    let with = |text: String| {
        if said.is_empty() {
            text
        } else {
            format!("{text}: {said}")
        }
    };
    let fault = |message: String, not_yet| Err(Fault { message, not_yet });
    match section.status {
        Some(0) => {}
        None => {
            return fault(
                with("the answer ends inside that of the probe script".to_owned()),
                false,
            );
        }
        Some(TOOK_TOO_LONG) => {
            let seconds = script.timeout.as_secs_f64();
            return fault(
                with(format!("the probe script took longer than {seconds} s")),
                true,
            );
        }
        Some(status) => {
            return fault(
                with(format!("the probe script ended with status {status}")),
                true,
            );
        }
    }
    let mut facts = Facts::new();
    for line in String::from_utf8_lossy(&section.out).lines() {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) if is_fact(name) => (name, value),
            _ => {
                let line = if script.secret {
                    "[redacted]".to_owned()
                } else {
                    script.mask.hide(line)
                };
                let line: String = line.chars().take(200).collect();
                return fault(
                    format!("the probe script printed {line:?}, which is no name=value"),
                    false,
                );
            }
        };
        let fact = if script.secret {
            Fact::Secret(value.to_owned().into())
        } else {
            value.into()
        };
        facts.insert(name.to_owned(), fact);
    }
    Ok(facts)
}

fn is_fact(name: &str) -> bool {
    let fine = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'.'
    };
    !name.is_empty() && name.bytes().all(fine)
}
