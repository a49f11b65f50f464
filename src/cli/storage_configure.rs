//! `foundry storage configure`: asks for a backend, checks that it answers, and writes it into the config. Keys go where secrets
//! go, never into the file.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Input, Select};

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::host_add::ConfigFile;
use super::print::{print, warn};
use super::prompt::{ask, asked, confirm, hidden, someone_there};
use super::secret::piped;
use super::session::{Session, load_catalog};
use super::storage::file;
use super::storage_list::bytes_told;
use super::wire::Wired;
use crate::config::{Setting, Source, has_section, set_in_section, text_in_section};
use crate::graph::expand;
use crate::secret::{
    Resolution, STACK_NAMESPACE, Secret, SecretRef, SecretStore as _, StoreError, references,
};
use crate::target::truenas::{Address, Client, Pool, TrueNasError, Trust, pools, version};
use crate::terminal::{self, Page};

/// Reference to the key where the config has none yet: the seed's own.
const KEY: &str = "${secret:foundry/truenas:api_key}";

/// What volumes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A TrueNAS of 25.10 or later, by its API
    Truenas,
    /// Folders of an NFS server
    Nfs,
    /// The nodes' own disks, copied between nodes
    Longhorn,
    /// The nodes' own disks, each for itself (K3s brings it)
    LocalPath,
}

/// How nodes reach volumes on a TrueNAS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Files, several pods at once
    Nfs,
    /// Block devices
    Iscsi,
}

/// Where an API key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Keep {
    /// In OpenBAO; where there is none yet, ask
    #[default]
    Auto,
    /// In OpenBAO
    Bao,
    /// In ~/.foundryvars
    Vars,
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigureArgs {
    /// Which kind
    #[arg(long, value_enum)]
    backend: Option<Kind>,
    /// TrueNAS: its address, `https://…`
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// TrueNAS: whose API key it is
    #[arg(long, value_name = "USER")]
    username: Option<String>,
    /// TrueNAS: file with the authority of its certificate, in PEM
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// TrueNAS: SHA-256 of its certificate, for one that it signed itself
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// TrueNAS: the pool for volumes
    #[arg(long)]
    pool: Option<String>,
    /// TrueNAS: the dataset in it that volumes are made below
    #[arg(long)]
    dataset: Option<String>,
    /// TrueNAS: how nodes reach volumes
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Where the API key is kept
    #[arg(long, value_enum, default_value_t)]
    keep: Keep,
    /// NFS: the server
    #[arg(long)]
    server: Option<String>,
    /// NFS: the folder that it exports
    #[arg(long)]
    path: Option<String>,
    /// Longhorn: how many copies of each volume
    #[arg(long)]
    replicas: Option<i64>,
    /// Make it the class of volumes that name none
    #[arg(long)]
    default: bool,
    /// Ask for what has a default too
    #[arg(long, short)]
    interactive: bool,
    /// Write it without asking the backend anything
    #[arg(long)]
    no_check: bool,
}

/// Sets up a backend.
pub(super) async fn configure(args: ConfigureArgs, global: &Global) -> CliResult {
    let someone = someone_there(global.yes);
    if args.interactive && !someone {
        return Err(CliError::usage(
            "there is nobody to ask: `--interactive` needs a terminal",
        ));
    }
    let mut file = ConfigFile::open(global)?;
    let session = Session::open(global)?;
    let wired = Wired::new(&session, global, None, None)?;
    let mut setup = Setup {
        source: file.stack.source.clone(),
        wired: &wired,
        session: &session,
        someone,
        changes: Vec::new(),
        key: None,
        told: Vec::new(),
    };
    let kind = match (
        args.backend,
        someone && args.api_url.is_none() && args.server.is_none(),
    ) {
        (Some(kind), _) => kind,
        (None, true) => which().await?,
        (None, false) if args.server.is_some() => Kind::Nfs,
        (None, false) => Kind::Truenas,
    };
    match kind {
        Kind::Truenas => setup.truenas(&args).await?,
        Kind::Nfs => setup.nfs(&args).await?,
        Kind::Longhorn => setup.longhorn(&args).await?,
        Kind::LocalPath => {}
    }
    if args.default || kind == Kind::LocalPath {
        let name = match kind {
            Kind::Truenas => "truenas",
            Kind::Nfs => "nfs",
            Kind::Longhorn => "longhorn",
            Kind::LocalPath => "local-path",
        };
        let path = setup.place("default")?;
        setup.changes.push((path, Setting::Text(name.to_owned())));
    }
    let text = setup.edited()?;
    // What could not be built is not written, and no key is kept for it.
    let catalog = load_catalog(&session.home)?;
    expand(&Arc::new(file.read(&text)?), &catalog)?;
    setup.keep(args.keep).await?;
    wired.fleet.close();
    if text == file.stack.source.text {
        setup
            .told
            .push(format!("{} says so already", file.stack.source.name));
    } else {
        file.write(&text)?;
        setup
            .told
            .push(format!("written into {}", file.stack.source.name));
    }
    let mut page = Page::new();
    setup.told.iter().for_each(|told| page.message(told));
    page.gap();
    page.drawn("Next:\n  foundry build storage\n  foundry storage test");
    print(&page)
}

