//! Steps of one host in one round trip: run the script of each and leave its stamp, one after the other, then look at all
//! of them again. Does not know whether what is found then is as wanted, nor whether one of them needs another.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::batch::{Ask, Batch};
use super::fact::{Facts, Fault, Stamp};
use super::fence::{self, Door, Refused};
use super::frame::{self, Frames, Nonce, Section};
use super::journal::{Entry, Head, Journal, in_words};
use super::mask::Mask;
use super::reader::{Program, Reply};
use super::shell::{ShellError, assign_used_into, quote, quote_into};
use super::stamp::stamps_folder;
use super::timed::{self, TOOK_TOO_LONG, Timed};
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

/// Jobs as one program.
pub struct Application {
    nonce: Nonce,
    program: Program,
    verify: Batch,
    /// The folder of the stack's stamps.
    folder: String,
    /// What hides the secrets of each job, in order.
    masks: Vec<Mask>,
    /// What each job leaves.
    stamps: Vec<Option<Arc<Stamp>>>,
}

/// An [`Application`] in the making.
pub struct Applications {
    nonce: Nonce,
    text: Zeroizing<String>,
    timed: Timed,
    deadline: Duration,
    folder: String,
    /// The file that notes the program on the host, as a word of the shell, if it goes through a door.
    work: Option<String>,
    journal: Option<Journal>,
    /// Where in the text the shell of the scripts is to be started.
    shell: usize,
    /// What that shell is called, as words: the run and the first step.
    title: Option<String>,
    masks: Vec<Mask>,
    stamps: Vec<Option<Arc<Stamp>>>,
    asks: Vec<Arc<Ask>>,
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
    /// Whether the script was begun, as far as the answer goes.
    pub begun: bool,
    /// Why it was not begun: the host's journal could not be written. The host's own words.
    pub unwritable: Option<String>,
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
    /// Whether the answer came to its end.
    pub whole: Result<(), Fault>,
}

/// Time between asking a script to end and killing it.
const GRACE: Duration = Duration::from_secs(5);

/// Time for noticing that a script's time is over and for killing it.
const NOTICING: Duration = Duration::from_secs(5);

/// Time for recalling a program.
const RECALL: Duration = Duration::from_secs(20);

/// How much of a script's output is kept, in bytes.
const TAIL: usize = 4096;

/// What marks a line of progress.
const SAY: &str = "::say ";

