//! The command line: the only code that prompts, prints or knows exit codes. One file per noun; each holds its
//! clap types and its commands.

mod audit;
mod build;
mod bundle;
mod bundle_sign;
mod ci;
mod ci_job;
mod cluster;
mod cluster_etcd;
mod cluster_node;
mod cluster_show;
mod completion;
mod component;
pub mod config;
mod config_wizard;
mod exit;
mod fingerprints;
mod graph;
pub mod home;
mod host;
mod host_add;
mod keeper;
mod lab;
mod lock;
mod look;
mod outdated;
mod pinned;
mod plan;
mod print;
mod process;
mod prompt;
mod recipe;
mod report;
mod reports;
mod rollout;
mod run;
mod run_compare;
mod secret;
mod session;
mod shard;
mod stack;
mod stack_pin;
mod status;
mod storage;
mod storage_configure;
mod storage_list;
mod storage_test;
mod support;
mod version;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::Stack;
use crate::graph::expand;
use crate::terminal::{self, Page, shown};
use exit::{CliError, CliResult, Ending};

const ABOUT: &str = "Brings bare Debian and Ubuntu machines up to a complete self-hosted platform, and keeps it there";

const LONG_ABOUT: &str = "\
Foundry is a build system whose products are live systems. A config file says what should be; \
Foundry asks every machine what is, skips what is as wanted, runs the rest with all the parallelism there is, \
and checks each step afterwards. It keeps no state file: running it again is always right.";

const EXAMPLES: &str = "\
Examples:
  foundry lab up                        three disposable Debian hosts on this machine, and a config for them
  foundry build stack                   make everything as the config says
  foundry plan                          what would run, and why; touches nothing
  foundry build openbao:config@bao-1    one step on one host, and what it needs
  foundry build 'openbao - @bao-2'      a component without one host
  foundry explain openbao:service@bao-1 why a step is as it is: inputs, key, facts
  foundry stack status                  is everything as wanted? exit code 2 if not

Labels: stack · openbao · openbao:config · openbao:config@bao-1 · @bao-1 · role:worker · expressions with + - & ( )
Exit codes: 0 done · 1 failed · 2 changes pending or unhealthy · 3 config or usage · 130 interrupted";

/// How long what still runs beside a command that has ended may hold up its end.
const LINGER: Duration = Duration::from_secs(2);

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Config file, or the name of one in ~/.foundry (else `FOUNDRY_CONFIG`, else the only one there)
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<String>,
    /// Ask nothing: take what is safe for granted and refuse the rest (unknown host keys, for one)
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// More of what goes on under the hood, on standard error (-vv for all of it)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Parser)]
#[command(name = "foundry", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES, propagate_version = false, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::BuildArgs>),
    Plan(plan::PlanArgs),
    Explain(plan::ExplainArgs),
    Graph(graph::GraphArgs),
    Stack(stack::StackArgs),
    Component(component::ComponentArgs),
    Cluster(cluster::ClusterArgs),
    Host(host::HostArgs),
    Storage(storage::StorageArgs),
    Secret(secret::SecretArgs),
    Config(config::ConfigArgs),
    Recipe(recipe::RecipeArgs),
    Bundle(bundle::BundleArgs),
    Lab(lab::LabArgs),
    Run(run::RunArgs),
    Report(report::ReportArgs),
    Ci(ci::CiArgs),
    Audit(audit::AuditArgs),
    Lock(lock::LockArgs),
    SupportBundle(support::SupportArgs),
    Completion(completion::CompletionArgs),
}

/// Runs the command that the process arguments name and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Once more with arguments that do nothing but stand there: the message quotes them.
            let args = std::env::args_os().map(|arg| shown(&arg.to_string_lossy()).into_owned());
            let error = Cli::try_parse_from(args).err().unwrap_or(error);
            // Help and version are answers, not mistakes.
            let asked = !error.use_stderr();
            let version = error.kind() == clap::error::ErrorKind::DisplayVersion;
            let mut page = Page::new();
            if version && version::in_full(std::env::args_os().skip(1)) {
                page.drawn(&version::text());
            } else {
                page.drawn(&terminal::from_ansi(&error.render().ansi().to_string()));
            }
            if asked {
                let _ = terminal::page(&page);
            } else {
                terminal::tell(&page);
            }
            return if asked {
                ExitCode::SUCCESS
            } else {
                Ending::Usage.into()
            };
        }
    };
    // A lab's hosts are children that must be able to look at themselves, and there are no secrets in it.
    if !matches!(cli.command, Command::Lab(_)) {
        process::seal();
    }
    // The one TLS provider; an error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::from)
        .and_then(|runtime| {
            let result = runtime.block_on(dispatch(cli));
            // A name server or a keyring may keep a thread for long after its answer has become of no use.
            runtime.shutdown_timeout(LINGER);
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.show();
            error.ending.into()
        }
    }
}

async fn dispatch(cli: Cli) -> CliResult {
    let Cli { global, command } = cli;
    match command {
        Command::Build(args) => build::command(*args, &global).await,
        Command::Stack(args) => stack::stack(args, &global).await,
        Command::Component(args) => component::component(args, &global).await,
        Command::Cluster(args) => cluster::cluster(args, &global).await,
        Command::Host(args) => host::host(args, &global).await,
        Command::Plan(args) => plan::plan(args, &global).await,
        Command::Explain(args) => plan::explain(args, &global).await,
        Command::Graph(args) => graph::graph(&args, &global),
        Command::Completion(args) => {
            completion::completion(&args, <Cli as clap::CommandFactory>::command())
        }
        Command::Storage(args) => storage::storage(args, &global).await,
        Command::Secret(args) => secret::secret(args, &global).await,
        Command::Run(args) => run::run(&args),
        Command::Report(args) => report::report(&args),
        Command::Ci(args) => ci::ci(&args, &global).await,
        Command::Audit(args) => audit::audit(&args, &global).await,
        Command::Lock(args) => lock::lock(&args, &global).await,
        Command::SupportBundle(args) => support::support(args, &global).await,
        Command::Config(args) => configure(args, &global),
        Command::Recipe(args) => recipe::recipe(args),
        Command::Bundle(args) => bundle::bundle(args, &global).await,
        Command::Lab(args) => lab::run(args).await.map_err(|error| {
            CliError::from_diagnostic(Ending::Failed, &miette::Report::new(error))
        }),
    }
}

/// Runs a `foundry config` command with what the catalog knows of settings.
fn configure(args: config::ConfigArgs, global: &Global) -> CliResult {
    let home = home::Home::from_env()?;
    let catalog = session::load_catalog(&home)?;
    let components = config::component_schemas(&catalog);
    let check = |stack: &Arc<Stack>| {
        let graph = expand(stack, &catalog)?;
        session::rollouts(stack, &catalog)?;
        Ok(graph.warnings)
    };
    let context = config::ConfigContext {
        home: &home,
        chosen: global.config.as_deref(),
        components: &components,
        check: &check,
    };
    Ok(config::run(args, &context)?)
}
