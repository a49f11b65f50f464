//! `foundry lock`: who is at work on a stack, and the way out when a lock was left behind. Knows nothing of how it is kept.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::print::{Output, print, print_json, warn};
use super::prompt::{confirm, someone_there};
use super::session::Session;
use super::wire::Wired;
use crate::report::Paint;
use crate::run::Writers;
use crate::run::journal::{Deed, Entering};
use crate::run::lock::{Found, LEASE, LockError, Shown, Standing, show, steal};
use crate::terminal::{self, Page, line};

/// Shows or removes the lock that keeps two runs from working on one stack at once
#[derive(Debug, Args)]
#[command(
    after_help = "The lock is a file on the stack's first host, in the order of the config, that can be reached. A run \
    renews it every 20 seconds; 60 seconds after the last renewal, by that host's clock, it is nobody's and the next run takes \
    it over. So stealing is only for those who can't wait a minute.\n\n\
    Examples:\n  \
    foundry lock show\n  \
    foundry lock steal        asks first; with --yes it does not"
)]
pub struct LockArgs {
    #[command(subcommand)]
    command: LockCommand,
}

#[derive(Debug, Subcommand)]
enum LockCommand {
    /// Shows who holds the lock
    Show {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Removes the lock of a run that is no more
    Steal,
}

/// Runs `foundry lock …`.
pub async fn lock(args: &LockArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let wired = Wired::new(&session, global, None, None)?;
    let done = match &args.command {
        LockCommand::Show { output } => {
            let shown = show(&session.stack, &*wired.fleet).await?;
            warn_of_unreachable(&shown);
            match output {
                Output::Json => print_json(&shown),
                Output::Text => print(&tell(&session.stack.name, &shown)),
            }
        }
        LockCommand::Steal => take_away(&session, &wired, global).await,
    };
    wired.fleet.close();
    done
}

async fn take_away(session: &Session, wired: &Wired, global: &Global) -> CliResult {
    let name = &session.stack.name;
    let shown = show(&session.stack, &*wired.fleet).await?;
    warn_of_unreachable(&shown);
    let Some(found) = &shown.held else {
        return print(&tell(name, &shown));
    };
    if !global.yes {
        if !someone_there(global.yes) {
            return Err(
                CliError::usage(format!("stack {name} is locked by {}", found.words()))
                    .hint("`foundry lock steal --yes` removes the lock without asking"),
            );
        }
        let about = tell(name, &shown);
        let sure = tokio::task::spawn_blocking(move || {
            terminal::tell(&about);
            confirm("Remove the lock?")
        });
        if !matches!(sure.await, Ok(true)) {
            return Err(CliError::quiet(Ending::Interrupted));
        }
    }
    let journals = wired.journals(&session.stack);
    let fleet: Arc<dyn Writers> = wired.fleet.clone();
    let entering = Entering::new(fleet, journals, Deed::command("lock steal"));
    if steal(&session.stack, &entering, found).await? {
        print(&line(format_args!(
            "The lock of stack {name} is removed from {}",
            shown.host
        )))
    } else {
        print(&line(format_args!(
            "Nobody holds the lock of stack {name} any more"
        )))
    }
}

/// Says of hosts that the lock belongs on rather than on the one that was asked.
fn warn_of_unreachable(shown: &Shown) {
    for error in &shown.unreachable {
        warn(&format!(
            "a run may hold the lock on a host that cannot be reached: {error}"
        ));
    }
}

fn tell(stack: &str, shown: &Shown) -> Page {
    let paint = Paint::for_stdout();
    let Some(found) = &shown.held else {
        return line(format_args!(
            "Nobody holds the lock of stack {stack} (it would be on {})",
            shown.host
        ));
    };
    let mut text = line(format_args!(
        "Stack {} is {}, on {}",
        paint.strong(stack),
        paint.warn("locked"),
        shown.host
    ));
    for (heading, value) in rows(found, shown.standing) {
        text.line(format_args!(
            "  {} {value}",
            paint.dim(&format!("{heading:>8} │"))
        ));
    }
    text
}

fn rows(found: &Found, standing: Option<Standing>) -> Vec<(&'static str, String)> {
    let mut rows = match &found.holder {
        Some(holder) => vec![
            ("by", format!("{} (process {})", holder.who, holder.pid)),
            ("command", holder.command.clone()),
            ("run", holder.run.clone()),
            ("since", holder.started.clone()),
        ],
        None => vec![("by", found.words())],
    };
    if found.number > 0 {
        rows.push(("fence", found.number.to_string()));
    }
    if !found.shards.is_empty() {
        rows.push(("shards", found.shards.join(", ")));
    }
    let means = match standing {
        Some(Standing::Expired) => "its lease has ended: the next run takes it over",
        Some(Standing::Gone) => "that process is no more: the next run from here takes it over",
        Some(Standing::Held) | None => "",
    };
    let age = format!("{} s ago", found.age.max(0));
    rows.push((
        "renewed",
        if means.is_empty() {
            format!("{age}; good for {} s more", found.lease_left(LEASE))
        } else {
            age
        },
    ));
    if !means.is_empty() {
        rows.push(("so", means.to_owned()));
    }
    rows
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        let hint = error.hint();
        let error = Self::failed(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