impl Applications {
    /// Begins a program for a host of `stack`, which has its stamps in a folder of its own there.
    ///
    /// The scripts run one after the other under a shell in a session of its own, and so in a process group of its own:
    /// whatever of the group is left when that shell ends is killed. Services that systemd started are not of it. Its text
    /// comes on standard input, so that nothing of it stands in a command line or an environment.
    ///
    /// With a `door`, the first script runs only where the host's fence lets the program in, and each further one only while
    /// it would still do so.
    #[must_use]
    pub fn new(stack: &str, nonce: Nonce, door: Option<&Door>) -> Self {
        let mut text = Zeroizing::new(String::new());
        frame::prelude(&mut text, &nonce);
        let shell = text.len();
        let _ = writeln!(text, " <<'__{}__' &", nonce.word());
        frame::prelude(&mut text, &nonce);
        text.push_str("__well=0\n");
        text.push_str(&FUNCTIONS.replace("NONCE", nonce.word()));
        if let Some(door) = door {
            door.functions(&mut text, true);
            text.push_str(&FENCED.replace("NONCE", nonce.word()));
        }
        Self {
            nonce,
            text,
            timed: Timed::default(),
            deadline: door.map_or(Duration::ZERO, |_| fence::WAITING),
            work: door.map(Door::work),
            folder: stamps_folder(stack),
            journal: None,
            shell,
            title: None,
            masks: Vec::new(),
            stamps: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// Has its jobs entered into `journal`: none begins that can't be.
    ///
    /// # Errors
    /// When the name of the stack can't stand in a shell.
    pub fn entered(mut self, journal: Journal) -> Result<Self, ShellError> {
        journal.prelude(&mut self.text)?;
        self.text
            .push_str(&ENTERED.replace("NONCE", self.nonce.word()));
        self.journal = Some(journal);
        Ok(self)
    }

    /// Adds a job after those that are there. One that is refused leaves nothing behind.
    ///
    /// # Errors
    /// When there is no script, or an input can't be handed to one.
    pub fn add(&mut self, job: Job<'_>) -> Result<(), Fault> {
        self.put(job, None)
    }

    /// As [`Self::add`], with what is entered of it into the host's journal.
    ///
    /// # Errors
    /// As there.
    pub fn enter(&mut self, job: Job<'_>, entry: &Entry) -> Result<(), Fault> {
        self.put(job, Some(entry))
    }

    fn put(&mut self, job: Job<'_>, entry: Option<&Entry>) -> Result<(), Fault> {
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
        let part = Part {
            number: self.asks.len(),
            script,
            stdin: stdin.as_ref().map(|text| text.as_str()),
            folder: &self.folder,
            fenced: self.work.is_some(),
            entry: self.journal.as_ref().zip(entry),
            nonce: &self.nonce,
        };
        part.render(&mut self.timed, &mut self.text, &job)
            .map_err(|error| fault(error.to_string()))?;
        if let (Some(journal), Some(entry), None) = (&self.journal, entry, &self.title) {
            let (run, step) = (quote(&journal.author.run), quote(&entry.step));
            self.title = run
                .ok()
                .zip(step.ok())
                .map(|(run, step)| format!("{run} {step}"));
        }
        self.deadline += job.effect.timeout + GRACE + NOTICING;
        self.masks.push(Mask::of(job.values));
        self.stamps.push(job.stamp.cloned().map(Arc::new));
        self.asks.push(Arc::new(job.ask));
        Ok(())
    }

    /// Ends the program: one look at what all its jobs are about. Stamps are not read: those who leave them say so.
    #[must_use]
    pub fn finish(mut self) -> Application {
        let verify = Batch::again(self.asks, self.nonce.clone());
        let ended = match &self.work {
            Some(work) => format!("[ ! -e {work} ] || : >{work}\n"),
            None => String::new(),
        };
        let mut shell = "setsid sh -s foundry".to_owned();
        if let Some(title) = &self.title {
            let _ = write!(shell, " {title}");
        }
        if self.masks.len() > 1 {
            let _ = write!(shell, " +{}", self.masks.len() - 1);
        }
        self.text.insert_str(self.shell, &shell);
        let mut seal = String::new();
        if let Some(journal) = &self.journal
            // It was quoted before.
            && journal.prelude(&mut seal).is_ok()
        {
            let _ = writeln!(
                seal,
                "__mark=; [ \"$__w\" -lt 2 ] || {{ __j_seal 2>/dev/null && __mark=\"\n{} j $__jn $__jp $__jh\n\"; }}\n\
                 __held=$__mark\n\
                 __w=$((__w != 0 && __w != 2))",
                self.nonce.word()
            );
        }
        // Where nothing was done there is nothing to look at.
        let _ = write!(
            self.text,
            "exit $((__well + ${{__jany:-0}}))\n\
             __{}__\n\
             __p=$!\n\
             wait \"$__p\"; __w=$?\n\
             kill -s KILL -- \"-$__p\" 2>/dev/null\n\
             {seal}\
             {ended}\
             [ \"$__w\" -ne 0 ] || {{ __e 0; exit 0; }}\n",
            self.nonce.word()
        );
        self.text.push_str(verify.program().text.expose());
        let program = Program {
            deadline: self.deadline + verify.program().deadline,
            text: std::mem::take(&mut *self.text).into(),
        };
        Application {
            nonce: self.nonce,
            program,
            verify,
            folder: self.folder,
            masks: self.masks,
            stamps: self.stamps,
        }
    }
}

impl Application {
    /// Puts one job into words.
    ///
    /// # Errors
    /// When there is no script, or an input can't be handed to one.
    pub fn new(job: Job<'_>, nonce: Nonce, door: Option<&Door>) -> Result<Self, Fault> {
        let mut all = Applications::new(job.stack, nonce, door);
        all.add(job)?;
        Ok(all.finish())
    }

    /// Returns the program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Reads the answer of the only job.
    #[must_use]
    pub fn read(&self, reply: &Reply) -> Applied {
        let mut all = self.read_all(reply);
        all.swap_remove(0)
    }

    /// Reads the answer, which may end anywhere: what came of each job, in order.
    #[must_use]
    pub fn read_all(&self, reply: &Reply) -> Vec<Applied> {
        let frames = Frames::read(&self.nonce, reply);
        let answer = self.verify.read(reply);
        let whole = answer.host.map(drop);
        self.masks
            .iter()
            .zip(&self.stamps)
            .zip(answer.facts)
            .enumerate()
            .map(|(number, ((mask, stamp), facts))| {
                let mut applied = applied(&frames, number, mask);
                applied.found = (applied.ended == Ended::Well).then(|| Found {
                    facts,
                    stamp: match &applied.stamped {
                        Some(Ok(())) => stamp.clone(),
                        Some(Err(_)) | None => None,
                    },
                    whole: whole.clone(),
                });
                applied
            })
            .collect()
    }

    /// Reads whether the host's fence kept the program out, from its beginning or from some script on.
    #[must_use]
    pub fn refusal(&self, reply: &Reply) -> Option<Refused> {
        let frames = Frames::read(&self.nonce, reply);
        let section = frames.section("fence").ok()?;
        let why = String::from_utf8_lossy(&section.out);
        Some(Refused::read(why.trim_end()))
    }

    /// Returns whether the program came to its end, so that nothing of it is at work any more.
    #[must_use]
    pub fn is_over(&self, reply: &Reply) -> bool {
        Frames::read(&self.nonce, reply).ended().is_ok()
    }

    /// Reads how far the host's journal has come.
    #[must_use]
    pub fn head(&self, reply: &Reply) -> Option<Head> {
        Frames::read(&self.nonce, reply).head
    }

    /// Returns a program for the same host that has this one leave off the jobs which it has not begun.
    ///
    /// # Errors
    /// When the name of the stack can't stand in a shell, as the program itself could not then.
    pub fn recall(&self) -> Result<Program, ShellError> {
        let (folder, mark) = (quote(&self.folder)?, recalled(&self.folder, &self.nonce)?);
        Ok(Program {
            text: format!("umask 077\nmkdir -p -- {folder} && : >{mark}\n").into(),
            deadline: RECALL,
        })
    }

    /// Returns the program that takes away what [`Self::recall`] leaves behind.
    ///
    /// # Errors
    /// As there.
    pub fn tidy(&self) -> Result<Program, ShellError> {
        let mark = recalled(&self.folder, &self.nonce)?;
        Ok(Program {
            text: format!("rm -f -- {mark}\n").into(),
            deadline: RECALL,
        })
    }

    /// Returns what tells, while the answer is coming, which job is at work.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            marks: frame::Heard::new(&self.nonce),
        }
    }
}

