//! All that is wanted of one host, merged, and all that was found. Knows which collector answers which question,
//! not how.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexSet;

use super::paths::PathAnswers;
use super::stat::Stat;
use super::{account, content, digest, host, kernel, line, package, port, stat, unit};
use crate::catalog::{Collector, Value};
use crate::probe::fact::{Fact, Facts, Fault, HostFacts, Question, Stamp};
use crate::probe::frame::Frames;
use crate::probe::shell::{ShellError, quote};
use crate::probe::stamp;

/// What the steps of one host want to know, without doubles, in the order first asked.
#[derive(Clone, Default)]
pub struct Wants {
    pub(super) stat: IndexSet<String>,
    pub(super) follow: IndexSet<String>,
    pub(super) digest: IndexSet<String>,
    pub(super) content: IndexSet<String>,
    pub(super) packages: IndexSet<String>,
    pub(super) units: IndexSet<String>,
    pub(super) users: IndexSet<String>,
    pub(super) groups: bool,
    /// Path and line. May hold secrets.
    pub(super) lines: Arc<IndexSet<(String, String)>>,
    pub(super) sysctls: IndexSet<String>,
    pub(super) modules: IndexSet<String>,
    pub(super) ports: bool,
    /// Stamps that are read.
    pub(super) stamps: Option<stamp::Wanted>,
}

impl Wants {
    /// Notes a question.
    ///
    /// # Errors
    /// When its subject makes no sense or may not stand where it would have to.
    pub fn add(&mut self, question: &Question) -> Result<(), Fault> {
        let subject = &question.subject;
        // Lines go to their tool on standard input; everything else stands in a command line, where any user of the
        // host can read it.
        if subject.is_secret() && question.collector != Collector::Line {
            return Err(refused(
                question,
                "is secret, and would stand in a command line",
            ));
        }
        let wanted = match question.collector {
            Collector::Stat => stat::want(self, subject),
            Collector::Digest => digest::want(self, subject),
            Collector::Content => content::want(self, subject),
            Collector::Package => package::want(self, subject),
            Collector::Unit => unit::want(self, subject),
            Collector::Fresh => unit::want_fresh(self, subject),
            Collector::User => account::want_user(self, subject),
            Collector::Group => account::want_group(self, subject),
            Collector::Line => line::want(self, subject),
            Collector::Sysctl => kernel::want_sysctl(self, subject),
            Collector::Module => kernel::want_module(self, subject),
            Collector::Port => port::want(self, subject),
        };
        wanted.map_err(|why| refused(question, &why))
    }

    /// Notes which stamps are to be read.
    pub fn add_stamps(&mut self, wanted: stamp::Wanted) {
        self.stamps = Some(wanted);
    }

    /// Returns the stack's folder on the host, as a word of the shell, if its stamps are read.
    pub(super) fn stack_folder(&self) -> Option<String> {
        let stamps = &self.stamps.as_ref()?.folder;
        let folder = stamps
            .rsplit_once('/')
            .map_or(stamps.as_str(), |(folder, _)| folder);
        quote(folder).ok()
    }

    /// Notes that the host is asked what it is, after all else.
    pub fn add_host(&mut self) {
        if !self.stat.is_empty() {
            self.stat.insert(host::NOW.to_owned());
        }
    }

    /// Appends the program that asks for all of it, and returns how many processes that starts.
    ///
    /// # Errors
    /// When a subject can't be written in a shell (questions that `add` took never are).
    pub fn render(&self, out: &mut String) -> Result<u32, ShellError> {
        let mut processes = 0;
        processes += stat::render(self, out)?;
        processes += digest::render(self, out)?;
        processes += content::render(self, out)?;
        processes += package::render(self, out)?;
        processes += unit::render(self, out)?;
        processes += account::render(self, out)?;
        processes += line::render(self, out)?;
        processes += kernel::render(self, out)?;
        processes += port::render(self, out);
        processes += stamp::render(self.stamps.as_ref(), out)?;
        Ok(processes)
    }

    /// Reads the answers. Each is a fault of its own if its tool failed.
    #[must_use]
    pub fn read(&self, frames: &Frames, known: &stamp::Known) -> Found {
        let stat = stat::read(&self.stat, frames, "stat");
        Found {
            host: host::read(frames, &stat),
            stat,
            follow: stat::read(&self.follow, frames, "follow"),
            digest: digest::read(&self.digest, frames),
            content: content::read(&self.content, frames),
            packages: package::read(frames),
            units: unit::read(&self.units, frames),
            users: account::read_users(frames),
            groups: account::read_groups(frames),
            lines: line::read(self.lines.len(), frames),
            line_numbers: Arc::clone(&self.lines),
            sysctls: kernel::read_sysctls(&self.sysctls, frames),
            modules: kernel::read_modules(frames),
            ports: port::read(frames),
            stamps: stamp::read(self.stamps.as_ref(), frames, known),
        }
    }
}

