//! `foundry host …`: lists the stack's hosts, opens shells on them, configures them. `host_add` adds new ones.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde::Serialize;

use super::Global;
use super::build::{BuildOptions, build};
use super::exit::{CliError, CliResult, Ending};
use super::home::Home;
use super::host_add::{self, AddArgs};
use super::print::{Output, print, print_json, table};
use super::prompt::TerminalPrompts;
use crate::config::{Host, HostId, Stack, nearest_host};
use crate::probe::{AccessError, Program, Readers};
use crate::secret::Secret;
use crate::target::host::{AccessSettings, Fleet, HostKeys, ssh_command};
use crate::terminal::{self, Page, line, style};

/// How many hosts are asked at once.
const AT_ONCE: usize = 64;

/// What a host says of itself: two lines.
const ABOUT: &str = "uname -m\nname=$(uname -s)\n[ -r /etc/os-release ] && { . /etc/os-release; name=$PRETTY_NAME; }\necho \"$name\"\n";

/// Adds, configures and lists hosts, and opens shells on them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A host is a machine that Foundry reaches over SSH. Hosts stand in the config, under `hosts:`.

Examples:
  foundry host add bao-4 --address 192.0.2.14 --user debian --role openbao
                                      register a machine, give it a key of its own, make its base
  foundry host list --probe           is each one within reach, and what is it?
  foundry host ssh bao-4              a shell there, with the same key and host key as Foundry's own
  foundry host ssh bao-4 -- uptime    one command there
  foundry host configure bao-4        users, packages, time, kernel settings again")]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HostCommand {
    /// Registers a host in the config, gives it an SSH key of its own, and makes its base
    Add(Box<AddArgs>),
    /// Makes the base of hosts as the config says: users, sudo, SSH keys, packages, kernel settings
    Configure {
        /// Hosts
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        /// Only show what would run, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
    /// Lists the stack's hosts
    List {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        /// Also connects to each and says what it is, or why not; exit code 1 if one is out of reach
        #[arg(long)]
        probe: bool,
    },
    /// Opens a shell on a host, or runs a command there, with the system's ssh
    Ssh {
        /// Host
        host: String,
        /// The command; none opens a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Runs a `foundry host` command.
pub async fn host(args: HostArgs, global: &Global) -> CliResult {
    match args.command {
        HostCommand::Add(args) => host_add::add(*args, global).await,
        HostCommand::Configure {
            hosts,
            dry_run,
            options,
        } => configure(&hosts, dry_run, &options, global).await,
        HostCommand::List { output, probe } => list(output, probe, global).await,
        HostCommand::Ssh { host, command } => ssh(&host, &command, global),
    }
}

/// Makes the base of these hosts.
pub async fn configure(
    hosts: &[String],
    dry_run: bool,
    options: &BuildOptions,
    global: &Global,
) -> CliResult {
    let stack = Home::from_env()?.load(global.config.as_deref())?;
    for name in hosts {
        find(&stack, name)?;
    }
    let targets: Vec<String> = hosts.iter().map(|name| format!("base & @{name}")).collect();
    build(&targets, dry_run, options, global).await
}

/// Finds a host by its name.
pub fn find(stack: &Stack, name: &str) -> Result<HostId, CliError> {
    stack.host_named(name).ok_or_else(|| {
        let error = CliError::usage(format!("{} has no host `{name}`", stack.source.name));
        match nearest_host(name, stack.hosts.iter().map(|host| &*host.name)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!(
                "`foundry host list` shows all; `foundry host add {name}` adds it"
            )),
        }
    })
}

impl From<AccessError> for CliError {
    fn from(error: AccessError) -> Self {
        Self {
            hint: error.hint.clone(),
            ..Self::failed(error)
        }
    }
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    host: &'a str,
    address: &'a str,
    port: Option<u16>,
    user: Option<&'a str>,
    roles: &'a [String],
    labels: &'a BTreeMap<String, String>,
    jump: Option<&'a str>,
    local: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probed>,
}

/// What came of asking a host.
#[derive(Debug, Serialize)]
struct Probed {
    reachable: bool,
    arch: Option<String>,
    os: Option<String>,
    error: Option<String>,
    hint: Option<String>,
}

async fn list(output: Output, probe: bool, global: &Global) -> CliResult {
    let home = Home::from_env()?;
    let stack = Arc::new(home.load(global.config.as_deref())?);
    let probed: Vec<Option<Probed>> = if probe {
        // Nobody is asked: a list of a hundred hosts is no place for a hundred questions.
        let fleet = Fleet::new(stack.clone(), AccessSettings::new(home.dir()));
        let ids = (0..).map(HostId).take(stack.hosts.len());
        let probed = stream::iter(ids.map(|id| ask(&fleet, id)))
            .buffered(AT_ONCE)
            .map(Some)
            .collect()
            .await;
        fleet.close();
        probed
    } else {
        stack.hosts.iter().map(|_| None).collect()
    };
    let listed: Vec<Listed<'_>> = stack
        .hosts
        .iter()
        .zip(probed)
        .map(|(host, probe)| listed(host, probe))
        .collect();
    match output {
        Output::Json => print_json(&listed)?,
        Output::Text if listed.is_empty() => print(&line(format_args!(
            "no hosts in {}; `foundry host add NAME --address ADDRESS` adds one",
            stack.source.name
        )))?,
        Output::Text => print(&drawn(&listed, probe))?,
    }
    let reachable = |host: &Listed<'_>| host.probe.as_ref().is_none_or(|probe| probe.reachable);
    if listed.iter().all(reachable) {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Failed))
    }
}

