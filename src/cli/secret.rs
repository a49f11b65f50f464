//! `foundry secret …`: secrets of the stack in its own OpenBAO, and Foundry's token for it. Values reach standard output
//! only when asked for, and never an argument.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::sync::Arc;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::print::{Output, print, print_data, print_json, warn};
use super::prompt::{asked, confirm, hidden, someone_there};
use super::session::Session;
use super::wire::Wired;
use crate::run::Keeper as _;
use crate::secret::{Resolution, Secret, SecretRef, SecretSource, SecretStore as _, StoreError};
use crate::target::bao::{BaoStore, token_name};
use crate::terminal::{self, Page};

/// Reads, writes and lists secrets in the stack's OpenBAO
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  foundry secret set foundry/grafana:admin_password     asks for the value, without echo
  openssl rand -hex 16 | foundry secret set foundry/zot:password
  foundry secret get foundry/grafana:admin_password     asks before it shows
  foundry secret get -y foundry/zot:password | pbcopy
  foundry secret list                                   the namespaces
  foundry secret list foundry                           what one of them holds

The first word of a path is the namespace: `foundry` for the stack's own secrets (${secret:grafana:admin_password} in its \
config), `<service>-<instance>` for a service's.")]
pub struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretCommand {
    /// Shows a value, after asking (`--yes`: without)
    Get {
        /// `path:key`, or `path` for all keys there
        path: String,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Stores a value: asked for without echo, or read from standard input
    Set {
        /// `path:key`; the key is asked for if it isn't given
        path: String,
        /// Ask for the value even if standard input is no terminal
        #[arg(long)]
        interactive: bool,
    },
    /// Lists what there is, without values
    List {
        /// Where to look; the namespaces if it isn't given
        path: Option<String>,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Stores the token that Foundry uses OpenBAO with
    Login,
}

/// Runs a `foundry secret` command.
pub async fn secret(args: SecretArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let wired = Wired::new(&session, global, None, None)?;
    let Some(store) = wired.store.clone() else {
        return Err(CliError::usage(format!(
            "stack {} has no OpenBAO, so it has no secrets to look at",
            session.stack.name
        ))
        .hint("add `openbao: {}` under `components:`, and run `foundry build openbao`"));
    };
    match args.command {
        SecretCommand::Get { path, output } => get(&path, output, &wired, &store, global).await,
        SecretCommand::Set { path, interactive } => set(&path, interactive, &wired, &store).await,
        SecretCommand::List { path, output } => {
            list(path.as_deref().unwrap_or_default(), output, &store).await
        }
        SecretCommand::Login => login(&session, &wired, &store).await,
    }
}

/// Splits `path:key`.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, key)) => (path, Some(key)),
        None => (text, None),
    }
}

/// Makes sure that a config can refer to it: letters, digits, `.`, `_` and `-` between slashes.
fn reference(path: &str, key: &str) -> Result<SecretRef, CliError> {
    let path = path.trim_matches('/');
    let namespace = path.split('/').next().unwrap_or_default();
    SecretRef::parse(&format!("{path}:{key}"), namespace)
        .map_err(|why| CliError::usage(format!("`{path}:{key}` names no secret: {why}")))
}

async fn get(
    text: &str,
    output: Output,
    wired: &Wired,
    store: &BaoStore,
    global: &Global,
) -> CliResult {
    let (path, key) = split(text);
    let Some(mut fields) = store.read(path).await? else {
        return Err(missing(path, key));
    };
    if let Some(key) = key {
        let wanted = fields
            .remove_entry(key)
            .ok_or_else(|| missing(path, Some(key)))?;
        fields = BTreeMap::from([wanted]);
    }
    for key in fields.keys() {
        tell_override(path, key, wired);
    }
    if terminal::stdout_is_terminal() && !global.yes {
        if !someone_there(global.yes) {
            return Err(
                CliError::usage("there is nobody to ask whether it may be shown here")
                    .hint("`--yes` shows it without asking"),
            );
        }
        if !confirm(&format!("Show {text} on this terminal?")) {
            return Err(CliError::quiet(Ending::Interrupted));
        }
    }
    match (output, key) {
        (Output::Json, _) => {
            let plain: BTreeMap<&str, &str> = fields
                .iter()
                .map(|(key, value)| (key.as_str(), value.expose().as_str()))
                .collect();
            print_json(&plain)
        }
        (Output::Text, Some(key)) => print_data(&format!("{}\n", fields[key].expose())),
        (Output::Text, None) => {
            let lines: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}={}\n", value.expose()))
                .collect();
            print_data(&lines.concat())
        }
    }
}

/// Says so when something nearer than OpenBAO holds the value that references get.
fn tell_override(path: &str, key: &str, wired: &Wired) {
    let Ok(reference) = reference(path, key) else {
        return;
    };
    if let Some(Resolution::Found { source, .. }) = wired.resolver.resolve_locally(&reference) {
        let place = match source {
            SecretSource::Environment => format!("the environment ({})", reference.env_name()),
            SecretSource::Vars => "~/.foundryvars".to_owned(),
            SecretSource::Store => return,
        };
        warn(&format!(
            "references to {path}:{key} take their value from {place}, not this one"
        ));
    }
}