/// What is found out, until it is written.
struct Setup<'a> {
    source: Arc<Source>,
    wired: &'a Wired,
    session: &'a Session,
    someone: bool,
    changes: Vec<(Vec<String>, Setting)>,
    /// A key that is not kept anywhere yet.
    key: Option<(SecretRef, Secret<String>)>,
    told: Vec<String>,
}

impl Setup<'_> {
    /// Returns where a setting of the component is or goes: its own place if there is one, else the section.
    fn place(&self, name: &str) -> Result<Vec<String>, CliError> {
        let own = ["components", "storage", name];
        let path = if has_section(&self.source, &own)? {
            &own[..]
        } else {
            &["storage", name]
        };
        Ok(path.iter().map(|&part| part.to_owned()).collect())
    }

    fn there(&self, table: &str, name: &str) -> Result<Option<String>, CliError> {
        let mut path = self.place(table)?;
        path.push(name.to_owned());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Ok(text_in_section(&self.source, &path)?)
    }

    fn set(&mut self, table: &str, name: &str, value: Setting) -> CliResult {
        let mut path = self.place(table)?;
        path.push(name.to_owned());
        self.changes.push((path, value));
        Ok(())
    }

    fn set_text(&mut self, table: &str, name: &str, value: &str) -> CliResult {
        self.set(table, name, Setting::Text(value.to_owned()))
    }

    /// Returns the config with all changes.
    fn edited(&self) -> Result<String, CliError> {
        let mut source = self.source.clone();
        for (path, value) in &self.changes {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let text = set_in_section(&source, &path, value)?;
            source = Arc::new(Source {
                name: source.name.clone(),
                text,
            });
        }
        Ok(source.text.clone())
    }

    /// Returns what was given, else what the config says, else what the person says.
    async fn answer(
        &self,
        given: Option<&String>,
        table: &str,
        name: &str,
        prompt: &str,
        flag: &str,
    ) -> Result<String, CliError> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        let there = self.there(table, name)?;
        if !self.someone {
            return there.ok_or_else(|| CliError::usage(format!("`{flag}` is missing")));
        }
        text(prompt, there).await
    }

    async fn nfs(&mut self, args: &ConfigureArgs) -> CliResult {
        let server = self
            .answer(
                args.server.as_ref(),
                "nfs",
                "server",
                "NFS server",
                "--server",
            )
            .await?;
        let path = self
            .answer(
                args.path.as_ref(),
                "nfs",
                "path",
                "Folder that it exports",
                "--path",
            )
            .await?;
        self.set_text("nfs", "server", &server)?;
        self.set_text("nfs", "path", &path)?;
        self.told.push(format!("volumes from {server}:{path}"));
        Ok(())
    }

    async fn longhorn(&mut self, args: &ConfigureArgs) -> CliResult {
        self.set("longhorn", "enabled", Setting::Bool(true))?;
        let mut replicas = args.replicas;
        if replicas.is_none() && args.interactive {
            let typed = text("Copies of each volume", Some("2".to_owned())).await?;
            let number = typed
                .parse()
                .map_err(|_| CliError::usage(format!("`{typed}` is no number")))?;
            replicas = Some(number);
        }
        if let Some(replicas) = replicas {
            self.set("longhorn", "replicas", Setting::Int(replicas))?;
        }
        self.told
            .push("volumes on the nodes' own disks, by Longhorn".to_owned());
        Ok(())
    }

    async fn truenas(&mut self, args: &ConfigureArgs) -> CliResult {
        const TABLE: &str = "truenas";
        let prompt = "Address of the TrueNAS (https://…)";
        let url = self
            .answer(args.api_url.as_ref(), TABLE, "api_url", prompt, "--api-url")
            .await?;
        let address = Address::parse(&url).map_err(CliError::usage)?;
        let username = match (&args.username, self.there(TABLE, "username")?) {
            (Some(given), _) => given.clone(),
            (None, there) if self.someone && (args.interactive || there.is_none()) => {
                text("User of its API key (may be empty until TrueNAS 26)", there).await?
            }
            (None, there) => there.unwrap_or_default(),
        };
        let reference = self
            .there(TABLE, "api_key")?
            .unwrap_or_else(|| KEY.to_owned());
        let key = self.api_key(&reference).await?;
        let mut trust = Certificate {
            ca: match &args.ca {
                Some(path) => file(path)?,
                None => self.there(TABLE, "ca")?.unwrap_or_default(),
            },
            fingerprint: match (&args.fingerprint, &args.ca) {
                (Some(given), _) => given.clone(),
                // A new authority goes before an old fingerprint.
                (None, Some(_)) => String::new(),
                (None, None) => self.there(TABLE, "fingerprint")?.unwrap_or_default(),
            },
        };
        let mut pool = args.pool.clone().or(self.there(TABLE, "pool")?);
        if !args.no_check {
            let client = self.connect(&address, &mut trust, &username, &key).await?;
            let (release, there) =
                tokio::try_join!(version(&client), pools(&client)).map_err(shown)?;
            self.told
                .push(format!("TrueNAS {release} at {address} takes the key"));
            let found = self.pool(pool, args, &there).await?;
            let free = found.free.map(bytes_told).unwrap_or_default();
            self.told.push(format!(
                "pool {}: {}, {free} free",
                found.name, found.status
            ));
            pool = Some(found.name.clone());
        }
        let dataset = match (&args.dataset, args.interactive) {
            (Some(given), _) => Some(given.clone()),
            (None, true) => {
                let there = self
                    .there(TABLE, "dataset")?
                    .unwrap_or_else(|| "foundry".to_owned());
                Some(text("Dataset in it that volumes are made below", Some(there)).await?)
            }
            (None, false) => None,
        };
        let protocol = match (args.protocol, args.interactive) {
            (None, true) => Some(protocol().await?),
            (given, _) => given,
        };
        self.set_text(TABLE, "api_url", &url)?;
        if !username.is_empty() {
            self.set_text(TABLE, "username", &username)?;
        }
        self.set_text(TABLE, "api_key", &reference)?;
        if !trust.ca.is_empty() {
            self.set_text(TABLE, "ca", &trust.ca)?;
        }
        if !trust.fingerprint.is_empty() || self.there(TABLE, "fingerprint")?.is_some() {
            self.set_text(TABLE, "fingerprint", &trust.fingerprint)?;
        }
        let pinned = !trust.fingerprint.is_empty() && trust.ca.is_empty();
        let mut verify = self.place(TABLE)?;
        verify.push("verify".to_owned());
        let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
        if pinned || has_section(&self.source, &verify)? {
            self.set(TABLE, "verify", Setting::Bool(!pinned))?;
        }
        if pinned {
            // It knows authorities only; `foundry` itself goes by the fingerprint.
            warn(
                "TrueNAS' driver can't go by a fingerprint: in the cluster the certificate is not checked (`verify: false`)",
            );
        }
        for (name, value) in [("pool", pool), ("dataset", dataset)] {
            if let Some(value) = value {
                self.set_text(TABLE, name, &value)?;
            }
        }
        if let Some(protocol) = protocol {
            let word = if protocol == Protocol::Nfs {
                "nfs"
            } else {
                "iscsi"
            };
            self.set_text(TABLE, "protocol", word)?;
        }
        Ok(())
    }

    /// Finds the key that the reference leads to, or has it given.
    async fn api_key(&mut self, written: &str) -> Result<Secret<String>, CliError> {
        let reference = references(written, STACK_NAMESPACE)
            .ok()
            .and_then(|found| found.into_iter().next())
            .map(|(_, reference)| reference)
            .ok_or_else(|| {
                CliError::usage("`storage.truenas.api_key` is no reference to a secret")
            })?;
        let given = !std::io::stdin().is_terminal();
        let piped_key = if given { piped().ok() } else { None };
        if let Some(key) = piped_key {
            self.key = Some((reference, key.clone()));
            return Ok(key);
        }
        if let Ok(Resolution::Found { value, .. }) = self.wired.resolver.resolve(&reference).await {
            return Ok(value);
        }
        if !self.someone {
            return Err(CliError::usage(format!(
                "there is no API key: {} leads to none, and standard input holds none",
                reference.name()
            ))
            .hint(
                "make one in TrueNAS under Credentials › API Keys, and give it on standard input",
            ));
        }
        let key = ask(None, || hidden("API key (TrueNAS: Credentials › API Keys)"))
            .await
            .ok_or_else(|| CliError::quiet(Ending::Interrupted))?;
        self.key = Some((reference, key.clone()));
        Ok(key)
    }

    /// Connects, and has the person look at a certificate that nobody vouches for.
    async fn connect(
        &self,
        address: &Address,
        certificate: &mut Certificate,
        username: &str,
        key: &Secret<String>,
    ) -> Result<Client, CliError> {
        let trust =
            Trust::read(&certificate.ca, &certificate.fingerprint).map_err(CliError::usage)?;
        match Client::connect(address, &trust, username, key).await {
            Err(TrueNasError::Certificate { words, shown: Some(print) }) if self.someone => {
                let question = format!(
                    "{address} shows a certificate that can't be trusted ({words}).\n  SHA-256 {print}\nIs that what TrueNAS shows under Credentials › Certificates?"
                );
                if !confirmed(question).await {
                    return Err(CliError::quiet(Ending::Interrupted));
                }
                certificate.fingerprint = print;
                certificate.ca = String::new();
                let trust = Trust::read("", &certificate.fingerprint).map_err(CliError::usage)?;
                Client::connect(address, &trust, username, key).await.map_err(shown)
            }
            Err(error @ TrueNasError::Certificate { shown: None, .. }) => Err(shown(error)),
            Err(TrueNasError::Certificate { words, shown: Some(print) }) => Err(CliError::failed(
                format!("the certificate of {address} is not to be trusted: {words}"),
            )
            .hint(format!("`--ca FILE` gives its authority; if TrueNAS shows the same under Credentials › Certificates: `--fingerprint {print}`"))),
            other => other.map_err(shown),
        }
    }

    /// Chooses the pool among those there are.
    async fn pool<'p>(
        &self,
        wanted: Option<String>,
        args: &ConfigureArgs,
        there: &'p [Pool],
    ) -> Result<&'p Pool, CliError> {
        let names: Vec<String> = there.iter().map(|pool| pool.name.clone()).collect();
        let told = if names.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        };
        let choose = self.someone && args.pool.is_none() && (args.interactive || wanted.is_none());
        let name = match (wanted, there) {
            (_, []) => None,
            (wanted, [_, _, ..]) if choose => {
                let at = wanted
                    .and_then(|name| names.iter().position(|one| *one == name))
                    .unwrap_or(0);
                let items: Vec<String> = names.iter().map(|name| asked(name)).collect();
                let chosen = ask(None, move || {
                    let theme = ColorfulTheme::default();
                    let select = Select::with_theme(&theme)
                        .with_prompt("Pool for volumes")
                        .items(&items);
                    select.default(at).interact().ok()
                });
                let chosen = chosen
                    .await
                    .ok_or_else(|| CliError::quiet(Ending::Interrupted))?;
                names.get(chosen).cloned()
            }
            (Some(name), _) => Some(name),
            (None, [only]) => Some(only.name.clone()),
            (None, _) => {
                return Err(CliError::usage("which pool?").hint(format!("`--pool NAME`: {told}")));
            }
        };
        let found = there.iter().find(|pool| Some(&pool.name) == name.as_ref());
        found.ok_or_else(|| {
            let name = name.unwrap_or_default();
            CliError::failed(format!("TrueNAS has no pool `{name}`: {told}"))
                .hint("make one in TrueNAS under Storage: Foundry overwrites no disks")
        })
    }

    /// Keeps a key that was given, where secrets are kept.
    async fn keep(&mut self, keep: Keep) -> CliResult {
        let Some((reference, key)) = self.key.take() else {
            return Ok(());
        };
        if keep != Keep::Vars {
            match self.in_bao(&reference, &key).await {
                Ok(()) => {
                    self.told
                        .push(format!("key kept in OpenBAO as {}", reference.name()));
                    return Ok(());
                }
                Err(error) if keep == Keep::Bao => return Err(error),
                Err(error) => {
                    let words = error.message.unwrap_or_default();
                    let question = format!(
                        "The key can't be kept in OpenBAO ({words}). Keep it in ~/.foundryvars for now?"
                    );
                    if !self.someone || !confirmed(question).await {
                        return Err(CliError::failed(format!("the key can't be kept in OpenBAO: {words}"))
                            .hint("`--keep vars` keeps it in ~/.foundryvars until there is one; nothing was written"));
                    }
                }
            }
        }
        let place = self.session.home.set_var(&reference.name(), &key)?;
        self.told
            .push(format!("key kept in {place} as {}", reference.name()));
        Ok(())
    }

    async fn in_bao(&self, reference: &SecretRef, key: &Secret<String>) -> CliResult {
        let Some(store) = &self.wired.store else {
            return Err(StoreError::NotUp("the stack has none".to_owned()).into());
        };
        store.write(&reference.path, &reference.key, key).await?;
        Ok(())
    }
}

