//! `foundry host add`: registers a host, gives it a key of its own, makes its base. Every step can be cut off and is
//! taken up again by the same command.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dialoguer::Input;
use futures::future::BoxFuture;

use super::Global;
use super::build::BuildOptions;
use super::exit::{CliError, CliResult};
use super::home::Home;
use super::host::{configure, find};
use super::print::{say, warn};
use super::prompt::{TerminalPrompts, asked, someone_there};
use super::session::Session;
use super::wire::Wired;
use crate::config::{
    self, EditError, HostEntry, HostId, Source, Stack, add_host, own_field, set_host_field,
};
use crate::probe::{AccessError, AccessKind, Readers};
use crate::run::journal::{Deed, Entering, Journals};
use crate::run::{Writers, draw_run};
use crate::secret::{Secret, SecretStore, StoreError, private};
use crate::target::host::{
    AccessSettings, Fleet, HostKeys, OfferedKey, Password, PasswordWanted, Prompts, generate_key,
    install_key,
};
use crate::terminal;

/// Where OpenBAO keeps hosts' private keys, and under which field.
const KEYS_PATH: &str = "foundry/ssh-keys";
const KEYS_FIELD: &str = "private_key";

/// What `foundry host add` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the host's key for you to compare, logs in by a key you have or by the password (asked once, stored nowhere), makes \
an SSH key for this host alone, installs it, proves that it works, and writes it all into the config, which keeps its \
comments. The key is kept in ~/.foundry/keys, and in the stack's OpenBAO once that is up. An add that was cut off is taken \
up by the same command.

Examples:
  foundry host add bao-4 --address 192.0.2.14 --user debian --role openbao
  foundry host add db-1 --jump bastion --identity ~/.ssh/cloud
  foundry host add bao-4 --address 192.0.2.14 --host-key 'ssh-ed25519 AAAA…'     without a terminal

The host's key, for --host-key, is on its console: cat /etc/ssh/ssh_host_ed25519_key.pub")]
pub struct AddArgs {
    /// Name: lower-case letters, digits and `-`, in parts joined by dots
    hostname: String,
    /// What to connect to, if not the name: a name or an IP address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// SSH port, if neither ~/.ssh/config says it nor it is 22
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// SSH user; needs root, or sudo
    #[arg(long)]
    user: Option<String>,
    /// What the host is for; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Private key to log in with this first time; the host's own takes its place
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Host of the stack, or `user@host:port`, to jump through
    #[arg(long, value_name = "HOST")]
    jump: Option<String>,
    /// The host's public key, known from elsewhere; nothing is asked then
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,
    /// Asks for what no flag gives
    #[arg(long, short)]
    interactive: bool,
    /// Leaves the host's base as it is; `foundry host configure` makes it
    #[arg(long)]
    no_configure: bool,
    #[command(flatten)]
    options: BuildOptions,
}

/// Runs `foundry host add`.
pub async fn add(mut args: AddArgs, global: &Global) -> CliResult {
    if args.interactive {
        ask(&mut args, global)?;
    }
    let mut file = ConfigFile::open(global)?;
    let adding = Adding::begin(&args, &file)?;
    adding.register(&mut file, global).await?;
    if args.no_configure {
        say(&format!(
            "next: `foundry host configure {}` makes its base",
            args.hostname
        ));
        return Ok(());
    }
    configure(&[args.hostname], false, &args.options, global).await
}

/// Asks at the terminal for what no flag gives.
fn ask(args: &mut AddArgs, global: &Global) -> CliResult {
    if !someone_there(global.yes) {
        return Err(CliError::usage("there is no terminal to ask at")
            .hint("give --address, --user and --role in place of --interactive"));
    }
    let term = console::Term::stderr();
    let line = |prompt: &str, default: &str| {
        Input::<String>::new()
            .with_prompt(asked(prompt))
            .default(terminal::shown(default).into_owned())
            .show_default(!default.is_empty())
            .allow_empty(true)
            .interact_text_on(&term)
            .map(|typed| typed.trim().to_owned())
            .map_err(CliError::failed)
    };
    let given = |typed: String| Some(typed).filter(|typed| !typed.is_empty());
    if args.address.is_none() {
        let typed = line("Address", &args.hostname)?;
        args.address = given(typed).filter(|typed| *typed != args.hostname);
    }
    if args.user.is_none() {
        args.user = given(line("SSH user (empty: as ~/.ssh/config says)", "")?);
    }
    if args.jump.is_none() {
        args.jump = given(line("Jump host (empty: none)", "")?);
    }
    if args.roles.is_empty() {
        let typed = line("Roles, separated by commas", "")?;
        let roles = typed.split(',').map(str::trim);
        args.roles = roles
            .filter(|role| !role.is_empty())
            .map(str::to_owned)
            .collect();
    }
    Ok(())
}

