//! What the templates of a recipe see: settings, hosts, artifacts, outputs of steps, files. Values to come are
//! placeholders whose numbers index [`Shared::symbols`]. Does not know what becomes of a template's value.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use indexmap::IndexSet;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value as Jinja};

use crate::catalog::{
    Format, ImageRef, Piece, Placeholder, Purpose, Recipe, Task, Template, Value, check_pieces,
    evaluate_for, pinned_image, split_placeholders,
};
use crate::config::{Host, HostId, Pins, suggest_help};
use crate::secret::SecretRef;

/// A value to come, before it is known which host's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    /// A secret.
    Secret(SecretRef),
    /// An output of a recipe's step, by number of its [`super::expand::Block`].
    Output(usize, String),
}

/// A recipe's step as others refer to it.
#[derive(Debug)]
pub(super) struct Provider {
    pub block: usize,
    pub task: Option<Arc<Task>>,
}

/// What all components have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// `stack`.
    pub stack: Jinja,
    /// Every host of the stack, as templates see it.
    pub hosts: Vec<Jinja>,
    /// `components`, once per purpose.
    pub components: [Jinja; 2],
    /// Steps by `component:step`.
    pub steps: HashMap<String, Provider>,
    /// `images`, once they are known: those of all components.
    pub images: OnceLock<Jinja>,
    /// Digests that the stack pins.
    pub pins: Arc<Pins>,
    /// Values to come, by the number of their placeholders.
    pub symbols: Mutex<IndexSet<Symbol>>,
    /// Why the last evaluation failed, where the template engine could not say it.
    pub noted: Mutex<Option<String>>,
}

impl Shared {
    /// Returns the placeholder of a value to come.
    pub fn placeholder(&self, symbol: Symbol) -> Placeholder {
        let mut symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        Placeholder(u32::try_from(symbols.insert_full(symbol).0).unwrap_or(u32::MAX))
    }

    /// Returns what a placeholder stands for.
    pub fn symbol(&self, placeholder: Placeholder) -> Option<Symbol> {
        let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        symbols.get_index(placeholder.0 as usize).cloned()
    }

    fn note(&self, message: String) {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    /// Takes the reason of the last failure.
    pub fn take_note(&self) -> Option<String> {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// What all steps of one component have in common.
#[derive(Debug)]
pub(super) struct Base {
    pub shared: Arc<Shared>,
    pub recipe: Arc<Recipe>,
    /// `settings`, once per purpose.
    pub settings: [Jinja; 2],
    /// `hosts`.
    pub hosts: Arc<Vec<Jinja>>,
    /// Where a host stands in `hosts`.
    pub position: HashMap<HostId, usize>,
    /// `artifacts`.
    pub artifacts: Jinja,
    /// `versions`.
    pub versions: Jinja,
}

/// The variables of one evaluation.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub base: Arc<Base>,
    pub host: Option<HostId>,
    pub item: Option<Jinja>,
    pub purpose: Purpose,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        let base = &self.base;
        Some(match key {
            "settings" => base.settings[self.purpose as usize].clone(),
            "stack" => base.shared.stack.clone(),
            "host" => base.shared.hosts.get(self.host?.0 as usize)?.clone(),
            "hosts" => Jinja::from_dyn_object(base.hosts.clone()),
            "others" => Jinja::from_object(Others {
                hosts: base.hosts.clone(),
                skip: base.position.get(&self.host?).copied(),
            }),
            "components" => base.shared.components[self.purpose as usize].clone(),
            "artifacts" => base.artifacts.clone(),
            "versions" => base.versions.clone(),
            "images" => base.shared.images.get()?.clone(),
            "item" => self.item.clone()?,
            "steps" => Jinja::from_object(Steps(self.clone())),
            "file" | "file_raw" => Jinja::from_object(File {
                scope: self.clone(),
                raw: key == "file_raw",
            }),
            "pinned" => pinned(base, Pinned::Whole),
            "pinned_tag" => pinned(base, Pinned::Tag),
            "pinned_digest" => pinned(base, Pinned::Digest),
            _ => return None,
        })
    }
}

/// All hosts of the component but one.
#[derive(Debug)]
struct Others {
    hosts: Arc<Vec<Jinja>>,
    skip: Option<usize>,
}

impl Object for Others {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let index = key.as_usize()?;
        let index = index + usize::from(self.skip.is_some_and(|skip| index >= skip));
        self.hosts.get(index).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.hosts.len() - usize::from(self.skip.is_some()))
    }
}

/// `steps`, and `steps.<step>`.
#[derive(Debug)]
struct Steps(Arc<Scope>);

#[derive(Debug)]
struct StepOutputs {
    scope: Arc<Scope>,
    name: String,
}

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let key = key.as_str()?;
        let base = &self.0.base;
        let name = if key.contains(':') {
            key.to_owned()
        } else {
            format!("{}:{key}", base.recipe.name)
        };
        if !base.shared.steps.contains_key(&name) {
            let own = base.recipe.steps.keys().map(String::as_str);
            let help = suggest_help(key, own)
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            base.shared.note(format!("there is no step `{key}`{help}"));
            return None;
        }
        Some(Jinja::from_object(StepOutputs {
            scope: self.0.clone(),
            name,
        }))
    }
}