/// What one host answered, by collector and subject.
pub struct Found {
    pub(super) stat: PathAnswers<Stat>,
    pub(super) follow: PathAnswers<Stat>,
    pub(super) digest: PathAnswers<String>,
    pub(super) content: PathAnswers<String>,
    pub(super) packages: Result<package::Installed, Fault>,
    pub(super) units: Result<unit::Units, Fault>,
    pub(super) users: Result<HashMap<String, account::User>, Fault>,
    pub(super) groups: Result<HashMap<String, account::Group>, Fault>,
    pub(super) lines: Result<Vec<Result<bool, Fault>>, Fault>,
    pub(super) line_numbers: Arc<IndexSet<(String, String)>>,
    pub(super) sysctls: PathAnswers<String>,
    pub(super) modules: Result<HashMap<String, bool>, Fault>,
    pub(super) ports: Result<Vec<port::Listener>, Fault>,
    /// Stamps by their path below the folder.
    pub stamps: Result<HashMap<String, Arc<Stamp>>, Fault>,
    /// What the host says of itself.
    pub host: Result<HostFacts, Fault>,
}

impl Found {
    /// Returns the facts that answer `question`, under its prefix, secret if it is.
    ///
    /// # Errors
    /// When its tool failed or said nothing that can be read.
    pub fn facts(&self, question: &Question) -> Result<Facts, Fault> {
        let subject = &question.subject;
        let plain = match question.collector {
            Collector::Stat => stat::facts(self, subject),
            Collector::Digest => digest::facts(self, subject),
            Collector::Content => content::facts(self, subject),
            Collector::Package => package::facts(self, subject),
            Collector::Unit => unit::facts(self, subject),
            Collector::Fresh => unit::fresh_facts(self, subject),
            Collector::User => account::user_facts(self, subject),
            Collector::Group => account::group_facts(self, subject),
            Collector::Line => line::facts(self, subject),
            Collector::Sysctl => kernel::sysctl_facts(self, subject),
            Collector::Module => kernel::module_facts(self, subject),
            Collector::Port => port::facts(self, subject),
        }?;
        Ok(plain
            .into_iter()
            .map(|(name, text)| {
                let name = if question.prefix.is_empty() {
                    name.to_owned()
                } else {
                    format!("{}.{name}", question.prefix)
                };
                let fact = if question.secret {
                    Fact::Secret(text.into())
                } else {
                    Fact::Text(text)
                };
                (name, fact)
            })
            .collect())
    }
}

/// Facts of one question before they get their prefix.
pub(super) type Plain = Vec<(&'static str, String)>;

/// The word for what is not there.
pub(super) const ABSENT: &str = "absent";

pub(super) fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

pub(super) fn fault(message: impl Into<String>) -> Fault {
    Fault {
        message: message.into(),
        not_yet: false,
    }
}

/// Returns the one text that `subject` is.
pub(super) fn text(subject: &Value) -> Result<String, String> {
    match subject {
        Value::Text(text) if !text.is_empty() => Ok(text.clone()),
        Value::Secret(text) if !text.expose().is_empty() => Ok(text.expose().clone()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Text(_) | Value::Secret(_) => Err("is empty".to_owned()),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            Err("is not a text".to_owned())
        }
    }
}

/// Returns the text of a field of the map that `subject` is.
pub(super) fn field<'a>(subject: &'a Value, name: &str) -> Result<&'a Value, String> {
    match subject {
        Value::Map(entries) => entries.get(name).ok_or_else(|| format!("has no `{name}`")),
        _ => Err(format!("is not a map with `{name}`")),
    }
}

/// As [`text`], for subjects that `add` has let through.
pub(super) fn asked(subject: &Value) -> Result<String, Fault> {
    text(subject).map_err(fault)
}

fn refused(question: &Question, why: &str) -> Fault {
    let collector = format!("{:?}", question.collector).to_lowercase();
    let shown = match &question.subject {
        Value::Text(text) => format!(" {text:?}"),
        _ => String::new(),
    };
    fault(format!("the subject{shown} of `{collector}` {why}"))
}
