//! The user's side of the disk: `FOUNDRY_HOME` and what lies in it, `~/.foundryvars`, and the config that is meant.
//! Reads and names; does not print and does not know what configs mean.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::catalog::AllProblems;
use crate::config::{self, Choice, Chosen, Pins, Problems, SelectError, Source, Stack};
use crate::secret::{BadVars, Secret, Vars, private};

/// Where the user keeps configs, tasks, recipes and credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
    user: PathBuf,
    vars: PathBuf,
    config: Option<String>,
}

/// Why nothing could be read from there.
#[derive(Debug, Error)]
pub enum HomeError {
    /// Neither `FOUNDRY_HOME` nor a home directory.
    #[error("there is no home directory; set FOUNDRY_HOME to a folder for configs and credentials")]
    NoHome,
    /// No config, or no single one.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The config, or the recipes that it uses, have mistakes; `config::render` draws each file's.
    #[error("{0}")]
    Problems(#[from] AllProblems),
    /// `~/.foundryvars` has mistakes.
    #[error(transparent)]
    Vars(#[from] BadVars),
    /// A file or folder can't be read or written.
    #[error("can't {what} {path}: {error}")]
    Io {
        /// `read`, `write`, …
        what: &'static str,
        /// The path as the person knows it.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The command asks for what can't be.
    #[error("{0}")]
    Usage(String),
}

impl From<Problems> for HomeError {
    fn from(problems: Problems) -> Self {
        let mut all = AllProblems::default();
        all.extend(problems);
        Self::Problems(all)
    }
}

/// `~/.foundryvars` as read.
#[derive(Debug, Default)]
pub struct LoadedVars {
    /// The values; none if there is no such file.
    pub vars: Vars,
    /// The file's name as the person knows it.
    pub name: String,
    /// What the person should know about the file.
    pub warning: Option<String>,
}

impl Home {
    /// Finds the folders from `FOUNDRY_HOME`, `FOUNDRY_VARS`, `FOUNDRY_CONFIG` and the user's home directory.
    ///
    /// # Errors
    /// If there is neither `FOUNDRY_HOME` nor a home directory.
    pub fn from_env() -> Result<Self, HomeError> {
        Self::find(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn find(
        env: impl Fn(&str) -> Option<std::ffi::OsString>,
        user: Option<PathBuf>,
    ) -> Result<Self, HomeError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let user = user.filter(|user| !user.as_os_str().is_empty());
        let dir = match (set("FOUNDRY_HOME"), &user) {
            (Some(dir), _) => PathBuf::from(dir),
            (None, Some(user)) => user.join(".foundry"),
            (None, None) => return Err(HomeError::NoHome),
        };
        let user = user.unwrap_or_else(|| dir.clone());
        Ok(Self {
            vars: set("FOUNDRY_VARS").map_or_else(|| user.join(".foundryvars"), PathBuf::from),
            config: set("FOUNDRY_CONFIG").map(|value| value.to_string_lossy().into_owned()),
            dir,
            user,
        })
    }

    /// Returns the folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder of the user's own tasks.
    #[must_use]
    pub fn tasks(&self) -> PathBuf {
        self.dir.join("tasks")
    }

    /// Returns the folder of the user's own recipes.
    #[must_use]
    pub fn recipes(&self) -> PathBuf {
        self.dir.join("recipes")
    }

    /// Returns the file of host keys that Foundry trusts.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// Returns the folder of credentials where there is no keyring.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.dir.join("credentials")
    }

    /// Returns the folder of the logs of runs, in the user's cache directory.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .filter(|value| !value.is_empty())
            .map_or_else(|| self.user.join(".cache"), PathBuf::from);
        cache.join("foundry/runs")
    }

    /// Returns the user's home directory.
    #[must_use]
    pub fn user(&self) -> &Path {
        &self.user
    }

    /// Returns a path as people know it: `~` for the home directory.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.user) {
            Ok(rest) if !rest.as_os_str().is_empty() => {
                Path::new("~").join(rest).display().to_string()
            }
            _ => path.display().to_string(),
        }
    }