/// The config as it is on the disk, and how to change it.
pub(super) struct ConfigFile {
    home: Home,
    path: PathBuf,
    pub stack: Stack,
}

impl ConfigFile {
    pub fn open(global: &Global) -> Result<Self, CliError> {
        let home = Home::from_env()?;
        if global.config.as_deref() == Some("-") {
            return Err(CliError::usage(
                "a config on standard input can't be changed",
            ));
        }
        let path = home.select(global.config.as_deref())?;
        let stack = home.load_path(&path)?;
        Ok(Self { home, path, stack })
    }

    /// Reads a changed text as the config in its place would be read.
    pub fn read(&self, text: &str) -> Result<Stack, CliError> {
        let source = Arc::new(Source {
            name: self.stack.source.name.clone(),
            text: text.to_owned(),
        });
        let mut stack = config::parse(&source)?;
        let base = self.path.parent().unwrap_or(Path::new("."));
        stack.resolve_paths(self.home.user(), base);
        Ok(stack)
    }

    /// Puts the changed text in the file's place, whole, with the mode it had; refuses if somebody else changed the file
    /// meanwhile.
    pub fn write(&mut self, text: &str) -> CliResult {
        let stack = self.read(text)?;
        // Where a link points to, not the link.
        let path = std::fs::canonicalize(&self.path)?;
        if std::fs::read_to_string(&path)? != self.stack.source.text {
            return Err(CliError::failed(format!(
                "{} was changed meanwhile, and is left as it is",
                self.stack.source.name
            ))
            .hint("run the same command again"));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let mode = std::fs::metadata(&path)?.permissions();
        let mut file = tempfile::Builder::new()
            .prefix(".foundry-")
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()?;
        self.stack = stack;
        Ok(())
    }
}

/// One host on its way into the stack.
struct Adding<'a> {
    args: &'a AddArgs,
    /// The config with the host in it; `None` if it has been there before.
    text: Option<String>,
    /// What that text says.
    stack: Stack,
    id: HostId,
    /// Where the host's own key is, or will be.
    own: PathBuf,
}

impl<'a> Adding<'a> {
    /// Finds out what there is to do. Connects to nothing.
    fn begin(args: &'a AddArgs, file: &ConfigFile) -> Result<Self, CliError> {
        let name = &args.hostname;
        let there = file.stack.hosts.iter().any(|host| *host.name == **name);
        let entry = HostEntry {
            hostname: name.clone(),
            address: args.address.clone(),
            port: args.port,
            user: args.user.clone(),
            roles: args.roles.clone(),
            jump: args.jump.clone(),
            host_key: args.host_key.clone(),
        };
        let text = if there {
            None
        } else {
            Some(add_host(&file.stack.source, &entry)?)
        };
        let stack = match &text {
            Some(text) => file.read(text)?,
            None => file.stack.clone(),
        };
        let id = find(&stack, name)?;
        let own = std::path::absolute(file.home.dir().join("keys").join(name))?;
        if there {
            taken_up(args, file, id, &own)?;
        }
        Ok(Self {
            args,
            text,
            stack,
            id,
            own,
        })
    }

    async fn register(&self, file: &mut ConfigFile, global: &Global) -> CliResult {
        let name = &self.args.hostname;
        let host = self.stack.host(self.id);
        let settled = host.identity.as_ref() == Some(&self.own) && self.own.exists();
        if self.text.is_none() && settled {
            match self.prove(file, &self.stack).await {
                Ok(()) => {
                    return Err(CliError::usage(format!(
                        "host `{name}` is there already ({}:{}), and its key works",
                        file.stack.source.name, host.span.line
                    ))
                    .hint(format!(
                        "`foundry host configure {name}` makes its base again"
                    )));
                }
                // Its key is not installed, or no longer: that is mended below.
                Err(error) if error.kind == AccessKind::Auth => {}
                Err(error) => return Err(error.into()),
            }
        }
        let person = Arc::new(Person {
            terminal: TerminalPrompts::if_someone_there(global.yes, None),
            host: name.as_str().into(),
            state: Mutex::default(),
        });
        let fleet = self.log_in(file, &person).await;
        let offered = person.state().key.clone();
        if let Some(text) = &self.text
            && (fleet.is_ok() || offered.is_some())
        {
            file.write(text)?;
            say(&format!("registered in {}", file.stack.source.name));
        }
        if let Some(key) = offered {
            let pinned = set_host_field(&file.stack.source, name, "host_key", &key)?;
            file.write(&pinned)?;
            say("its host key is pinned there");
        }
        let fleet = Arc::new(fleet?);
        self.give_key(file, &fleet).await?;
        fleet.close();
        self.keep(global).await
    }

