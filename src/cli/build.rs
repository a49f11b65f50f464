//! `foundry build` (and `stack install`, `component install`): looks, plans, runs, reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::fingerprints;
use super::look::{Looked, look};
use super::pinned::PinnedOptions;
use super::print::{Output, warn};
use super::reports::{ReportOptions, close, reports};
use super::rollout::RolloutOptions;
use super::session::Session;
use super::shard::ShardOptions;
use super::wire::Wired;
use crate::catalog::Rollout;
use crate::config::HostId;
use crate::event::{HostProbed, HostUnreachable, Summary, What};
use crate::graph::{Selection, Target};
use crate::probe::{AccessError, HostAnswered};
use crate::report::Reporter;
use crate::run::lock::{Party, Request, SeenRuns, take};
use crate::run::{Limits, RunRequest, Stop, Tell, has_work, refuse, run};
use crate::target::BuiltIn;

/// Makes everything as the config says: asks every host what is, skips what is as wanted, runs the rest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  foundry build stack                    everything
  foundry build openbao                  a component, and what it needs
  foundry build openbao:config@bao-1     one step on one host, and what it needs
  foundry build @bao-1                   everything on one host
  foundry build 'openbao - @bao-2'       a component without one host
  foundry build stack --dry-run          what would run, and why (as `foundry plan`)")]
pub struct BuildArgs {
    /// What to build: labels or expressions over them
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Only show what would run, and why
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: BuildOptions,
}

/// What every command that builds takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BuildOptions {
    /// File for keys that only you can keep, such as those that an OpenBAO init answers with (made with mode 0600);
    /// without it they are shown once on the terminal
    #[arg(long, value_name = "FILE", env = "FOUNDRY_KEYS_TO")]
    keys_to: Option<PathBuf>,
    /// Most steps to run at once
    #[arg(long, short, default_value_t = Limits::default().jobs, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Most steps to run at once on one host
    #[arg(long, default_value_t = Limits::default().per_host, value_parser = clap::value_parser!(u32).range(1..))]
    jobs_per_host: u32,
    /// Take over fields of objects in the cluster that something else has set, in place of naming them and stopping
    #[arg(long)]
    force_conflicts: bool,
    /// Events as JSON lines on standard output, in place of a screen
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Run nothing outside of this expression: what is needed from there must be as wanted already
    #[arg(long, value_name = "EXPR")]
    limit: Option<String>,
    /// Run nothing within this expression: what is needed from there must be as wanted already
    #[arg(long, value_name = "EXPR")]
    exclude: Option<String>,
    #[command(flatten)]
    rollout: RolloutOptions,
    #[command(flatten)]
    shard: ShardOptions,
    #[command(flatten)]
    reports: ReportOptions,
    #[command(flatten)]
    pinned: PinnedOptions,
    /// A component and the version to build in place of the config's.
    #[arg(skip)]
    pub version: Option<(String, String)>,
}

/// Runs `foundry build`.
pub async fn command(args: BuildArgs, global: &Global) -> CliResult {
    build(&args.targets, args.dry_run, &args.options, global).await
}