fn listed(host: &Host, probe: Option<Probed>) -> Listed<'_> {
    Listed {
        host: &host.name,
        address: &host.address,
        port: host.port,
        user: host.user.as_deref(),
        roles: &host.roles,
        labels: &host.labels,
        jump: host.jump.as_deref(),
        local: host.local,
        probe,
    }
}

/// Asks one host what it is.
async fn ask(fleet: &Fleet, id: HostId) -> Probed {
    match about(fleet, id).await {
        Ok((arch, os)) => Probed {
            reachable: true,
            arch: Some(arch),
            os: Some(os),
            error: None,
            hint: None,
        },
        Err(error) => Probed {
            reachable: false,
            arch: None,
            os: None,
            error: Some(error.message),
            hint: error.hint,
        },
    }
}

async fn about(fleet: &Fleet, id: HostId) -> Result<(String, String), AccessError> {
    let program = Program {
        text: Secret::new(ABOUT.to_owned()),
        deadline: Duration::from_secs(30),
    };
    let reply = fleet.reader(id).await?.ask(&program).await?;
    let said = String::from_utf8_lossy(&reply.stdout).into_owned();
    let mut lines = said.lines().map(|line| line.trim().to_owned());
    Ok((
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    ))
}

fn drawn(listed: &[Listed<'_>], probed: bool) -> Page {
    let or_dash = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|host| {
            let labels: Vec<String> = host
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let address = if host.local {
                "this machine"
            } else {
                host.address
            };
            let mut row = vec![
                host.host.to_owned(),
                address.to_owned(),
                or_dash(host.port.map(|port| port.to_string()).unwrap_or_default()),
                or_dash(host.user.unwrap_or_default().to_owned()),
                or_dash(host.roles.join(", ")),
                or_dash(labels.join(", ")),
                or_dash(host.jump.unwrap_or_default().to_owned()),
            ];
            row.extend(host.probe.as_ref().map(state));
            row
        })
        .collect();
    let mut head = vec!["HOST", "ADDRESS", "PORT", "USER", "ROLES", "LABELS", "JUMP"];
    if probed {
        head.push("STATE");
    }
    let mut text = table(&head, &rows);
    let mut hints: Vec<&str> = Vec::new();
    let given = listed
        .iter()
        .filter_map(|host| host.probe.as_ref()?.hint.as_deref());
    for hint in given {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    for hint in hints {
        text.gap();
        text.message(format_args!("{} {hint}", style("hint:").cyan().bold()));
    }
    text
}

fn state(probe: &Probed) -> String {
    match &probe.error {
        Some(error) => error.clone(),
        None => format!(
            "{} {}, {}",
            style("reachable").green(),
            probe.arch.as_deref().unwrap_or_default(),
            probe.os.as_deref().unwrap_or_default()
        ),
    }
}

fn ssh(name: &str, command: &[String], global: &Global) -> CliResult {
    let home = Home::from_env()?;
    let stack = Arc::new(home.load(global.config.as_deref())?);
    let id = find(&stack, name)?;
    let local = stack.host(id).local;
    let mut settings = AccessSettings::new(home.dir());
    settings.prompts = TerminalPrompts::if_someone_there(global.yes, None);
    if settings.prompts.is_some() {
        settings.host_keys = HostKeys::Ask;
    }
    let mut program = ssh_command(&Fleet::new(stack, settings), id)?;
    if !command.is_empty() {
        if local {
            program.arg("-c").arg(command.join(" "));
        } else {
            if std::io::stdin().is_terminal() && terminal::stdout_is_terminal() {
                program.arg("-t");
            }
            program.arg("--").args(command);
        }
    }
    become_program(program)
}

#[cfg(unix)]
fn become_program(mut program: Command) -> CliResult {
    use std::os::unix::process::CommandExt as _;
    let error = program.exec();
    Err(not_started(&program, &error))
}

#[cfg(not(unix))]
fn become_program(mut program: Command) -> CliResult {
    match program.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(CliError::quiet(Ending::Failed)),
        Err(error) => Err(not_started(&program, &error)),
    }
}

fn not_started(program: &Command, error: &std::io::Error) -> CliError {
    let name = program.get_program().to_string_lossy();
    let failed = CliError::failed(format!("can't start `{name}`: {error}"));
    if error.kind() == std::io::ErrorKind::NotFound {
        failed.hint("install OpenSSH's client: `apt-get install openssh-client`")
    } else {
        failed
    }
}