    /// Logs in by a key if one is taken, else by the password.
    async fn log_in(&self, file: &ConfigFile, person: &Arc<Person>) -> Result<Fleet, CliError> {
        let mut settings = AccessSettings::new(file.home.dir());
        if person.terminal.is_some() {
            settings.prompts = Some(person.clone());
            settings.host_keys = HostKeys::Ask;
        }
        let mut stack = self.stack.clone();
        let host = &mut stack.hosts[self.id.0 as usize];
        match &self.args.identity {
            Some(identity) => host.identity = Some(std::path::absolute(identity)?),
            // Installed, perhaps, by an add that was cut off.
            None if self.own.exists() => host.identity = Some(self.own.clone()),
            None => {}
        }
        let stack = Arc::new(stack);
        let fleet = Fleet::new(stack.clone(), settings.clone());
        let user = fleet.user(self.id)?;
        match fleet.reader(self.id).await {
            Ok(_) => {
                say(&format!("logged in as {user} with a key"));
                return Ok(fleet);
            }
            Err(error) if error.kind == AccessKind::Auth && person.terminal.is_some() => {}
            Err(error) => return Err(self.explained(error)),
        }
        // Hosts count refused keys as failed attempts, and an agent may hold many: now for the password alone.
        settings.agent = None;
        settings.default_keys.clear();
        person.state().may_type = true;
        let fleet = Fleet::new(stack, settings);
        fleet
            .reader(self.id)
            .await
            .map_err(|error| self.explained(error))?;
        say(&format!("logged in as {user} with the password"));
        Ok(fleet)
    }

    /// Adds what this command takes to what the error suggests.
    fn explained(&self, error: AccessError) -> CliError {
        let kind = error.kind;
        let name = &self.args.hostname;
        let mut shown = CliError::from(error);
        let more = match kind {
            AccessKind::HostKey if self.args.host_key.is_none() && self.text.is_some() => {
                "here: give the key with `--host-key 'ssh-ed25519 AAAA…'`".to_owned()
            }
            AccessKind::Auth => format!(
                "here: name a key that gets in with `--identity FILE`, or run `foundry host add {name}` at a terminal and type the password"
            ),
            _ => return shown,
        };
        shown.hint = Some(match shown.hint {
            Some(hint) => format!("{hint};\n      {more}"),
            None => more,
        });
        shown
    }

    /// Makes the host's own key, lets it in, and writes it into the config once it is known to work.
    async fn give_key(&self, file: &mut ConfigFile, fleet: &Arc<Fleet>) -> CliResult {
        let name = &self.args.hostname;
        let shown = file.home.shown(&self.own);
        let user = fleet.user(self.id)?;
        let public = self.key_pair(&file.stack.name)?;
        let run = draw_run(jiff::Timestamp::now());
        let journals = Journals::new(Arc::new(self.stack.clone()), &run, Vec::new());
        let fleet: Arc<dyn Writers> = fleet.clone();
        let entering = Entering::new(fleet, Arc::new(journals), Deed::command("host add"));
        let writer = entering.writer(self.id).await?;
        install_key(&*writer, &self.stack.host(self.id).name, &user, &public).await?;
        say(&format!("its own key is {shown}, installed for {user}"));
        let text = set_host_field(&file.stack.source, name, "identity", &shown)?;
        let stack = file.read(&text)?;
        self.prove(file, &stack).await.map_err(|error| {
            CliError::from(error).hint(format!(
                "the key was installed, and the host does not take it: look at sshd's log there \
                 (`journalctl -u ssh`), then run `foundry host add {name}` again"
            ))
        })?;
        file.write(&text)?;
        say("a new connection logged in with it; it is the host's `identity` now");
        Ok(())
    }

    /// Returns the public half of the host's own key, having made the pair if there was none.
    fn key_pair(&self, stack: &str) -> Result<String, CliError> {
        let beside = self
            .own
            .with_file_name(format!("{}.pub", self.args.hostname));
        if self.own.exists() && beside.exists() {
            return Ok(std::fs::read_to_string(&beside)?);
        }
        let comment = format!("foundry {} {stack}", self.args.hostname);
        let (secret_half, public) = generate_key(&comment).map_err(CliError::failed)?;
        // The public half first: where there is a private one, both are there.
        private::write(&beside, format!("{public}\n").as_bytes())?;
        private::write(&self.own, secret_half.expose().as_bytes())?;
        Ok(public)
    }

    /// Makes a new connection that can log in with the host's own key only.
    async fn prove(&self, file: &ConfigFile, stack: &Stack) -> Result<(), AccessError> {
        let mut settings = AccessSettings::new(file.home.dir());
        settings.proving = Some(stack.host(self.id).name.clone());
        let fleet = Fleet::new(Arc::new(stack.clone()), settings);
        fleet.reader(self.id).await?;
        fleet.close();
        Ok(())
    }