/// Builds what `targets` select.
pub async fn build(
    targets: &[String],
    dry_run: bool,
    options: &BuildOptions,
    global: &Global,
) -> CliResult {
    let session = Session::open_with(global, options.version.as_ref())?;
    let selection = session.select_within(
        targets,
        options.limit.as_deref(),
        options.exclude.as_deref(),
    )?;
    let party = options.shard.resolve(|name| std::env::var(name).ok())?;
    let selection = match &party {
        Some((party, _)) => session.graph.shard(&selection, party.shard),
        None => selection,
    };
    let rollouts = options.rollout.resolve(&session, &selection)?;
    let unpinned = options.pinned.check(&session, &selection)?;
    if dry_run {
        return super::plan::show(&session, &selection, options.output, global).await;
    }
    let reporter = Reporter::start(reports(&session, options.output, &options.reports)?);
    let wired = Wired::new(
        &session,
        global,
        options.keys_to.clone(),
        Some(reporter.pauser()),
    )?
    .forcing_conflicts(&session, options.force_conflicts);
    let tell = Tell::begin_part(
        &session.stack.name,
        &typed(),
        session.stack.hosts.len(),
        party.as_ref().map(|(party, _)| party),
        reporter.sink(),
        wired.masker.clone(),
    );
    wired.fleet.name_run(tell.run().as_str());
    if let Some((party, from)) = &party {
        let mine = mine(&session, &selection);
        tell.note(&format!(
            "shard {} of run {} (by {from}): {mine}",
            party.shard, party.generation
        ));
    }
    if let Some(unpinned) = unpinned {
        tell.note(&unpinned);
    }
    let stop = Stop::new();
    let listening = tokio::spawn(listen(stop.clone()));
    let ended = Build {
        session: &session,
        wired: &wired,
        selection: &selection,
        rollouts,
        party: party.as_ref().map(|(party, _)| party),
        options,
        tell: &tell,
        stop: &stop,
    }
    .run()
    .await;
    listening.abort();
    wired.fleet.close();
    let reported = close(reporter);
    let summary = match ended {
        Ok(summary) => summary,
        Err(error) => {
            if let Err(report) = reported {
                report.show();
            }
            return Err(error);
        }
    };
    if let (Err(report), true) = (&reported, summary.interrupted) {
        report.show();
    }
    if summary.interrupted {
        Err(CliError::quiet(Ending::Interrupted))
    } else if reported.is_err() {
        // Its exit code is that of a failed run too.
        reported
    } else if summary.refused.is_some() || !summary.counts.all_done() {
        Err(CliError::quiet(Ending::Failed))
    } else {
        Ok(())
    }
}

struct Build<'a> {
    session: &'a Session,
    wired: &'a Wired,
    selection: &'a Selection,
    rollouts: BTreeMap<String, Rollout>,
    party: Option<&'a Party>,
    options: &'a BuildOptions,
    tell: &'a Tell,
    stop: &'a Stop,
}

impl Build<'_> {
    async fn run(self) -> Result<Summary, CliError> {
        let mut looked = match self.look().await {
            Ok(Some(looked)) => looked,
            Ok(None) => return Ok(self.interrupted()),
            Err(error) => return Ok(refuse(self.tell, &error.to_string())),
        };
        if let Some(why) = self.options.rollout.refusal(&looked.plan, self.selection) {
            return Ok(refuse(self.tell, &why));
        }
        let mut lock = None;
        if has_work(&looked.plan, self.selection) {
            let seen = SeenRuns::of(&looked.observed, self.party);
            let (hosts, unreachable) = hosts(&looked);
            let request = Request {
                party: self.party,
                ..Request::new(
                    &self.session.stack,
                    &hosts,
                    &unreachable,
                    &seen,
                    &*self.wired.fleet,
                    self.tell,
                    self.stop,
                )
            };
            let taken = match take(&request, &self.wired.gate).await {
                Ok(taken) => taken,
                Err(crate::run::lock::LockError::Interrupted) => return Ok(self.interrupted()),
                Err(error) => {
                    let hint = error
                        .hint()
                        .map(|hint| format!(" ({hint})"))
                        .unwrap_or_default();
                    return Ok(refuse(self.tell, &format!("{error}{hint}")));
                }
            };
            // Somebody else may have been at work since we looked, or is still: the gate raises the fences first.
            if taken.waited() {
                match self.look().await {
                    Ok(Some(again)) => looked = again,
                    Ok(None) => {
                        self.give_back(taken).await;
                        return Ok(self.interrupted());
                    }
                    Err(error) => {
                        self.give_back(taken).await;
                        return Ok(refuse(self.tell, &error.to_string()));
                    }
                }
            }
            lock = Some(taken);
        }
        let request = RunRequest {
            graph: self.session.graph.clone(),
            selection: self.selection.clone(),
            observed: looked.observed,
            plan: looked.plan,
            fingerprints: looked.fingerprints,
            writers: self.wired.fleet.clone(),
            gate: self.wired.gate.clone(),
            actions: Arc::new(BuiltIn::default()),
            keeper: self.wired.keeper.clone(),
            secrets: self.wired.resolver.clone(),
            limits: Limits {
                jobs: self.options.jobs,
                per_host: self.options.jobs_per_host,
                ..Limits::default()
            },
            rollouts: self.rollouts,
            patience: self.options.shard.shard_wait,
            lock,
            stop: self.stop.clone(),
            tell: self.tell.clone(),
        };
        let new_key = looked.new_key.filter(|_| request.lock.is_some());
        let summary = run(request).await.map_err(CliError::failed)?;
        if let (Some(new_key), Some(store)) = (new_key, &self.wired.store)
            && let Err(error) = fingerprints::keep(&**store, &new_key).await
        {
            warn(&format!(
                "the key of this stack's fingerprints could not be kept, so secrets of this run's steps can't be compared with later ones: {error}"
            ));
        }
        Ok(summary)
    }

    /// Looks and plans; `None` if interrupted meanwhile.
    async fn look(&self) -> Result<Option<Looked>, CliError> {
        let tell = |answered: HostAnswered<'_>| host_answered(self.session, self.tell, &answered);
        tokio::select! {
            looked = look(self.session, self.wired, self.selection, &tell) => looked.map(Some),
            () = self.stop.ending() => Ok(None),
        }
    }

    fn interrupted(&self) -> Summary {
        let mut summary = refuse(self.tell, "interrupted before anything was changed");
        summary.interrupted = true;
        summary
    }

    async fn give_back(&self, lock: crate::run::lock::Lock) {
        if let Err(error) = lock.release().await {
            self.tell.warn(&format!(
                "the lock could not be given back and ends by itself: {error}"
            ));
        }
    }
}

