//! What a recipe file says, parsed and checked. Does not know hosts or settings of any stack.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::rollout::Rollout;
use super::task::{Template, ValueType};
use super::value::Value;
use super::written::Written;

/// Defines a component.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Component name: the folder's.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Components that this one needs as a whole before its first step (rare; prefer a step's `needs`).
    pub needs: Vec<String>,
    /// Roles whose hosts it runs on when the config names no hosts (one of them will do); `*` is every host. The first
    /// is that of the hosts that lead.
    pub roles: Vec<String>,
    /// Whether it may do without hosts: it says so, or has no role and no step on hosts of its own.
    pub hostless: bool,
    /// Top-level config section merged under the component's settings (`observability.prometheus`). A stack that has the
    /// section has the component.
    pub section: Option<String>,
    /// Whether every stack has it without naming it (`base`).
    pub always: bool,
    /// Typed, documented settings, in the order written.
    pub settings: IndexMap<String, SettingSpec>,
    /// Downloads.
    pub artifacts: IndexMap<String, Artifact>,
    /// Container images that its workloads run, in the order written.
    pub images: IndexMap<String, Images>,
    /// Named limits on steps that run at once.
    pub pools: BTreeMap<String, u32>,
    /// Steps by name, in the order written (which orders nothing).
    pub steps: IndexMap<String, RecipeStep>,
    /// Services (`service:<name>`) that the component's hosts provide, for its own steps and those of others.
    pub provides: Vec<Provided>,
    /// What must or should hold of the stack's settings and hosts.
    pub checks: IndexMap<String, StackCheck>,
    /// Ports that it opens to other machines, by name.
    pub listeners: IndexMap<String, Listener>,
    /// Steps whose being satisfied means that the component is healthy.
    pub health: Vec<String>,
    /// How it moves over its hosts; without one, over all at once.
    pub rollout: Option<Rollout>,
    /// Files beside the recipe that `file()` renders, by relative name.
    pub files: BTreeMap<String, String>,
    /// The file it was read from, for errors that point into it.
    pub written: Arc<Written>,
}

/// A service that a component provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// Its name, as in `service:<name>`.
    pub service: String,
    /// Only those of the component's hosts that have this role provide it; `None`: all do.
    pub role: Option<String>,
}

/// Ports on which something that the component runs is reached by other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port numbers, or ranges of them (`8000-8010`).
    pub ports: Vec<String>,
    /// Whether it speaks TLS (or what protects as much, such as WireGuard).
    pub tls: bool,
    /// Why it may listen in the clear.
    pub clear: Option<String>,
}

/// A condition on a stack's settings and hosts that types can't say.
#[derive(Debug, Clone)]
pub struct StackCheck {
    /// The words are said if it evaluates to true.
    pub when: Template,
    /// What is wrong: a template over `settings`, `stack`, `hosts` and `components`.
    pub say: Template,
    /// What to do about it.
    pub help: Option<Template>,
    /// Whether it is refused, or only warned of.
    pub refuse: bool,
    /// The setting that it is about, for the place in the config.
    pub setting: Option<String>,
}

/// One setting of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its type.
    pub kind: ValueType,
    /// Taken when the config gives none.
    pub default: Option<Value>,
    /// Whether the config must give it.
    pub required: bool,
    /// Whether its value is secret.
    pub secret: bool,
    /// What it is for: goes into the schema and the reference.
    pub doc: String,
    /// Fields, for a map with known keys (`storage: {backend, size}`).
    pub fields: IndexMap<String, SettingSpec>,
    /// Values that parse but can't be had, with the reason to show (`consul` for OpenBAO).
    pub refuse: BTreeMap<String, String>,
}

/// A download, by version and architecture.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Which version to get; the setting `version` unless written.
    pub version: Option<Template>,
    /// URL template over `version`, `arch` and `settings`.
    pub url: Template,
    /// URL template of the release's own checksum file, for versions that `sha256` does not pin.
    pub checksums: Option<Template>,
    /// Pinned SHA-256 of the download in hex, by `version/arch`.
    pub sha256: BTreeMap<String, String>,
}

/// Container images that come and go together.
#[derive(Debug, Clone)]
pub struct Images {
    /// References: each a template that gives one, or a list of them.
    pub image: Vec<Template>,
    /// Left out unless it evaluates to true.
    pub when: Option<Template>,
}

/// One step as a recipe writes it.
#[derive(Debug, Clone, Default)]
pub struct RecipeStep {
    /// Task name.
    pub uses: String,
    /// Where it runs.
    pub on: OnTarget,
    /// Inputs: values whose texts are templates over `settings`, `host`, `hosts`, `stack`, `artifacts`, `item`, `steps`.
    pub with: IndexMap<String, Value>,
    /// Labels that must be done before: `step`, `component:step`, `component:step@*`. Order only. With a `?` at the
    /// end it needs the step only where the stack has that component.
    pub needs: Vec<String>,
    /// As `needs`, and if one of these ran, this step is probed afresh and decided again.
    pub watch: Vec<String>,
    /// Left out unless it evaluates to true.
    pub when: Option<Template>,
    /// One step per item of this list.
    pub for_each: Option<Template>,
    /// Name of a pool of this recipe (or `component:pool`).
    pub pool: Option<String>,
    /// The step on the first of its hosts comes before those on the others.
    pub lead: bool,
}

/// Where a recipe's step runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnTarget {
    /// Once on each host of the component.
    #[default]
    Hosts,
    /// Once on each host of the component that has the role.
    HostsOf(String),
    /// Once on each host of the stack that has the role.
    Role(String),
    /// Once, over all hosts of the component together (or those that have the role): its probe asks each, its apply
    /// decides where to act.
    Group(Option<String>),
    /// Once, on an API that a component's hosts provide (`bao`).
    Service(String),
}