/// Follows an answer as it comes.
pub struct Progress {
    marks: frame::Heard,
}

impl Progress {
    /// Returns the numbers of the jobs whose scripts have begun since the last call; `stdout` is all that has come by now.
    pub fn begun(&mut self, stdout: &[u8]) -> Vec<usize> {
        let opened = |words: &str| words.strip_prefix("o apply")?.parse().ok();
        self.marks
            .more(stdout)
            .iter()
            .filter_map(|words| opened(words))
            .collect()
    }
}

/// Returns the file, as a word of the shell, whose being there keeps a program from beginning further jobs.
fn recalled(folder: &str, nonce: &Nonce) -> Result<String, ShellError> {
    quote(&format!("{folder}/.recall-{}", nonce.word()))
}

/// Reads what the script of one job did.
fn applied(frames: &Frames, number: usize, mask: &Mask) -> Applied {
    let script = frames
        .section(&format!("apply{number}"))
        .cloned()
        .unwrap_or_default();
    let ended = ended(&script);
    let said = String::from_utf8_lossy(&script.out);
    let said = mask.hide(&said);
    let (says, output): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.starts_with(SAY));
    let mut output = output.join("\n");
    if matches!(ended, Ended::Cut) && !frames.stray.is_empty() {
        let _ = write!(output, "\n{}", mask.hide(&frames.stray));
    }
    let stamped = frames
        .section(&format!("stamp{number}"))
        .ok()
        .map(|section| match section.status {
            Some(0) => Ok(()),
            _ => Err(String::from_utf8_lossy(&section.out).trim().to_owned()),
        });
    let unwritable = frames
        .section(&format!("journal{number}"))
        .ok()
        .filter(|section| section.status != Some(0))
        .map(|section| in_words(&String::from_utf8_lossy(&section.out)));
    Applied {
        unwritable,
        begun: frames.section(&format!("apply{number}")).is_ok(),
        ended,
        output: tail(&output).to_owned(),
        says: says
            .iter()
            .map(|line| line[SAY.len()..].to_owned())
            .collect(),
        stamped,
        found: None,
    }
}

