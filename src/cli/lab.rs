//! `foundry lab`: disposable Debian hosts on this machine. Prompts for nothing; knows nothing of how a lab is made.

use std::io::{self, IsTerminal as _};
use std::process::Command;

use clap::{Args, Subcommand, ValueEnum};

use super::print::say;
use crate::lab::{
    self, DriverKind, HostState, Lab, LabError, LabHost, LabName, LabState, Place, Progress, Up,
    Wanted,
};
use crate::terminal::{self, Page, line};

/// Makes disposable Debian hosts on this machine, for trying things and for tests
#[derive(Debug, Args)]
#[command(
    after_help = "A lab is a set of Debian hosts with systemd, sshd, sudo and addresses of their own. \
    It runs in Docker where Docker answers, else (as root on Linux) in plain namespaces, with no daemon at all.\n\n\
    Examples:\n  \
    foundry lab up                     three hosts and a ready config, ~/.foundry/lab.yaml\n  \
    foundry lab ssh bao-1              a shell on one of them\n  \
    foundry lab up --name k --hosts 5  a second lab\n  \
    foundry lab down --all             all gone"
)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Makes a lab, or starts what is stopped of it, and writes its config
    Up(UpArgs),
    /// Builds the hosts' image, if this machine has none yet; `up` does it too
    Image,
    /// Lists your labs and their hosts as they are now
    List {
        /// How to print the list
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Opens a shell on a lab host, or runs a command there, with the system's ssh
    Ssh {
        /// The host: its name, or LAB/NAME where several labs have that name
        host: String,
        /// The command; none opens a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Removes labs: hosts, network, keys, and the config unless you changed it
    Down {
        /// The labs to remove; may be left out if you have only one
        #[arg(value_name = "LAB", conflicts_with = "all")]
        names: Vec<LabName>,
        /// Removes all your labs
        #[arg(long)]
        all: bool,
    },
    /// Becomes a lab host; started by `lab up`
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    HostInit {
        #[arg(long)]
        second: bool,
        lab: LabName,
        host: LabName,
    },
}

#[derive(Debug, Args)]
struct UpArgs {
    /// How many hosts
    #[arg(
        long,
        default_value_t = 3,
        value_name = "NUMBER",
        conflicts_with = "names"
    )]
    hosts: usize,
    /// The hosts' names, separated by commas [default: bao-1,bao-2,… in the lab `lab`, else node-1,node-2,…]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    names: Vec<LabName>,
    /// The lab's name, and that of its config
    #[arg(long, default_value = DEFAULT_NAME)]
    name: LabName,
    /// Who runs the hosts [default: docker where it answers, else namespaces]
    #[arg(long, value_enum, env = "FOUNDRY_LAB_DRIVER")]
    driver: Option<DriverName>,
    /// Also makes a user `debian` with a password, and sudo with that password, for trying the bootstrap of a host
    #[arg(long)]
    password_login: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

