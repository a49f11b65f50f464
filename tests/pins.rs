//! `stack.pins` as a person meets it: written from a real web server and a real container registry, held to by builds and bundles,
//! and what is tampered with refused by name. Connects to no host.

#![expect(clippy::print_stderr, reason = "a log shows what was printed")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

#[path = "support/registry.rs"]
mod registry;

use registry::{Registry, registry};

const CRDS: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: helper }\nspec:\n  containers:\n    - image: reg.example/team/helper:1\n";

const RECIPE: &str = r#"
summary = "A component that downloads one of each kind"
role    = "web"

[settings]
version = { type = "version", default = "1.0.0", doc = "Which." }

[images]
web = "docker.io/library/web:1"

[artifacts.tool]
url       = "https://up.example/{{ version }}/tool-{{ arch }}"
checksums = "https://up.example/{{ version }}/sums"

[steps.tool]
uses = "artifact"
on   = "hosts"
with = { name = "tool", version = "{{ settings.version }}", url = "{{ artifacts.tool.url }}", sha256 = "{{ artifacts.tool.sha256 }}", checksums = "{{ artifacts.tool.checksums }}" }

[steps.crds]
uses = "manifest-url"
on   = "service:cluster"
with = { url = "https://up.example/crds.yaml", sha256 = "CRDS" }

[steps.chart]
uses = "helm-chart"
on   = "service:cluster"
with = { name = "web", namespace = "web", chart = "web", repo = "https://charts.example/stable", version = "1.2.0" }

[steps.oci]
uses = "helm-chart"
on   = "service:cluster"
with = { name = "oci", namespace = "web", chart = "oci://reg.example/charts/oci", version = "0.1.0" }

[steps.objects]
uses = "manifest"
on   = "service:cluster"
with = { objects = "- image: web:1\n" }
"#;