    /// Returns the names of all configs in the folder, sorted; none if there is no folder.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn configs(&self) -> Result<Vec<String>, HomeError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.io("read", &self.dir, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|error| self.io("read", &self.dir, error))?
                .path();
            let yaml = path
                .extension()
                .is_some_and(|ext| ext == "yaml" || ext == "yml");
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if let Some(name) = path.file_name().and_then(OsStr::to_str)
                && yaml
                && !hidden
                && path.is_file()
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the path of the config that is meant: by `flag` (`--config`), by `FOUNDRY_CONFIG`, or because it is the only one.
    ///
    /// # Errors
    /// If none is meant, or the one that is meant is not there.
    pub fn select(&self, flag: Option<&str>) -> Result<PathBuf, HomeError> {
        let files = self.configs()?;
        let choice = Choice {
            flag,
            env: self.config.as_deref(),
            files: &files,
            home: &self.shown(&self.dir),
        };
        Ok(
            match config::select(choice, |path| Path::new(path).is_file())? {
                Chosen::Path(path) => path,
                Chosen::InHome(name) => self.dir.join(name),
            },
        )
    }

    /// Reads and checks the config that is meant; `-` is standard input.
    ///
    /// # Errors
    /// If there is none, it can't be read, or it has mistakes.
    pub fn load(&self, flag: Option<&str>) -> Result<Stack, HomeError> {
        if flag == Some("-") {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| self.io("read", Path::new("<stdin>"), error))?;
            let source = Source {
                name: "<stdin>".to_owned(),
                text,
            };
            return self.parse(source, &PathBuf::from("./stack.yaml"));
        }
        self.load_path(&self.select(flag)?)
    }

    /// Reads and checks the config at a path.
    ///
    /// # Errors
    /// If it can't be read or has mistakes.
    pub fn load_path(&self, path: &Path) -> Result<Stack, HomeError> {
        let text = std::fs::read_to_string(path).map_err(|error| self.io("read", path, error))?;
        let source = Source {
            name: self.shown(path),
            text,
        };
        self.parse(source, path)
    }

    /// Reads and checks the text of the config at a path, and the pins beside it.
    fn parse(&self, source: Source, path: &Path) -> Result<Stack, HomeError> {
        let mut stack = config::parse(&Arc::new(source))?;
        stack.resolve_paths(&self.user, path.parent().unwrap_or(Path::new(".")));
        stack.pins = Arc::new(self.pins(&path.with_extension("pins"))?);
        Ok(stack)
    }

    fn pins(&self, path: &Path) -> Result<Pins, HomeError> {
        let name = self.shown(path);
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Pins::parse(Source { name, text })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Pins::none(&name)),
            Err(error) => Err(self.io("read", path, error)),
        }
    }

    /// Returns the path of the pins that belong to the config that is meant.
    ///
    /// # Errors
    /// If none is meant, or the one that is meant is not there.
    pub fn pins_path(&self, flag: Option<&str>) -> Result<PathBuf, HomeError> {
        Ok(match flag {
            Some("-") => PathBuf::from("./stack.pins"),
            _ => self.select(flag)?.with_extension("pins"),
        })
    }

    /// Puts a value into `~/.foundryvars`, in place of one of that name; the file is the user's alone. Returns the file's name.
    ///
    /// # Errors
    /// If the value has several lines, which the file can't hold, or the file can't be written.
    pub fn set_var(&self, name: &str, value: &Secret<String>) -> Result<String, HomeError> {
        let shown = self.shown(&self.vars);
        if value.expose().contains(['\n', '\r']) {
            return Err(HomeError::Usage(format!(
                "the value of {name} has several lines, which {shown} can't hold"
            )));
        }
        let failed = |error: std::io::Error| HomeError::Io {
            what: "write",
            path: shown.clone(),
            error,
        };
        let before = match std::fs::read_to_string(&self.vars) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Zeroizing::default(),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Zeroizing::new(String::with_capacity(
            before.len() + value.expose().len() + 128,
        ));
        let is_it = |line: &str| {
            line.split_once('=')
                .is_some_and(|(known, _)| known.trim() == name)
        };
        for line in before.lines().filter(|line| !is_it(line)) {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value.expose());
        text.push('\n');
        let folder = self.vars.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Made for its owner alone.
        let mut file = tempfile::Builder::new()
            .prefix(".foundryvars-")
            .tempfile_in(folder)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.vars)
            .map_err(|error| failed(error.error))?;
        Ok(shown)
    }

    /// Reads `~/.foundryvars`.
    ///
    /// # Errors
    /// If it can't be read or has lines that are wrong.
    pub fn vars(&self) -> Result<LoadedVars, HomeError> {
        let name = self.shown(&self.vars);
        let text = match std::fs::read_to_string(&self.vars) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(LoadedVars {
                    name,
                    ..LoadedVars::default()
                });
            }
            Err(error) => return Err(self.io("read", &self.vars, error)),
        };
        Ok(LoadedVars {
            vars: Vars::parse(&name, &text)?,
            warning: private::exposed(&self.vars).map(|_| {
                format!("others can read {name}; `chmod 600 {name}` keeps its secrets yours")
            }),
            name,
        })
    }

    /// Writes a new file into the folder, which is made if need be.
    ///
    /// # Errors
    /// If the file is there already (with [`io::ErrorKind::AlreadyExists`]), or can't be written.
    pub fn create(&self, name: &str, text: &str) -> Result<PathBuf, HomeError> {
        self.make_dir()?;
        let path = self.dir.join(name);
        let written =
            std::fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| self.io("write", &path, error))?;
        Ok(path)
    }

    /// Writes a file that Foundry generates into the folder, over an older one.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn replace(&self, name: &str, text: &str) -> Result<PathBuf, HomeError> {
        self.make_dir()?;
        let path = self.dir.join(name);
        let written = tempfile::NamedTempFile::new_in(&self.dir).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|error| self.io("write", &path, error))?;
        Ok(path)
    }

    fn make_dir(&self) -> Result<(), HomeError> {
        private::create_dir(&self.dir).map_err(|error| self.io("make", &self.dir, error))
    }

    fn io(&self, what: &'static str, path: &Path, error: io::Error) -> HomeError {
        HomeError::Io {
            what,
            path: self.shown(path),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path, env: &[(&str, &str)]) -> Home {
        let find = |name: &str| {
            let set = env.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| std::ffi::OsString::from(value))
        };
        Home::find(find, Some(dir.to_owned())).unwrap()
    }

    #[test]
    fn the_environment_moves_the_folders() {
        let home = home(
            Path::new("/home/u"),
            &[("FOUNDRY_HOME", "/srv/f"), ("FOUNDRY_VARS", "/srv/v")],
        );
        assert_eq!(home.dir(), Path::new("/srv/f"));
        assert_eq!(home.vars, Path::new("/srv/v"));
        assert_eq!(home.shown(Path::new("/home/u/x/y")), "~/x/y");
        assert_eq!(home.shown(Path::new("/srv/f")), "/srv/f");
        assert!(matches!(Home::find(|_| None, None), Err(HomeError::NoHome)));
    }

    #[test]
    fn only_yaml_files_are_configs() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path(), &[]);
        assert_eq!(home.configs().unwrap(), Vec::<String>::new());
        for name in ["prod.yaml", "a.yml", ".hidden.yaml", "notes.txt"] {
            home.create(name, "cluster: { name: x }\n").unwrap();
        }
        std::fs::create_dir(home.dir().join("folder.yaml")).unwrap();
        assert_eq!(home.configs().unwrap(), ["a.yml", "prod.yaml"]);
        assert!(matches!(
            home.select(None),
            Err(HomeError::Select(SelectError::Several { .. }))
        ));
        assert_eq!(
            home.select(Some("prod")).unwrap(),
            home.dir().join("prod.yaml")
        );
        let again = home.create("prod.yaml", "").unwrap_err().to_string();
        assert!(
            again.starts_with("can't write ~/.foundry/prod.yaml: "),
            "{again}"
        );
    }

    #[test]
    fn keys_are_found_from_home_and_from_the_config() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path(), &[]);
        let path = home
            .create(
                "s.yaml",
                "cluster: { name: x }\nhosts: [{ hostname: a, identity: ~/.ssh/k }, { hostname: b, identity: k }]\n",
            )
            .unwrap();
        let stack = home.load_path(&path).unwrap();
        let keys: Vec<_> = stack
            .hosts
            .iter()
            .map(|host| host.identity.clone().unwrap())
            .collect();
        assert_eq!(keys, [dir.path().join(".ssh/k"), home.dir().join("k")]);
    }

    #[cfg(unix)]
    #[test]
    fn vars_that_others_can_read_are_warned_of() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path(), &[]);
        assert!(home.vars().unwrap().vars.is_empty());
        let path = dir.path().join(".foundryvars");
        std::fs::write(&path, "foundry/x:y=z\n").unwrap();
        for (mode, warned) in [(0o600, false), (0o644, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let loaded = home.vars().unwrap();
            assert_eq!(loaded.vars.len(), 1);
            assert_eq!(loaded.warning.is_some(), warned, "{mode:o}");
        }
    }
}