/// What a certificate is known by.
struct Certificate {
    ca: String,
    fingerprint: String,
}

fn shown(error: TrueNasError) -> CliError {
    let hint = error.hint();
    let shown = CliError::failed(error);
    match hint {
        Some(hint) => shown.hint(hint),
        None => shown,
    }
}

async fn which() -> Result<Kind, CliError> {
    let chosen = ask(None, || {
        let items = [
            "TrueNAS, by its API",
            "an NFS server",
            "the nodes' own disks, copied between nodes (Longhorn)",
            "the nodes' own disks, each for itself (local-path)",
        ];
        let theme = ColorfulTheme::default();
        let select = Select::with_theme(&theme)
            .with_prompt("Where volumes come from")
            .items(items);
        select.default(0).interact().ok()
    });
    let kinds = [Kind::Truenas, Kind::Nfs, Kind::Longhorn, Kind::LocalPath];
    let chosen = chosen.await.and_then(|at| kinds.get(at).copied());
    chosen.ok_or_else(|| CliError::quiet(Ending::Interrupted))
}

async fn protocol() -> Result<Protocol, CliError> {
    let chosen = ask(None, || {
        let items = ["NFS: several pods at once", "iSCSI: block devices"];
        let theme = ColorfulTheme::default();
        let select = Select::with_theme(&theme)
            .with_prompt("How nodes reach volumes")
            .items(items);
        select.default(0).interact().ok()
    });
    match chosen.await {
        Some(0) => Ok(Protocol::Nfs),
        Some(_) => Ok(Protocol::Iscsi),
        None => Err(CliError::quiet(Ending::Interrupted)),
    }
}

async fn text(prompt: &str, there: Option<String>) -> Result<String, CliError> {
    let prompt = prompt.to_owned();
    let typed = ask(None, move || {
        let theme = ColorfulTheme::default();
        let mut input = Input::<String>::with_theme(&theme).with_prompt(asked(&prompt));
        input = match there {
            Some(there) => input.default(terminal::shown(&there).into_owned()),
            None => input.allow_empty(true),
        };
        input.interact_text().ok()
    });
    typed
        .await
        .ok_or_else(|| CliError::quiet(Ending::Interrupted))
}

async fn confirmed(question: String) -> bool {
    ask(None, move || Some(confirm(&question))).await == Some(true)
}