    /// Stores the private key in the stack's OpenBAO too, if that is up.
    async fn keep(&self, global: &Global) -> CliResult {
        // Nobody is asked for other hosts' passwords here.
        let quiet = Global {
            yes: true,
            ..global.clone()
        };
        // Whether the rest of the config goes with the catalog is for what builds it to say.
        let Ok(session) = Session::open(&quiet) else {
            return Ok(());
        };
        let wired = Wired::new(&session, &quiet, None, None)?;
        let Some(store) = &wired.store else {
            return Ok(());
        };
        let key = Secret::new(private::read(&self.own)?);
        let path = format!("{KEYS_PATH}/{}", self.args.hostname);
        let kept = store.write(&path, KEYS_FIELD, &key).await;
        wired.fleet.close();
        match kept {
            Ok(()) => say(&format!("the key is in OpenBAO too: {path}")),
            Err(StoreError::NotUp(_)) => {
                say("the stack's OpenBAO is not up: the key is on this machine alone");
            }
            Err(error) => warn(&format!(
                "the key is on this machine alone; {path} could not be written: {error}"
            )),
        }
        Ok(())
    }
}

/// Refuses to go on with a host that was registered otherwise than by an add that was cut off.
fn taken_up(args: &AddArgs, file: &ConfigFile, id: HostId, own: &Path) -> CliResult {
    let host = file.stack.host(id);
    let name = &args.hostname;
    let place = format!("{}:{}", file.stack.source.name, host.span.line);
    if host.local {
        return Err(CliError::usage(format!(
            "host `{name}` ({place}) is this machine itself, and needs no key"
        ))
        .hint(format!("`foundry host configure {name}` makes its base")));
    }
    let named = own_field(&file.stack.source, name, "identity")?;
    if let Some(named) = named
        && host.identity.as_deref() != Some(own)
    {
        return Err(CliError::usage(format!(
            "host `{name}` is there already ({place}), with the key {named}"
        ))
        .hint(format!(
            "`foundry host configure {name}` makes its base; to have it get a key of its own, remove `identity` there"
        )));
    }
    let same = |given: bool, is: bool| !given || is;
    let agree = same(
        args.address.is_some(),
        args.address.as_deref() == Some(&host.address),
    ) && same(args.port.is_some(), args.port == host.port)
        && same(args.user.is_some(), args.user == host.user)
        && same(args.jump.is_some(), args.jump == host.jump)
        && same(args.host_key.is_some(), args.host_key == host.host_key)
        && args.roles.iter().all(|role| host.roles.contains(role));
    if agree {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "host `{name}` is there already ({place}), and not as given here"
    ))
    .hint(format!(
        "change its entry there; `foundry host add {name}` alone goes on with it as it is"
    )))
}

impl From<EditError> for CliError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Before(problems) => problems.into(),
            EditError::Astray { .. } | EditError::Section { .. } => Self::usage(error)
                .hint("nothing was changed; correct what was given, or write the entry by hand"),
            _ => Self::usage(error),
        }
    }
}

/// The person at the terminal: what they said is used for this one host, and its password typed once.
struct Person {
    terminal: Option<Arc<dyn Prompts>>,
    host: Arc<str>,
    state: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    /// Whether it is time for the password.
    may_type: bool,
    password: Option<Secret<String>>,
    /// The host's key that they said yes to.
    key: Option<String>,
}

impl Person {
    fn state(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prompts for Person {
    fn password<'a>(&'a self, wanted: &'a PasswordWanted) -> BoxFuture<'a, Option<Secret<String>>> {
        Box::pin(async move {
            let terminal = self.terminal.as_ref()?;
            if wanted.host != self.host {
                return terminal.password(wanted).await;
            }
            match wanted.what {
                Password::Login if !self.state().may_type => None,
                Password::Login => {
                    let typed = terminal.password(wanted).await;
                    self.state().password.clone_from(&typed);
                    typed
                }
                // sudo wants the password of the same user.
                Password::Sudo => {
                    let typed = self.state().password.clone();
                    match typed {
                        Some(typed) => Some(typed),
                        None => terminal.password(wanted).await,
                    }
                }
                Password::Passphrase(_) => terminal.password(wanted).await,
            }
        })
    }

    fn trust_host_key<'a>(&'a self, offered: &'a OfferedKey) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(terminal) = &self.terminal else {
                return false;
            };
            let trusted = terminal.trust_host_key(offered).await;
            if trusted && offered.host == self.host {
                self.state().key = Some(offered.line.clone());
            }
            trusted
        })
    }
}
