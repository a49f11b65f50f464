//! A made-up stack of many hosts of one kind: config text and a recipe over the tasks that Foundry comes with, so that
//! everything goes in by the product's own front door. Knows no host that lives.

use foundry::catalog::Files;

/// How large the stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Hosts, 10,000 at most: what a config may have.
    pub hosts: usize,
    /// Steps on each, ten at least; gathering points are not counted.
    pub steps: usize,
}

/// How the hosts are reached, where they are.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Port of every host.
    pub port: u16,
    /// Private key file.
    pub identity: String,
    /// Host key, one for all.
    pub host_key: String,
}

/// The component of all hosts.
pub const COMPONENT: &str = "fleet";

/// Steps that are there once on each host, whatever the shape.
const ONCE: usize = 6;

const RECIPE: &str = r#"
summary = "What a host of a large fleet has"
role    = "worker"
health  = ["service"]

[settings]
packages    = { type = ["string"], default = ["ca-certificates", "curl", "procps"], doc = "Packages." }
directories = { type = ["string"], default = [], doc = "Directories under /srv/fleet." }
files       = { type = ["string"], default = [], doc = "Files in the first of them." }
lines       = { type = ["string"], default = [], doc = "Settings in /etc/fleet.conf." }
links       = { type = ["string"], default = [], doc = "Links to the first file." }
workers     = { type = "int", default = 8, doc = "How many workers each host has." }

[steps.packages]
uses = "apt-packages"
with = { names = "{{ settings.packages }}" }

[steps.directory]
uses     = "directory"
for_each = "{{ settings.directories }}"
with     = { path = "/srv/fleet/{{ item }}", mode = "0750" }

[steps.file]
uses     = "file"
for_each = "{{ settings.files }}"
with     = { path = "/srv/fleet/{{ settings.directories[0] }}/{{ item }}", content = "{{ file('app.conf') }}" }
needs    = ["directory"]

[steps.line]
uses     = "line"
for_each = "{{ settings.lines }}"
with     = { path = "/etc/fleet.conf", line = "{{ item }} = {{ settings.workers }}" }

[steps.link]
uses     = "symlink"
for_each = "{{ settings.links }}"
with     = { path = "/srv/fleet/{{ settings.directories[0] }}/{{ item }}.current", to = "{{ settings.files[0] }}" }
needs    = ["file"]

# These two are of each host's own.
[steps.motd]
uses = "file"
with = { path = "/etc/motd", content = "Welcome to {{ host.name }} of {{ stack.name }}\n" }

[steps.identity]
uses  = "file"
with  = { path = "/etc/fleet.id", content = "{{ file('identity') }}" }
needs = ["packages"]

[steps.initialized]
uses  = "command"
with  = { command = "touch /srv/fleet/initialized", creates = "/srv/fleet/initialized" }
needs = ["directory"]

[steps.unit]
uses  = "systemd-unit"
with  = { unit = "fleet.service", content = "{{ file('fleet.service') }}" }
needs = ["packages"]

[steps.service]
uses  = "service"
with  = { unit = "fleet.service", restart_on = ["{{ steps.unit.path }}", "/etc/fleet.conf"] }
needs = ["file", "line", "identity", "initialized"]
watch = ["unit"]
"#;

const FILES: [(&str, &str); 3] = [
    (
        "app.conf",
        "[app]\nname = {{ item }}\nworkers = {{ settings.workers }}\n\
         {% for n in range(12) %}\nkey_{{ n }} = value number {{ n }} of the application's settings\n{% endfor %}\n",
    ),
    (
        "identity",
        "name = {{ host.name }}\naddress = {{ host.address }}\nstack = {{ stack.name }}\n",
    ),
    (
        "fleet.service",
        "[Unit]\nDescription=Fleet\n\n[Service]\nExecStart=/usr/bin/true\n\n[Install]\nWantedBy=multi-user.target\n",
    ),
];

/// Returns the files of the component, by path within a catalog.
pub fn recipe() -> Vec<(String, &'static str)> {
    let folder = format!("recipes/{COMPONENT}");
    std::iter::once((format!("{folder}/recipe.toml"), RECIPE))
        .chain(FILES.map(|(name, text)| (format!("{folder}/{name}"), text)))
        .collect()
}

/// Returns Foundry's own tasks with this one recipe.
pub fn files() -> Files {
    let mut files = Files::embedded();
    files.recipes.clear();
    for (path, text) in recipe() {
        files.add("", &path, text);
    }
    files
}

/// Returns the config of such a stack.
pub fn config(shape: Shape, access: &Access) -> String {
    let Shape { hosts, steps } = shape;
    assert!(
        (1..=10_000).contains(&hosts) && steps >= ONCE + 4,
        "{shape:?}"
    );
    let lists = steps - ONCE;
    let [directories, lines, links] = [lists / 10, lists / 8, lists / 10].map(|count| count.max(1));
    let files = lists - directories - lines - links;
    let list = |name: &str, word: &str, count: usize| {
        let items: Vec<String> = (0..count).map(|n| format!("{word}{n:02}")).collect();
        format!("    {name}: [{}]\n", items.join(", "))
    };
    let pinned = if access.host_key.is_empty() {
        String::new()
    } else {
        format!(", host_key: \"{}\"", access.host_key)
    };
    let ssh = if access.port == 0 {
        String::new()
    } else {
        format!(
            "ssh: {{ user: root, port: {}, identity: {} }}\n",
            access.port, access.identity
        )
    };
    format!(
        "cluster: {{ name: fleet, domain: example.com }}\n{ssh}hosts:\n  \
         - {{ hostname: \"node[00001-{hosts:05}]\", address: 127.1.0.1, role: worker{pinned} }}\n\
         components:\n  {COMPONENT}:\n{}{}{}{}",
        list("directories", "dir", directories),
        list("files", "app", files),
        list("lines", "setting", lines),
        list("links", "link", links),
    )
}
