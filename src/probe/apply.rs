//! One step in one round trip: run its script, leave its stamp, look again. Does not know whether what is found then is
//! as wanted.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::batch::{Ask, Batch};
use super::fact::{Facts, Fault, HostFacts, Stamp};
use super::frame::{self, Frames, Nonce, Section};
use super::mask::Mask;
use super::reader::{Program, Reply};
use super::shell::{ShellError, assign_used_into, quote, quote_into};
use super::stamp::stamps_folder;
use crate::catalog::{Effect, Value, Values, evaluate_over};

/// What is done to a host for one step.
pub struct Job<'a> {
    /// What changes it: the task's `apply` or `remove`. Must have a script.
    pub effect: &'a Effect,
    /// The step's inputs.
    pub values: &'a Values,
    /// What the step's probe asks afterwards.
    pub ask: Ask,
    /// Name of the stack, whose folder on the host holds the stamps.
    pub stack: &'a str,
    /// The stamp to leave; `None` takes away the one that is there.
    pub stamp: Option<&'a Stamp>,
    /// The step is decided by its stamp: while the script runs there is none.
    pub by_stamp: bool,
}

/// A job as a program.
pub struct Application {
    nonce: Nonce,
    program: Program,
    verify: Batch,
    mask: Mask,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With status 0.
    Well,
    /// With this status.
    Status(i32),
    /// Killed with all its descendants after its time-out.
    TookTooLong,
    /// The answer ends before the script did: the host went down, or the shell was killed.
    Cut,
}

/// What came of a job.
#[derive(Debug)]
pub struct Applied {
    /// How the script ended.
    pub ended: Ended,
    /// The last 4 KiB of what it printed, errors included, in order, secrets masked.
    pub output: String,
    /// What it had to say, line by line.
    pub says: Vec<String>,
    /// Whether its stamp was left; `None` if it did not come to that. The error is the host's own words.
    pub stamped: Option<Result<(), String>>,
    /// What the probe found afterwards; `None` if the script did not end well.
    pub found: Option<Found>,
}

/// What the probe of one step found on one host.
#[derive(Debug)]
pub struct Found {
    /// Its facts.
    pub facts: Result<Arc<Facts>, Fault>,
    /// Its stamp.
    pub stamp: Option<Arc<Stamp>>,
    /// What the host says of itself.
    pub host: Result<HostFacts, Fault>,
}

/// Seconds between asking a script to end and killing it.
const GRACE: u64 = 5;

/// How much of a script's output is kept, in bytes.
const TAIL: usize = 4096;

/// What marks a line of progress.
const SAY: &str = "::say ";

impl Application {
    /// Puts a job into words.
    ///
    /// # Errors
    /// When there is no script, or an input can't be handed to one.
    pub fn new(job: Job<'_>, nonce: Nonce) -> Result<Self, Fault> {
        let fault = |message: String| Fault {
            message,
            not_yet: false,
        };
        let Some(script) = &job.effect.script else {
            return Err(fault("the task has no script for this".to_owned()));
        };
        let stdin = job
            .effect
            .stdin
            .as_ref()
            .map(|template| match evaluate_over(template, job.values, None) {
                Ok((Value::Null, _)) => Ok(Zeroizing::new(String::new())),
                Ok((Value::Text(text), _)) => Ok(Zeroizing::new(text)),
                Ok((Value::Secret(text), _)) => Ok(Zeroizing::new(text.expose().clone())),
                Ok((Value::Int(number), _)) => Ok(Zeroizing::new(number.to_string())),
                Ok(_) => Err(fault("the script's standard input is no text".to_owned())),
                Err(error) => Err(fault(format!("the script's standard input: {error}"))),
            })
            .transpose()?;
        let mask = Mask::of(job.values);
        let timeout = job.effect.timeout;
        let mut text = Zeroizing::new(String::new());
        frame::prelude(&mut text, &nonce);
        let rendered = render(
            &mut text,
            script,
            stdin.as_ref().map(|text| text.as_str()),
            &job,
            &nonce,
        );
        rendered.map_err(|error| fault(error.to_string()))?;
        let folder = stamps_folder(job.stack);
        let verify = Batch::new([Arc::new(job.ask)], Some(&folder), nonce.clone());
        text.push_str(verify.program().text.expose());
        let deadline = timeout + Duration::from_secs(GRACE) + verify.program().deadline;
        let program = Program {
            text: std::mem::take(&mut *text).into(),
            deadline,
        };
        Ok(Self {
            nonce,
            program,
            verify,
            mask,
        })
    }

