//! What can go wrong with a lab, and what to do about it. Knows no terminal and no exit code.

use std::io;
use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

/// Why a lab could not be made, listed or removed.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum LabError {
    /// Neither driver can work on this machine.
    #[error("no lab driver works on this machine\n  docker: {docker}\n  namespaces: {namespaces}")]
    #[diagnostic(help(
        "start Docker (or set DOCKER_HOST), or run this as root on Linux: sudo foundry lab up"
    ))]
    NoDriver {
        /// Why Docker cannot be used.
        docker: String,
        /// Why plain namespaces cannot be used.
        namespaces: String,
    },

    /// The machine lacks something by name.
    #[error("this machine lacks {what}, which {why} needs")]
    #[diagnostic(help("{help}"))]
    Missing {
        /// The program, right or kernel feature.
        what: String,
        /// What needs it.
        why: String,
        /// What to do.
        help: String,
    },

    /// What was asked for makes no sense.
    #[error("{what}")]
    #[diagnostic(help("{help}"))]
    Asked {
        /// What is wrong with it.
        what: String,
        /// What to do.
        help: String,
    },

    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The operation, as an infinitive.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },

    /// A program of this machine failed.
    #[error("`{command}` failed ({status}){}", said(stderr))]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote to its standard error.
        stderr: String,
    },

    /// A host did not come up.
    #[error("host `{host}` did not come up: {step}: {why}")]
    #[diagnostic(help("{help}"))]
    Host {
        /// The host.
        host: String,
        /// The step that failed.
        step: String,
        /// The words of who refused.
        why: String,
        /// What to do.
        help: String,
    },

    /// The lab's config file is the user's own by now.
    #[error("{} is not the lab's own any more: {why}", path.display())]
    #[diagnostic(help("move it away, or give the lab another name (--name); nothing was changed"))]
    Config {
        /// The config file.
        path: PathBuf,
        /// What tells so.
        why: String,
    },

    /// Docker refused something.
    #[error("Docker refused to {doing}")]
    Docker {
        /// What was asked, as an infinitive.
        doing: String,
        /// Docker's own words.
        source: Box<bollard::errors::Error>,
    },

    /// The operating system refused something that is no file.
    #[error("cannot {doing}: {why}")]
    System {
        /// What was asked, as an infinitive.
        doing: String,
        /// The system's own words.
        why: String,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!(":\n{stderr}")
    }
}

/// Returns what turns an I/O error at `path` into a lab error.
pub(super) fn file(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> LabError {
    let path = path.into();
    move |source| LabError::File {
        doing,
        path,
        source,
    }
}

/// Returns what turns any system error into a lab error.
pub(super) fn system<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> LabError {
    let doing = doing.into();
    move |source| LabError::System {
        doing,
        why: source.to_string(),
    }
}