fn missing(path: &str, key: Option<&str>) -> CliError {
    let name = key.map_or_else(|| path.to_owned(), |key| format!("{path}:{key}"));
    CliError::failed(format!("there is no secret {name} in OpenBAO"))
        .hint("`foundry secret list` shows what there is")
}

async fn set(text: &str, interactive: bool, wired: &Wired, store: &BaoStore) -> CliResult {
    let (path, key) = split(text);
    if !path.trim_matches('/').contains('/') {
        return Err(
            CliError::usage(format!("`{path}` names a namespace, not a secret in it"))
                .hint(format!("`foundry secret set {path}/name:key`")),
        );
    }
    let ask = interactive || std::io::stdin().is_terminal();
    let key = match key {
        Some(key) => key.to_owned(),
        None if ask => dialoguer::Input::new()
            .with_prompt(asked(&format!("Key within {path}")))
            .default("value".to_owned())
            .interact_text_on(&console::Term::stderr())
            .map_err(|_| CliError::quiet(Ending::Interrupted))?,
        None => {
            return Err(CliError::usage(format!("which key of {path}?"))
                .hint(format!("`foundry secret set {path}:password`")));
        }
    };
    let reference = reference(path, &key)?;
    let value = if ask {
        typed(&format!("{path}:{key}"))?
    } else {
        piped()?
    };
    store.write(&reference.path, &key, &value).await?;
    tell_override(path, &key, wired);
    Ok(())
}

/// Asks twice, without echo.
fn typed(name: &str) -> Result<Secret<String>, CliError> {
    loop {
        let Some(first) = hidden(&format!("Value of {name}")) else {
            return Err(CliError::quiet(Ending::Interrupted));
        };
        let Some(second) = hidden("Once more") else {
            return Err(CliError::quiet(Ending::Interrupted));
        };
        if first == second {
            return Ok(first);
        }
        warn("these differ");
    }
}

/// Reads standard input to its end; one end of line there is not part of the value.
pub(super) fn piped() -> Result<Secret<String>, CliError> {
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut text)?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(CliError::usage("standard input holds no value"));
    }
    Ok(Secret::new(value.to_owned()))
}

async fn list(path: &str, output: Output, store: &BaoStore) -> CliResult {
    let path = path.trim_matches('/');
    let mut names = store.list(path).await?;
    if names.is_empty()
        && let Some(fields) = store.read(path).await?
    {
        let last = path.rsplit('/').next().unwrap_or(path);
        names = fields.keys().map(|key| format!("{last}:{key}")).collect();
    }
    if names.is_empty() && !path.is_empty() {
        return Err(
            CliError::failed(format!("there is nothing at {path} in OpenBAO"))
                .hint("`foundry secret list` shows the namespaces"),
        );
    }
    match output {
        Output::Json => print_json(&names),
        Output::Text => {
            let mut page = Page::new();
            names.iter().for_each(|name| page.line(name));
            print(&page)
        }
    }
}

async fn login(session: &Session, wired: &Wired, store: &Arc<BaoStore>) -> CliResult {
    let token = if std::io::stdin().is_terminal() {
        hidden("Token for OpenBAO").ok_or_else(|| CliError::quiet(Ending::Interrupted))?
    } else {
        piped()?
    };
    let policies = store.policies(&token).await?;
    if policies.iter().any(|policy| policy == "root") {
        return Err(CliError::usage("this is a root token, which Foundry keeps for nobody")
            .hint("make one of its own with it: `bao token create -orphan -policy=foundry -period=768h`"));
    }
    wired
        .keeper
        .store(&token_name(&session.stack), &token)
        .map_err(|words| CliError::failed(format!("the token could not be stored: {words}")))
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let shown = Self::failed(&error);
        match error {
            StoreError::NotUp(_) => shown.hint("`foundry build openbao` brings it up"),
            StoreError::Denied(_) | StoreError::Failed(_) => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_what_follows_the_last_colon() {
        assert_eq!(
            split("foundry/grafana:password"),
            ("foundry/grafana", Some("password"))
        );
        assert_eq!(split("foundry/grafana"), ("foundry/grafana", None));
    }

    #[test]
    fn a_name_that_no_config_could_refer_to_is_refused() {
        assert!(reference("foundry/grafana", "admin_password").is_ok());
        assert_eq!(
            reference("/app-toy/db/prod/", "key").unwrap().path,
            "app-toy/db/prod"
        );
        for (path, key) in [
            ("foundry/a b", "key"),
            ("foundry/a", "k:ey"),
            ("foundry//a", "key"),
            ("foundry/a", ""),
        ] {
            assert!(reference(path, key).is_err(), "{path}:{key}");
        }
    }
}