    /// Returns the program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Reads the answer.
    #[must_use]
    pub fn read(&self, reply: &Reply) -> Applied {
        let frames = Frames::read(&self.nonce, reply);
        let script = frames.section("apply").cloned().unwrap_or_default();
        let ended = ended(&script);
        let said = String::from_utf8_lossy(&script.out);
        let said = self.mask.hide(&said);
        let (says, output): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| line.starts_with(SAY));
        let mut output = output.join("\n");
        if matches!(ended, Ended::Cut) && !frames.stray.is_empty() {
            let _ = write!(output, "\n{}", self.mask.hide(&frames.stray));
        }
        let stamped = frames
            .section("stamp")
            .ok()
            .map(|section| match section.status {
                Some(0) => Ok(()),
                _ => Err(section.err.trim().to_owned()),
            });
        let found = (ended == Ended::Well).then(|| {
            let mut answer = self.verify.read(reply);
            let cut = || {
                Err(Fault {
                    message: "the probe did not answer".to_owned(),
                    not_yet: false,
                })
            };
            Found {
                facts: answer.facts.pop().unwrap_or_else(cut),
                stamp: answer.stamps.pop().flatten(),
                host: answer.host,
            }
        });
        Applied {
            ended,
            output: tail(&output).to_owned(),
            says: says
                .iter()
                .map(|line| line[SAY.len()..].to_owned())
                .collect(),
            stamped,
            found,
        }
    }
}

fn ended(script: &Section) -> Ended {
    match script.status {
        // `timeout` says on its own standard error what it does; the script's goes elsewhere.
        Some(_) if script.err.contains("timeout: sending signal") => Ended::TookTooLong,
        Some(0) => Ended::Well,
        Some(status) => Ended::Status(status),
        None => Ended::Cut,
    }
}

/// Returns the last lines that fit.
fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    match text[start..].find('\n') {
        Some(line) if start > 0 => &text[start + line + 1..],
        _ => &text[start..],
    }
}

/// The script runs in a shell of its own under `timeout`, which gives it a process group of its own. Its text and
/// variables come on file descriptor 9 and what it reads on 0, so that nothing of either stands in a command line or an
/// environment. Whatever of the group is left when it ends is killed; services that systemd started are not of it.
fn render(
    out: &mut String,
    script: &str,
    stdin: Option<&str>,
    job: &Job<'_>,
    nonce: &Nonce,
) -> Result<(), ShellError> {
    let (folder, name) = job
        .ask
        .stamp
        .split_once('/')
        .unwrap_or(("", &job.ask.stamp));
    let folder = quote(&format!("{}/{folder}", stamps_folder(job.stack)))?;
    let name = quote(name)?;
    out.push_str("__o apply\n");
    if job.by_stamp && job.stamp.is_some() {
        // Whatever comes of this, what was there before is no more.
        let _ = writeln!(out, "[ ! -e {folder}/{name} ] || : >{folder}/{name}");
    }
    match stdin {
        Some(text) => {
            out.push_str("printf %s ");
            quote_into(out, text)?;
            out.push_str(" 2>/dev/null | ");
        }
        None => out.push_str("</dev/null "),
    }
    let seconds = job.effect.timeout.as_secs_f64();
    let end = format!("__{}__", nonce.word());
    let _ = write!(
        out,
        "timeout -v -k {GRACE} {seconds} sh -c '__s=$(cat <&9); exec 9<&- 2>&1; eval \"$__s\"' 9<<'{end}' &\n\
         label="
    );
    quote_into(out, &job.ask.label)?;
    out.push('\n');
    assign_used_into(out, script, job.values)?;
    let _ = write!(
        out,
        "__f() {{\n{script}\n}}\nset -eu\n__f\n{end}\n\
         __p=$!\n\
         wait \"$__p\"; __s=$?\n\
         kill -s KILL -- \"-$__p\" 2>/dev/null\n\
         __a=$__s\n\
         __c apply\n\
         [ \"$__a\" -eq 0 ] || {{ __e 0; exit 0; }}\n\
         __o stamp\n"
    );
    match job.stamp {
        Some(stamp) => {
            let text = quote(&stamp.encode())?;
            let new = format!("{folder}/.{}", nonce.word());
            let _ = writeln!(
                out,
                "( umask 077; [ -d {folder} ] || mkdir -p -- {folder}; printf %s {text} >{new} && \
                 mv -f -- {new} {folder}/{name} ) || __s=$?"
            );
        }
        None => {
            let _ = writeln!(out, "rm -f -- {folder}/{name} || __s=$?");
        }
    }
    out.push_str("__c stamp\n");
    Ok(())
}