/// Says what a shard's part is: `12 hosts, and 3 steps that are on no host`.
fn mine(session: &Session, selection: &Selection) -> String {
    let mut hosts = BTreeSet::new();
    let mut others = 0;
    for id in selection.own() {
        match &session.graph.step(id).target {
            Target::Host(host) => _ = hosts.insert(*host),
            Target::Group(_) | Target::Service(..) => others += 1,
            Target::Gather => {}
        }
    }
    let s = |number: usize| if number == 1 { "" } else { "s" };
    let mut text = format!("{} host{}", hosts.len(), s(hosts.len()));
    if others > 0 {
        text.push_str(&format!(
            ", and {others} step{} on no single host",
            s(others)
        ));
    }
    text
}

fn host_answered(session: &Session, tell: &Tell, answered: &HostAnswered<'_>) {
    let known = session.stack.host(answered.host);
    let host = known.name.to_string();
    let group = (!known.roles.is_empty()).then(|| known.roles.join("+"));
    tell.event(match answered.answer {
        Ok(facts) => What::HostProbed(HostProbed {
            host,
            ms: u64::try_from(answered.took.as_millis()).unwrap_or(u64::MAX),
            execs: 1,
            processes: facts.processes,
            group,
        }),
        Err(error) => What::HostUnreachable(HostUnreachable {
            host,
            message: tell.masked(&error.message),
            hint: error.hint.as_deref().map(|hint| tell.masked(hint)),
            group,
        }),
    });
}

/// Returns all hosts in the order of the config, and those that could not be asked.
fn hosts(looked: &Looked) -> (Vec<HostId>, BTreeMap<HostId, AccessError>) {
    let hosts = (0..).map(HostId).zip(&looked.observed.hosts);
    let unreachable = hosts.clone().filter_map(|(host, answer)| match answer {
        Some(Err(error)) => Some((host, error.clone())),
        Some(Ok(_)) | None => None,
    });
    (
        hosts.clone().map(|(host, _)| host).collect(),
        unreachable.collect(),
    )
}

/// Returns the command line as it was typed.
fn typed() -> String {
    std::iter::once("foundry".to_owned())
        .chain(std::env::args().skip(1))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Presses `stop` at each Ctrl-C, and at the signal that ends services and CI jobs. When the terminal is closed, running
/// steps come to their end: nobody can be asked whether they are to be stopped.
async fn listen(stop: Stop) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        // Under `nohup` it stays ignored.
        let mut hangup = if hangup_is_ignored() {
            None
        } else {
            signal(SignalKind::hangup()).ok()
        };
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => stop.press(),
                _ = terminate.recv() => stop.press(),
                _ = hung_up => stop.end(),
            }
        }
    }
    #[cfg(not(unix))]
    while tokio::signal::ctrl_c().await.is_ok() {
        stop.press();
    }
}

/// Returns whether whoever started this process had it ignore the closing of its terminal.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    // Signals that are ignored, as bits; the first is SIGHUP. Where the system does not tell, none is.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & 1 == 1)
}
