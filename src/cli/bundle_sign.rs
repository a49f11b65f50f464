//! Keys on the command line: which bundles are trusted, what signs them, how a pair is made. Secret keys are files or secrets, their
//! passwords typed or secrets; neither is ever an argument.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Global;
use super::exit::{CliError, CliResult};
use super::home::{Home, HomeError};
use super::print::print;
use super::prompt::{hidden, someone_there};
use super::session::Session;
use super::wire::Wired;
use crate::config::SelectError;
use crate::ops::bundle::{self, KeyError, Signer, Trust, TrustedKey};
use crate::secret::{Resolution, STACK_NAMESPACE, Secret, SecretRef, private};
use crate::terminal::line;

/// What says that a value is a secret's reference and no file.
const REFERENCE: &str = "secret:";

/// What signs a bundle.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// Secret key to sign with: a file of `minisign` or `foundry bundle keygen`, or `secret:PATH:KEY`
    #[arg(long, value_name = "KEY")]
    pub sign_key: Option<String>,
    /// Password of the secret key, as `secret:PATH:KEY`; asked for if it isn't given
    #[arg(long, value_name = "SECRET", requires = "sign_key")]
    pub sign_password: Option<String>,
}

impl SignArgs {
    /// Reads the key, if one is meant.
    pub async fn signer(&self, global: &Global) -> Result<Option<Signer>, CliError> {
        let Some(key) = &self.sign_key else {
            return Ok(None);
        };
        let text = match reference(key)? {
            Some(reference) => resolved(&reference, global).await?,
            None => {
                let text = private::read(Path::new(key));
                Secret::new(text.map_err(|error| CliError::failed(format!("{key}: {error}")))?)
            }
        };
        let password = match &self.sign_password {
            Some(text) => Some(password(text, global).await?),
            None => None,
        };
        let wrong = |error: KeyError| CliError::failed(format!("the key {key}: {error}"));
        match Signer::read(&text, password.as_ref()) {
            Err(KeyError::Protected) if someone_there(global.yes) => {
                let typed = hidden(&format!("Password of {key}"));
                let typed = typed.ok_or_else(|| wrong(KeyError::Protected))?;
                Signer::read(&text, Some(&typed)).map(Some).map_err(wrong)
            }
            Err(error @ KeyError::Protected) => Err(wrong(error)
                .hint("give it as `--sign-password secret:PATH:KEY`, or run this in a terminal")),
            other => other.map(Some).map_err(wrong),
        }
    }
}

/// Reads `secret:PATH:KEY`, and the form that configs have.
fn reference(text: &str) -> Result<Option<SecretRef>, CliError> {
    let inner = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(text);
    let Some(name) = inner.strip_prefix(REFERENCE) else {
        return Ok(None);
    };
    SecretRef::parse(name, STACK_NAMESPACE)
        .map(Some)
        .map_err(|why| CliError::usage(format!("`{text}` names no secret: {why}")))
}

async fn password(text: &str, global: &Global) -> Result<Secret<String>, CliError> {
    let reference = reference(text)?.ok_or_else(|| {
        CliError::usage("a password is given as `secret:PATH:KEY`: arguments are read by others")
    })?;
    resolved(&reference, global).await
}

/// Finds a secret where those of the stack are found.
async fn resolved(reference: &SecretRef, global: &Global) -> Result<Secret<String>, CliError> {
    let session = Session::open(global)?;
    let wired = Wired::new(&session, global, None, None)?;
    match wired.resolver.resolve(reference).await {
        Ok(Resolution::Found { value, .. }) => Ok(value),
        Ok(Resolution::NotYet { why }) => Err(CliError::failed(format!(
            "the secret `{}` can't be read yet: {why}",
            reference.name()
        ))),
        Err(error) => Err(CliError::failed(error)),
    }
}

/// Whose bundles are taken.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Public key to trust in addition to those under `bundles: trusted_keys` of the config: the key itself, or its file
    #[arg(long, value_name = "KEY")]
    trust: Vec<String>,
}

impl TrustArgs {
    /// Returns the keys of the config, where there is one, and those named here. `unsigned` takes what none of them signed.
    pub fn trust(&self, unsigned: bool, global: &Global) -> Result<Trust, CliError> {
        let home = Home::from_env()?;
        let mut keys: Vec<String> = match home.load(global.config.as_deref()) {
            Ok(stack) => stack.trusted_keys,
            // Where the first bundle is loaded there may be no config yet.
            Err(HomeError::Select(SelectError::None { .. })) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for key in &self.trust {
            let is_file = TrustedKey::parse(key).is_err() && Path::new(key).is_file();
            keys.push(if is_file {
                std::fs::read_to_string(key)?
            } else {
                key.clone()
            });
        }
        let keys: Result<_, _> = keys.iter().map(|key| TrustedKey::parse(key)).collect();
        Ok(Trust {
            keys: keys.map_err(CliError::usage)?,
            unsigned,
        })
    }
}

/// What makes a pair of keys.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Where to write the secret key; the public one goes beside it, as `.pub`
    file: PathBuf,
    /// Password for the secret key, as `secret:PATH:KEY`; asked for if it isn't given
    #[arg(long, value_name = "SECRET")]
    password: Option<String>,
    /// Protect the secret key by its file's mode alone
    #[arg(long, conflicts_with = "password")]
    without_password: bool,
}

/// Runs `foundry bundle keygen`.
pub async fn keygen(args: KeygenArgs, global: &Global) -> CliResult {
    let public = args.file.with_extension("pub");
    for path in [&args.file, &public] {
        if std::fs::symlink_metadata(path).is_ok() {
            let path = path.display();
            return Err(CliError::usage(format!("{path} is there already"))
                .hint("a key that is replaced can sign nothing more: choose another name"));
        }
    }
    if public == args.file {
        return Err(CliError::usage("the secret key can't be a `.pub` file"));
    }
    let password = match &args.password {
        _ if args.without_password => None,
        Some(text) => Some(password(text, global).await?),
        None if someone_there(global.yes) => Some(typed_twice()?),
        None => {
            return Err(CliError::usage("there is nobody to ask for a password")
                .hint("give it as `--password secret:PATH:KEY`, or say `--without-password`"));
        }
    };
    let (secret, key) = super::bundle::aside_plain(move || bundle::generate(password.as_ref()))
        .await?
        .map_err(CliError::failed)?;
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error| CliError::failed(format!("{path}: {error}"))
    };
    private::write(&args.file, secret.expose().as_bytes()).map_err(at(&args.file))?;
    let (id, written) = (key.id(), key.written());
    let text = format!("untrusted comment: minisign public key {id}\n{written}\n");
    std::fs::write(&public, text).map_err(at(&public))?;
    let mut page = line(format_args!(
        "The secret key is in {}, the public one in {}. Where bundles are loaded, in the config:",
        args.file.display(),
        public.display()
    ));
    page.gap();
    page.line("bundles:");
    page.line(format_args!("  trusted_keys: [{written}]"));
    print(&page)
}

fn typed_twice() -> Result<Secret<String>, CliError> {
    let none = || CliError::usage("no password was typed");
    let first = hidden("Password for the new key").ok_or_else(none)?;
    let again = hidden("Once more").ok_or_else(none)?;
    if first.expose() == again.expose() {
        Ok(first)
    } else {
        Err(CliError::usage("the passwords differ"))
    }
}