impl Object for StepOutputs {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let key = key.as_str()?;
        let shared = &self.scope.base.shared;
        let provider = shared.steps.get(&self.name)?;
        let task = provider.task.as_ref()?;
        if !task.outputs.contains_key(key) {
            let help = suggest_help(key, task.outputs.keys().map(String::as_str))
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            shared.note(format!(
                "step `{}` has no output `{key}`: its task `{}` declares no such{help}",
                self.name, task.name
            ));
            return None;
        }
        Some(match self.scope.purpose {
            Purpose::Value => shared
                .placeholder(Symbol::Output(provider.block, key.to_owned()))
                .into_jinja(),
            Purpose::Check => Jinja::UNDEFINED,
        })
    }
}

/// `file(name)`: a file of the recipe, rendered over the same variables; `file_raw(name)`: as it is.
#[derive(Debug)]
struct File {
    scope: Arc<Scope>,
    raw: bool,
}

impl Object for File {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Jinja]) -> Result<Jinja, Error> {
        let (name,): (&str,) = minijinja::value::from_args(args)?;
        let files = &self.scope.base.recipe.files;
        let Some(text) = files.get(name) else {
            let help = suggest_help(name, files.keys().map(String::as_str))
                .map(|h| format!(" ({h})"))
                .unwrap_or_default();
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!(
                    "recipe `{}` has no file `{name}`{help}",
                    self.scope.base.recipe.name
                ),
            ));
        };
        if self.raw {
            return Ok(Jinja::from(text.as_str()));
        }
        let context = Jinja::from_dyn_object(self.scope.clone());
        let rendered = evaluate_for(self.scope.purpose, &Template(text.clone()), &context)
            .map_err(|error| {
                let line = error
                    .line
                    .map(|line| format!(":{line}"))
                    .unwrap_or_default();
                Error::new(
                    ErrorKind::InvalidOperation,
                    format!("{name}{line}: {error}"),
                )
            })?;
        // A file is text even where it is one expression.
        let rendered = if rendered.as_str().is_some() {
            rendered
        } else {
            Jinja::from(rendered.to_string())
        };
        if let (Purpose::Value, Some(format), Some(text)) =
            (self.scope.purpose, Format::of_path(name), rendered.as_str())
        {
            let wrong =
                |message| Error::new(ErrorKind::InvalidOperation, format!("{name}: {message}"));
            let pieces = split_placeholders(text).map_err(wrong)?;
            check_pieces(format, &pieces).map_err(|misplaced| {
                let message = format!("{} ({})", misplaced.message, misplaced.hint);
                wrong(message)
            })?;
        }
        Ok(rendered)
    }
}

/// Which part of an image's name is given, with the digest that the stack pins.
#[derive(Debug, Clone, Copy)]
enum Pinned {
    /// `pinned(image)`: all of it.
    Whole,
    /// `pinned_tag(image)`: what comes after the repository's colon, `1.2` or `1.2@sha256:…`.
    Tag,
    /// `pinned_digest(image)`: `sha256:…`, or nothing.
    Digest,
}

#[derive(Debug)]
struct PinnedImage {
    pins: Arc<Pins>,
    part: Pinned,
}

fn pinned(base: &Base, part: Pinned) -> Jinja {
    Jinja::from_object(PinnedImage {
        pins: base.shared.pins.clone(),
        part,
    })
}

impl Object for PinnedImage {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Jinja]) -> Result<Jinja, Error> {
        let (written,): (&str,) = minijinja::value::from_args(args)?;
        let whole = pinned_image(written, &self.pins);
        let Ok(image) = ImageRef::parse(&whole) else {
            // What is no image is said where images are listed.
            return Ok(Jinja::from(written));
        };
        Ok(Jinja::from(match self.part {
            Pinned::Whole => whole,
            Pinned::Tag => match (image.tag, image.digest) {
                (Some(tag), Some(digest)) => format!("{tag}@{digest}"),
                (tag, _) => tag.unwrap_or_default(),
            },
            Pinned::Digest => image.digest.unwrap_or_default(),
        }))
    }
}

/// Returns a host as templates see it.
pub(super) fn host(host: &Host) -> Jinja {
    let labels = host
        .labels
        .iter()
        .map(|(key, value)| (Jinja::from(key.as_str()), Jinja::from(value.as_str())));
    let roles: Jinja = host
        .roles
        .iter()
        .map(|role| Jinja::from(role.as_str()))
        .collect();
    table([
        ("name", Jinja::from(host.name.as_ref())),
        ("address", Jinja::from(host.address.as_str())),
        ("roles", roles),
        ("labels", Jinja::from_pairs(labels)),
    ])
}

/// Returns a table of the template language.
pub(super) fn table<const N: usize>(entries: [(&str, Jinja); N]) -> Jinja {
    Jinja::from_pairs(
        entries
            .into_iter()
            .map(|(key, value)| (Jinja::from(key), value)),
    )
}

/// Returns a setting as templates see it for a purpose: texts with values to come in them are placeholders, or
/// nothing at all.
pub(super) fn setting(value: &Value, purpose: Purpose) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(b) => Jinja::from(*b),
        Value::Int(n) => Jinja::from(*n),
        Value::Text(text) => match split_placeholders(text).as_deref() {
            Ok([] | [Piece::Literal(_)]) => Jinja::from(text.as_str()),
            _ if purpose == Purpose::Check => Jinja::UNDEFINED,
            Ok([Piece::Placeholder(placeholder)]) => placeholder.into_jinja(),
            _ => Jinja::from(text.as_str()),
        },
        // A config holds no secrets, only references.
        Value::Secret(_) => Jinja::UNDEFINED,
        Value::List(items) => items.iter().map(|item| setting(item, purpose)).collect(),
        Value::Map(entries) => Jinja::from_pairs(
            entries
                .iter()
                .map(|(key, value)| (Jinja::from(key.as_str()), setting(value, purpose))),
        ),
    }
}