/// A Foundry home with a stack, upstream's web server and a registry.
struct Rig {
    folder: tempfile::TempDir,
    registry: Registry,
    web: MockServer,
    /// How often upstream's web server was asked for anything.
    asked: Arc<AtomicUsize>,
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Rig {
    async fn new() -> Option<Self> {
        let registry = registry(false).await?;
        registry
            .image("library/web", "1", &["amd64", "arm64"], "web")
            .await;
        registry
            .image("team/helper", "1", &["amd64", "arm64"], "helper")
            .await;
        registry
            .chart("charts/oci", "0.1.0", b"a chart in a registry")
            .await;
        let folder = tempfile::tempdir().unwrap();
        let web = MockServer::start().await;
        let asked = Arc::new(AtomicUsize::new(0));
        let (root, counted) = (folder.path().join("upstream"), asked.clone());
        Mock::given(matchers::any())
            .respond_with(move |request: &Request| {
                counted.fetch_add(1, Ordering::Relaxed);
                let file = root.join(request.url.path().trim_start_matches('/'));
                match std::fs::read(file) {
                    Ok(bytes) => ResponseTemplate::new(200).set_body_bytes(bytes),
                    Err(_) => ResponseTemplate::new(404),
                }
            })
            .mount(&web)
            .await;
        let rig = Self {
            folder,
            registry,
            web,
            asked,
        };
        let recipe = RECIPE.replace("CRDS", &sha256(CRDS));
        rig.write("home/recipes/web/recipe.toml", &recipe);
        rig.release("1.0.0");
        rig.write("upstream/crds.yaml", CRDS);
        rig.write("upstream/stable/web-1.2.0.tgz", "a chart");
        rig.write(
            "upstream/stable/index.yaml",
            &format!(
                "apiVersion: v1\nentries:\n  web:\n  - {{ name: web, version: 1.2.0, urls: [web-1.2.0.tgz], digest: {} }}\n",
                sha256("a chart")
            ),
        );
        rig.config("1.0.0");
        Some(rig)
    }

    /// Publishes a release of the tool, with its checksums.
    fn release(&self, version: &str) {
        let mut sums = String::new();
        for arch in ["amd64", "arm64"] {
            let text = format!("tool {version} for {arch}");
            self.write(&format!("upstream/{version}/tool-{arch}"), &text);
            sums += &format!("{}  tool-{arch}\n", sha256(text));
        }
        self.write(&format!("upstream/{version}/sums"), &sums);
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pins(&self) -> String {
        std::fs::read_to_string(self.at("stack.pins")).unwrap()
    }

    fn config(&self, version: &str) {
        let (at, web) = (&self.registry.at, self.web.uri());
        self.write(
            "stack.yaml",
            &format!(
                "cluster: {{ name: lab, nodes: [{{ hostname: n1, address: 127.0.0.1, port: 9, role: control-plane }}] }}
hosts: [{{ hostname: w1, address: 127.0.0.1, port: 9, role: web }}]
components: {{ k3s: {{}}, web: {{ version: {version} }} }}
mirrors:
  - {{ prefix: 'https://registry-1.docker.io/', url: 'http://{at}/' }}
  - {{ prefix: 'https://reg.example/', url: 'http://{at}/' }}
  - {{ prefix: 'https://charts.example/', url: '{web}/' }}
  - {{ prefix: 'https://up.example/', url: '{web}/' }}
"
            ),
        );
    }

    /// Runs `foundry` and returns its exit code and what it printed.
    fn foundry(&self, args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry"));
        for ci in ["CI", "GITHUB_ACTIONS", "GITLAB_CI", "FOUNDRY_PINNED"] {
            command.env_remove(ci);
        }
        let output = command
            .arg("--config")
            .arg(self.at("stack.yaml"))
            .args(args)
            .env("FOUNDRY_HOME", self.at("home"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("DOCKER_CONFIG", self.at("docker"))
            .env("NO_COLOR", "1")
            .envs(env.iter().copied())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let code = output.status.code().unwrap();
        eprintln!("foundry {}: {code}\n{text}", args.join(" "));
        (code, text)
    }

    fn ok(&self, args: &[&str]) -> String {
        let (code, text) = self.foundry(args, &[]);
        assert_eq!(code, 0, "{text}");
        text
    }

    /// Runs it, which must fail and say all of `wanted`.
    fn refused(&self, args: &[&str], wanted: &[&str]) {
        let (code, text) = self.foundry(args, &[]);
        assert_ne!(code, 0, "{text}");
        contains(&text, wanted);
    }

    /// Forgets what was downloaded.
    fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.at("cache"));
    }
}

#[track_caller]
fn contains(text: &str, wanted: &[&str]) {
    // Errors may be folded for a terminal's width.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in wanted {
        assert!(flat.contains(words), "no `{words}` in\n{text}");
    }
}

fn write_over(path: &Path, text: &str) {
    assert!(path.exists(), "{}", path.display());
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_written_kept_moved_and_dropped() {
    let Some(rig) = Rig::new().await else { return };
    // What would be written, and what has not been yet.
    let (code, said) = rig.foundry(&["stack", "pin", "web", "--dry-run"], &[]);
    assert_eq!(code, 2, "{said}");
    contains(&said, &["7 added", "(not written)"]);
    assert!(!rig.at("stack.pins").exists());

    let said = rig.ok(&["stack", "pin", "web"]);
    contains(
        &said,
        &[
            "+ artifact tool 1.0.0 amd64",
            "+ artifact tool 1.0.0 arm64",
            "(checksums)",
            "+ chart oci://reg.example/charts/oci 0.1.0",
            "+ chart web 1.2.0",
            "(index)",
            "+ manifest https://up.example/crds.yaml",
            "+ image docker.io/library/web:1",
            "+ image reg.example/team/helper:1",
            "(registry)",
            "7 added, 0 changed, 0 removed, 0 unchanged",
        ],
    );
    let written = rig.pins();
    for digest in [
        sha256("tool 1.0.0 for arm64"),
        sha256("a chart"),
        sha256("a chart in a registry"),
        sha256(CRDS),
    ] {
        assert!(written.contains(&digest), "{written}");
    }
    assert!(
        written.contains("url     = \"https://charts.example/stable/web-1.2.0.tgz\""),
        "{written}"
    );

    // Nothing to do: nobody is asked, and not a byte is another one. A header of one's own stays.
    write_over(&rig.at("stack.pins"), &format!("# Ours.\n{written}"));
    let before = rig.asked.load(Ordering::Relaxed);
    contains(&rig.ok(&["stack", "pin", "web"]), &["7 unchanged"]);
    assert_eq!(rig.asked.load(Ordering::Relaxed), before);
    assert_eq!(rig.pins(), format!("# Ours.\n{written}"));
    // All asked anew, and still the same.
    contains(
        &rig.ok(&["stack", "pin", "web", "--update"]),
        &["7 unchanged"],
    );
    assert!(rig.asked.load(Ordering::Relaxed) > before);

    // Another release: its entries come, those of the one before go.
    rig.release("1.1.0");
    rig.config("1.1.0");
    let said = rig.ok(&["stack", "pin", "web", "--output", "json"]);
    let json = &said[said.find('{').unwrap()..=said.rfind('}').unwrap()];
    let json: Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["added"][0]["what"], "artifact tool 1.1.0 amd64");
    assert_eq!(json["added"][0]["moved_from"], "1.0.0");
    assert_eq!(json["removed"].as_array().unwrap().len(), 2);
    assert_eq!((&json["kept"], &json["written"]), (&5.into(), &true.into()));
    let after = rig.pins();
    assert!(after.starts_with("# Ours.\n") && !after.contains("1.0.0/tool"));

    // What can't be had is named, and the file stays as it was.
    rig.config("9.9.9");
    rig.refused(
        &["stack", "pin", "web"],
        &[
            "was not written, 2 of what the stack downloads can't be had",
            "artifact tool 9.9.9 amd64:",
            "404",
        ],
    );
    assert_eq!(rig.pins(), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_digest_for_the_same_version_is_an_alarm_until_it_is_accepted() {
    let Some(rig) = Rig::new().await else { return };
    rig.ok(&["stack", "pin", "web"]);
    let before = rig.pins();
    // Upstream publishes other files under the same names, with fitting checksums, index and tag.
    let index = rig.at("upstream/stable/index.yaml");
    let text = std::fs::read_to_string(&index).unwrap();
    write_over(&index, &text.replace(&sha256("a chart"), &sha256("evil")));
    write_over(&rig.at("upstream/stable/web-1.2.0.tgz"), "evil");
    let sums = rig.at("upstream/1.0.0/sums");
    let text = std::fs::read_to_string(&sums).unwrap();
    let good = sha256("tool 1.0.0 for amd64");
    write_over(&sums, &text.replace(&good, &sha256("evil tool")));
    let moved = rig
        .registry
        .image("library/web", "1", &["amd64", "arm64"], "evil")
        .await;
    let found = format!("found {}", &moved["sha256:".len()..]);
    rig.refused(
        &["stack", "pin", "web", "--update"],
        &[
            "was not written. The same version has another digest now:",
            "artifact tool 1.0.0 amd64",
            &format!("pinned {good}"),
            &format!("found {}", sha256("evil tool")),
            "chart web 1.2.0",
            "image docker.io/library/web:1",
            &found,
            "foundry stack pin --accept docker.io/library/web:1 --accept tool --accept web",
        ],
    );
    assert_eq!(rig.pins(), before);
    // One accepted is not all accepted; and nothing is accepted that there is not.
    rig.refused(
        &["stack", "pin", "web", "--update", "--accept", "web"],
        &["artifact tool 1.0.0 amd64", "image docker.io/library/web:1"],
    );
    rig.refused(
        &["stack", "pin", "web", "--accept", "wbe"],
        &["nothing that the stack downloads is called `wbe`"],
    );
    let said = rig.ok(&["stack", "pin", "web", "--accept", "web"]);
    contains(&said, &["~ chart web 1.2.0", "(accepted)", "1 changed"]);
    assert!(rig.pins().contains(&sha256("evil")) && rig.pins().contains(&good));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tampered_with_is_refused_by_name_whatever_the_kind() {
    let Some(rig) = Rig::new().await else { return };
    rig.ok(&["stack", "pin", "web"]);
    let create = |images: bool| {
        rig.forget();
        let mut args = vec!["bundle", "create", "x.tar", "web"];
        if !images {
            args.push("--without-images");
        }
        args
    };
    // Images that a manifest names are asked for by their digests, too.
    contains(
        &rig.ok(&create(true)),
        &[
            "docker.io/library/web:1@sha256:",
            "reg.example/team/helper:1@sha256:",
        ],
    );

    let artifact = rig.at("upstream/1.0.0/tool-amd64");
    let good = std::fs::read_to_string(&artifact).unwrap();
    write_over(&artifact, "evil");
    // A checksum file that fits the evil file does not help it.
    let sums = rig.at("upstream/1.0.0/sums");
    let text = std::fs::read_to_string(&sums).unwrap();
    write_over(&sums, &text.replace(&sha256(&good), &sha256("evil")));
    rig.refused(
        &create(false),
        &[
            "web:tool:",
            "/1.0.0/tool-amd64 has sha256",
            &format!("has sha256 {}, wanted {}", sha256("evil"), sha256(&good)),
        ],
    );
    write_over(&artifact, &good);

    let chart = rig.at("upstream/stable/web-1.2.0.tgz");
    write_over(&chart, "evil chart");
    rig.refused(
        &create(false),
        &[
            "web:chart:",
            "web-1.2.0.tgz has sha256",
            &sha256("evil chart"),
            &sha256("a chart"),
        ],
    );
    write_over(&chart, "a chart");

    let manifest = rig.at("upstream/crds.yaml");
    write_over(&manifest, "kind: Evil\n");
    rig.refused(
        &create(false),
        &[
            "web:crds:",
            "crds.yaml has sha256",
            &sha256("kind: Evil\n"),
            &sha256(CRDS),
        ],
    );
    write_over(&manifest, CRDS);

    // A tag that moved is of no consequence: the image is asked for by its digest, which the registry still has.
    rig.registry
        .image("library/web", "1", &["amd64", "arm64"], "moved")
        .await;
    rig.ok(&create(true));
    // A pin of an image that the registry does not have.
    let pinned = rig.pins();
    let at = pinned
        .find("name    = \"docker.io/library/web:1\"")
        .unwrap();
    let digest = pinned[at..].find("sha256:").unwrap() + at + "sha256:".len();
    let mut other = pinned.clone();
    other.replace_range(digest..digest + 64, &"ab".repeat(32));
    write_over(&rig.at("stack.pins"), &other);
    rig.refused(
        &create(true),
        &[
            "docker.io/library/web:1@sha256:abab",
            "the tag `1` is sha256:",
            "pinned is sha256:abab",
            "foundry stack pin --update --accept",
        ],
    );
    write_over(&rig.at("stack.pins"), &pinned);
    // Bytes of an image that are others than its digest says.
    rig.registry
        .damage(&format!("sha256:{}", &pinned[digest..digest + 64]));
    rig.refused(&create(true), &["docker.io/library/web:1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_builds_refuse_what_is_not_in_the_file_and_others_name_it_once() {
    let Some(rig) = Rig::new().await else { return };
    let build = ["build", "web", "--dry-run"];
    let ci = [("CI", "true")];
    let (code, said) = rig.foundry(&build, &ci);
    assert_eq!(code, 3, "{said}");
    contains(
        &said,
        &[
            "6 downloads, and no ",
            "stack.pins (`--pinned`, the default in CI); nothing was touched:",
            "artifact tool 1.0.0 amd64 (web:tool)",
            "chart web 1.2.0 (web:chart)",
            "manifest https://up.example/crds.yaml (web:crds)",
            "image docker.io/library/web:1 (web, web:objects)",
            "`foundry stack pin`",
        ],
    );
    let is_refused = |said: &str| said.contains("the default in CI");
    assert!(!is_refused(&rig.foundry(&build, &[]).1));
    let (_, said) = rig.foundry(&["build", "web", "--dry-run", "--no-pinned"], &ci);
    assert!(!is_refused(&said));
    let (_, said) = rig.foundry(&build, &[("CI", "true"), ("FOUNDRY_PINNED", "false")]);
    assert!(!is_refused(&said));
    // A run says once what nothing pins.
    let (_, said) = rig.foundry(&["build", "web", "--yes"], &[]);
    let open = "by a recipe: 2 artifacts, 2 charts, 1 image; `foundry stack pin`";
    contains(&said, &[open]);
    assert_eq!(said.matches("`foundry stack pin`").count(), 1, "{said}");

    rig.ok(&["stack", "pin", "web"]);
    assert!(!is_refused(&rig.foundry(&build, &ci).1));
    let (_, said) = rig.foundry(&["build", "web", "--yes", "--pinned"], &[]);
    assert!(!is_refused(&said) && !said.contains("stack pin"), "{said}");
    // Everything else of the stack is not pinned yet.
    let (code, said) = rig.foundry(&["build", "stack", "--dry-run", "--pinned"], &[]);
    assert_eq!(code, 3, "{said}");
    contains(
        &said,
        &[
            "2 downloads not in ",
            "artifact k3s 1.36.3+k3s1 amd64 (k3s:artifact)",
        ],
    );
    assert!(!said.contains("artifact tool"), "{said}");
    // A version that moved since.
    rig.config("1.1.0");
    rig.release("1.1.0");
    let (code, said) = rig.foundry(&build, &ci);
    assert_eq!(code, 3, "{said}");
    contains(
        &said,
        &["artifact tool 1.1.0 amd64 (web:tool); there it is 1.0.0"],
    );
}