fn ended(script: &Section) -> Ended {
    match script.status {
        Some(TOOK_TOO_LONG) => Ended::TookTooLong,
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

/// `__a NUMBER` says that a script begins. `__k NUMBER FOLDER NAME [STAMP]` says how it ended, by `$__s`, and then leaves its
/// stamp, or takes the one away that is there. Every line written is a packet of SSH: what belongs together is one, and what
/// scripts say on standard error stands on standard output with the rest.
///
/// A stamp is written in place: half of one is none, and until the script had ended there was no true one either.
///
/// `__l` enters into the journal how the script ended: [`ENTERED`].
const FUNCTIONS: &str = r#"__l() { :; }
__a() { printf '\nNONCE o apply%s\n' "$1"; }
__k() {
__l
[ "$__s" -eq 0 ] || { printf '\nNONCE c apply%s %s\n' "$1" "$__s"; return 0; }
__well=1
if __v "$@" 2>/dev/null; then
printf '\nNONCE c apply%s 0\n\nNONCE o stamp%s\n\nNONCE c stamp%s 0\n' "$1" "$1" "$1"
else
printf '\nNONCE c apply%s 0\n\nNONCE o stamp%s\n' "$1" "$1"
__v "$@" 2>&1
printf '\nNONCE c stamp%s %s\n' "$1" "$?"
fi
}
__v() {
if [ $# -eq 3 ]; then rm -f -- "$2/$3"; return; fi
umask 077
{ [ -d "$2" ] || mkdir -p -- "$2"; } && printf %s "$4" >"$2/$3"
set -- "$?"
umask 022
return "$1"
}
"#;

/// Goes through the door. `__q` says that it is shut, and ends.
const FENCED: &str = r#"__q() {
[ -n "$__fence_why" ] || __fence_why=" $__fence_n $__fence_t $__fence_r $__fence_w"
printf '\nNONCE o fence\n%s\n\nNONCE c fence 0\n' "$__fence_why"
exit "$__well"
}
__fence_enter || __q
"#;

/// What was entered is sealed after all scripts, by the shell that waits for them: the status of theirs is 1 if one ended
/// well, and 2 more if one was entered.
///
/// `__j NUMBER FIELDS CHECK CHECK` enters that a script begins. If that can't be written it says why, and the script is left
/// off. What can't be written of its end is missing there: that is known of each entry.
const ENTERED: &str = r#"__j() {
__jfields=$2 __jend=$4
__jany=2
__j_line began "$2" "$3" 2>/dev/null && return
printf '\nNONCE o journal%s\n' "$1"
__j_begin "$2" "$3" 2>&1
set -- "$1" "$?"
printf '\nNONCE c journal%s %s\n' "$@"
return "$2"
}
__l() { __j_line ended "$__jfields" "$__jend" "$__s" 2>/dev/null; }
"#;

/// A script with a standard input of this many bytes at most gets it from a here-document, which `dash` writes without a
/// process of its own.
const SMALL: usize = 4096;

/// One job on its way into the program.
struct Part<'a> {
    number: usize,
    script: &'a str,
    stdin: Option<&'a str>,
    /// Where the stack's stamps are.
    folder: &'a str,
    /// The host's fence is looked at before it.
    fenced: bool,
    entry: Option<(&'a Journal, &'a Entry)>,
    nonce: &'a Nonce,
}

impl Part<'_> {
    fn render(&self, timed: &mut Timed, out: &mut String, job: &Job<'_>) -> Result<(), ShellError> {
        let number = self.number;
        let (folder, name) = job
            .ask
            .stamp
            .split_once('/')
            .unwrap_or(("", &job.ask.stamp));
        let folder = quote(&format!("{}/{folder}", self.folder))?;
        let name = quote(name)?;
        let recalled = recalled(self.folder, self.nonce)?;
        let mut variables = Zeroizing::new(String::new());
        assign_used_into(&mut variables, self.script, job.values)?;
        // A here-document always ends with a line break.
        let here = self.stdin.is_some_and(|text| {
            text.len() <= SMALL && text.ends_with('\n') && !text.contains('\0')
        });
        let mut stdin = Zeroizing::new(String::new());
        if let Some(text) = self.stdin.filter(|_| !here) {
            quote_into(&mut stdin, text)?;
        }
        let stamp = job.stamp.map(|stamp| quote(&stamp.encode())).transpose()?;
        let enter = match self.entry {
            None => ":".to_owned(),
            Some((journal, entry)) => {
                let (fields, begins, ends) = journal.arguments(entry)?;
                format!("__j {number} {fields} {begins} {ends}")
            }
        };
        // Nothing is refused after this.
        let script = timed.ready(self.script, &job.ask.label, &variables, out)?;
        let _ = writeln!(out, "if [ ! -e {recalled} ]; then");
        if self.fenced {
            out.push_str("__fence_read; __fence_ours || __q\n");
        }
        let _ = writeln!(out, "if {enter}; then\n__a {number}");
        if job.by_stamp && job.stamp.is_some() {
            // Whatever comes of this, what was there before is no more.
            let _ = writeln!(out, "[ ! -e {folder}/{name} ] || : >{folder}/{name}");
        }
        let call = format!("__r \"$__p{script}\" 2>&1");
        let _ = match self.stdin {
            None | Some("") => writeln!(out, "{call} </dev/null &"),
            Some(text) if here => {
                let end = format!("__{}_0__", self.nonce.word());
                writeln!(out, "{call} <<'{end}' &\n{text}{end}")
            }
            Some(_) => writeln!(out, "printf %s {} 2>/dev/null | {call} &", &*stdin),
        };
        let _ = writeln!(
            out,
            "__p=$!\n__t {} {}\n__k {number} {folder} {name} {}\nfi\nfi",
            timed::seconds(job.effect.timeout),
            GRACE.as_secs(),
            stamp.as_deref().unwrap_or_default()
        );
        Ok(())
    }
}