const DEFAULT_NAME: &str = "lab";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DriverName {
    /// Docker's API
    Docker,
    /// Linux namespaces and overlayfs; needs root
    Namespaces,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs a `foundry lab` command. Needs a multi-threaded runtime.
///
/// # Errors
/// If the lab cannot be made, found or removed.
pub async fn run(args: LabArgs) -> Result<(), LabError> {
    match args.command {
        LabCommand::Up(args) => up(args).await,
        LabCommand::Image => image(),
        LabCommand::List { output } => list(output).await,
        LabCommand::Ssh { host, command } => ssh(&host, &command).await,
        LabCommand::Down { names, all } => down(names, all).await,
        #[cfg(target_os = "linux")]
        LabCommand::HostInit { second, lab, host } => lab::host_init(&lab, &host, second),
    }
}

async fn up(args: UpArgs) -> Result<(), LabError> {
    let place = Place::of_user()?;
    let wanted = Wanted {
        hosts: if args.names.is_empty() {
            names(&args.name, args.hosts)?
        } else {
            args.names
        },
        name: args.name,
        driver: args.driver.map(|driver| match driver {
            DriverName::Docker => DriverKind::Docker,
            DriverName::Namespaces => DriverKind::Namespaces,
        }),
        password_login: args.password_login,
    };
    let up = lab::up(&place, &wanted, &tell).await?;
    match args.output {
        Output::Json => print_data(&json(&up.lab)?),
        Output::Text => {
            print(&describe(&place, &up, wanted.password_login));
        }
    }
    for host in &up.degraded {
        say(&format!(
            "warning: a unit failed on {host}: foundry lab ssh {}/{host} systemctl --failed",
            up.lab.name
        ));
    }
    Ok(())
}

fn names(lab: &LabName, hosts: usize) -> Result<Vec<LabName>, LabError> {
    let kind = if lab.as_str() == DEFAULT_NAME {
        "bao"
    } else {
        "node"
    };
    // More than a lab can have is refused by its own number; no need to name a million of them.
    let named = hosts.min(lab::MOST_HOSTS + 1);
    (1..=named).map(|n| format!("{kind}-{n}").parse()).collect()
}

fn describe(place: &Place, up: &Up, password: bool) -> Page {
    let lab::Times { image, start, boot } = up.times;
    let (image, start, boot) = (image.as_secs_f64(), start.as_secs_f64(), boot.as_secs_f64());
    let mut text = table(std::slice::from_ref(&up.lab));
    text.line(format_args!(
        "lab {} is up ({}): image {image:.1} s, start {start:.1} s, boot {boot:.1} s",
        up.lab.name, up.lab.driver
    ));
    text.line(format_args!(
        "config: {}",
        place.config(&up.lab.name).display()
    ));
    if password {
        let file = place.password(&up.lab.name);
        text.line(format_args!(
            "user debian, sudo with password: {}",
            file.display()
        ));
    }
    if let Some(first) = up.lab.hosts.first() {
        text.line(format_args!(
            "try: foundry lab ssh {}",
            reach(&up.lab, first)
        ));
    }
    text
}

/// Returns how a user names the host: by itself in the lab of that name, else with its lab.
fn reach(lab: &Lab, host: &LabHost) -> String {
    if lab.name.as_str() == DEFAULT_NAME {
        host.name.to_string()
    } else {
        format!("{}/{}", lab.name, host.name)
    }
}

fn image() -> Result<(), LabError> {
    let archive = lab::build_image(&Place::of_user()?, &tell)?;
    print(&line(archive.display()));
    Ok(())
}

async fn list(output: Output) -> Result<(), LabError> {
    let labs = lab::list(&Place::of_user()?).await?;
    match output {
        Output::Json => print_data(&json(&labs)?),
        Output::Text if labs.is_empty() => say("no labs; make one: foundry lab up"),
        Output::Text => print(&table(&labs)),
    }
    Ok(())
}

fn table(labs: &[Lab]) -> Page {
    let mut rows =
        vec![["LAB", "HOST", "STATE", "ADDRESS", "PORT", "USER", "DRIVER"].map(str::to_owned)];
    for lab in labs {
        for host in &lab.hosts {
            let state = match (lab.state, host.state) {
                (LabState::Unfinished, _) => "unfinished",
                (_, HostState::Running) => "running",
                (_, HostState::Stopped) => "stopped",
            };
            // A stopped container has no address and no published port.
            let (address, port) = match host.port {
                0 => ("-".to_owned(), "-".to_owned()),
                port => (host.address.to_string(), port.to_string()),
            };
            rows.push([
                lab.name.to_string(),
                host.name.to_string(),
                state.to_owned(),
                address,
                port,
                host.user.clone(),
                lab.driver.to_string(),
            ]);
        }
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or_default())
        .collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut page = Page::new();
    rows.iter().for_each(|row| page.line(line(row)));
    page
}

async fn ssh(asked: &str, command: &[String]) -> Result<(), LabError> {
    let place = Place::of_user()?;
    let labs = lab::list(&place).await?;
    let (lab, host) = find(&labs, asked)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(place.identity(&lab.name));
    // None of the user's own settings: a lab's addresses come back as other hosts.
    ssh.args([
        "-F",
        "none",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
    ]);
    ssh.arg(format!(
        "UserKnownHostsFile={}",
        quoted(&place.known_hosts(&lab.name).display().to_string())
    ));
    ssh.args([
        "-o",
        "LogLevel=ERROR",
        "-p",
        &host.port.to_string(),
        "-l",
        &host.user,
    ]);
    if !command.is_empty() && io::stdin().is_terminal() && terminal::stdout_is_terminal() {
        ssh.arg("-t");
    }
    ssh.arg(host.address.to_string()).arg("--").args(command);
    become_program(ssh)
}

/// Returns the path as ssh's own configuration syntax reads it.
fn quoted(path: &str) -> String {
    format!("\"{path}\"")
}

fn find<'a>(labs: &'a [Lab], asked: &str) -> Result<(&'a Lab, &'a LabHost), LabError> {
    let (of_lab, name) = asked
        .split_once('/')
        .map_or((None, asked), |(lab, host)| (Some(lab), host));
    let found: Vec<_> = labs
        .iter()
        .filter(|lab| of_lab.is_none_or(|of| lab.name.as_str() == of))
        .filter_map(|lab| Some((lab, lab.host(name)?)))
        .collect();
    let listed = |hosts: &mut dyn Iterator<Item = (&Lab, &LabHost)>| {
        hosts
            .map(|(lab, host)| format!("{}/{}", lab.name, host.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match found[..] {
        [one] => Ok(one),
        [] => Err(LabError::Asked {
            what: format!("no lab of yours has a host `{asked}`"),
            help: match labs {
                [] => "make a lab: foundry lab up".into(),
                _ => format!(
                    "there are {}",
                    listed(
                        &mut labs
                            .iter()
                            .flat_map(|lab| lab.hosts.iter().map(move |h| (lab, h)))
                    )
                ),
            },
        }),
        _ => Err(LabError::Asked {
            what: format!("several labs have a host `{asked}`"),
            help: format!("say which: {}", listed(&mut found.iter().copied())),
        }),
    }
}

#[cfg(unix)]
fn become_program(mut command: Command) -> Result<(), LabError> {
    use std::os::unix::process::CommandExt;
    Err(not_started(&command.exec()))
}

#[cfg(not(unix))]
fn become_program(mut command: Command) -> Result<(), LabError> {
    let status = command.status().map_err(|e| not_started(&e))?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Command {
        command: "ssh".into(),
        status: status.to_string(),
        stderr: String::new(),
    })
}

fn not_started(error: &io::Error) -> LabError {
    match error.kind() {
        io::ErrorKind::NotFound => LabError::Missing {
            what: "the program `ssh`".into(),
            why: "`foundry lab ssh`".into(),
            help: "install it: apt-get install openssh-client".into(),
        },
        _ => LabError::System {
            doing: "start ssh".into(),
            why: error.to_string(),
        },
    }
}

async fn down(mut names: Vec<LabName>, all: bool) -> Result<(), LabError> {
    let place = Place::of_user()?;
    if names.is_empty() {
        names = lab::list(&place)
            .await?
            .into_iter()
            .map(|lab| lab.name)
            .collect();
        if names.len() > 1 && !all {
            let listed: Vec<&str> = names.iter().map(LabName::as_str).collect();
            return Err(LabError::Asked {
                what: format!("you have {} labs: {}", names.len(), listed.join(", ")),
                help: "name the one to remove, or say --all".into(),
            });
        }
        if names.is_empty() {
            say("no labs");
        }
    }
    for name in &names {
        let config_left = lab::down(&place, name, &tell).await?;
        say(&format!("lab {name} is down"));
        if config_left {
            say(&format!(
                "left, since you changed it: {}",
                place.config(name).display()
            ));
        }
    }
    Ok(())
}

fn tell(progress: Progress) {
    say(&match progress {
        Progress::LabWait => "another command works on this lab; waiting for it …".to_owned(),
        Progress::ImageWait => "another command builds the image; waiting for it …".to_owned(),
        Progress::ImageBuild { suite } => {
            format!(
                "building the hosts' image from Debian's {suite} packages, once; that takes about a minute …"
            )
        }
        Progress::CleanUp => "removing what an unfinished `lab up` left …".to_owned(),
        Progress::Start { hosts } => format!("starting {hosts} hosts …"),
        Progress::Boot => "waiting until they have booted and answer …".to_owned(),
    });
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, LabError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|e| LabError::System {
            doing: "print JSON".into(),
            why: e.to_string(),
        })
}

/// Prints data. A reader that went away is no error of ours.
fn print(page: &Page) {
    let _ = terminal::page(page);
}

fn print_data(text: &str) {
    let _ = terminal::data(&terminal::escape_json(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(name: &str, hosts: &[&str]) -> Lab {
        let hosts = hosts
            .iter()
            .map(|host| LabHost {
                name: host.parse().unwrap(),
                address: "10.87.0.11".parse().unwrap(),
                port: 22,
                user: "admin".into(),
                host_key: "ssh-ed25519 AAAA".into(),
                state: HostState::Running,
            })
            .collect();
        Lab::new(name.parse().unwrap(), DriverKind::Namespaces, hosts)
    }

    #[test]
    fn finds_a_host_by_its_name_or_its_labs() {
        let labs = [lab("lab", &["bao-1", "x"]), lab("k", &["node-1", "x"])];
        assert_eq!(find(&labs, "bao-1").unwrap().0.name.as_str(), "lab");
        assert_eq!(find(&labs, "k/x").unwrap().0.name.as_str(), "k");
        assert!(
            find(&labs, "x")
                .unwrap_err()
                .to_string()
                .contains("several")
        );
        assert!(find(&labs, "y").is_err());
    }

    #[test]
    fn names_hosts_after_what_the_lab_is_for() {
        let named = |lab: &str, n| {
            names(&lab.parse().unwrap(), n)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(named("lab", 2), ["bao-1", "bao-2"]);
        assert_eq!(named("k", 1), ["node-1"]);
    }

    #[test]
    fn lists_in_columns() {
        assert_eq!(
            table(&[lab("lab", &["bao-1"])]).to_string(),
            "LAB  HOST   STATE    ADDRESS     PORT  USER   DRIVER\n\
             lab  bao-1  running  10.87.0.11  22    admin  namespaces\n"
        );
    }
}
