//! `foundry bundle` as a person runs it, against a real container registry and a chart repository: made, verified, loaded, and
//! read back with nothing but the folder left.

#![expect(clippy::print_stderr, reason = "a log shows what was printed")]

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry::catalog::{ImageRef, Value, Values};
use foundry::config::{Mirror, MirrorDigests};
use foundry::target::artifact::{Platform, Registry as Reading};
use foundry::target::cluster::chart;

#[path = "support/registry.rs"]
mod registry;

use registry::{Registry, registry};

const RECIPE: &str = r#"
summary = "A component that runs images and has charts"
hostless = true
health   = ["chart"]

[settings]
more = { type = "bool", default = false, doc = "Whether there is one more image." }

[images]
web  = ["docker.io/library/web:1", "reg.example/team/side:2"]
more = { image = "reg.example/team/more:3", when = "{{ settings.more }}" }

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
with = { objects = "{{ file('objects.yaml') }}" }
"#;

const OBJECTS: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: job }\nspec:\n  containers:\n    - image: web:1\n";

/// A Foundry home with a stack, a registry and a chart repository.
struct Rig {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Rig {
    async fn new() -> Option<Self> {
        let registry = registry(false).await?;
        for (repository, tag) in [("library/web", "1"), ("team/side", "2"), ("team/more", "3")] {
            let archs = ["amd64", "arm64"];
            registry.image(repository, tag, &archs, repository).await;
        }
        registry
            .chart("charts/oci", "0.1.0", b"a chart in a registry")
            .await;
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            registry,
        };
        rig.write("home/recipes/web/recipe.toml", RECIPE);
        rig.write("home/recipes/web/objects.yaml", OBJECTS);
        rig.write("charts/web-1.2.0.tgz", "a chart");
        rig.write(
            "charts/index.yaml",
            "apiVersion: v1\nentries:\n  web:\n  - { name: web, version: 1.2.0, urls: [web-1.2.0.tgz] }\n  other:\n  - { name: other, version: 1.0.0, urls: [x] }\n",
        );
        rig.config(false);
        Some(rig)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn config(&self, more: bool) {
        let (at, charts) = (&self.registry.at, self.at("charts"));
        let text = format!(
            "cluster: {{ name: lab, nodes: [{{ hostname: n1, role: control-plane }}] }}
components: {{ k3s: {{}}, web: {{ more: {more} }} }}
mirrors:
  - {{ prefix: 'https://registry-1.docker.io/', url: 'http://{at}/' }}
  - {{ prefix: 'https://reg.example/', url: 'http://{at}/' }}
  - {{ prefix: 'https://charts.example/stable/', url: 'file://{}/' }}
",
            charts.display()
        );
        self.write("stack.yaml", &text);
    }

    /// Runs `foundry bundle` and returns whether it went well and what it printed.
    fn bundle(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_foundry"))
            .arg("--config")
            .arg(self.at("stack.yaml"))
            .arg("bundle")
            .args(args)
            .env("FOUNDRY_HOME", self.at("home"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("DOCKER_CONFIG", self.at("docker"))
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        eprintln!("foundry bundle {}\n{text}", args.join(" "));
        (output.status.success(), text)
    }

    fn ok(&self, args: &[&str]) -> String {
        let (ok, text) = self.bundle(args);
        assert!(ok, "{text}");
        text
    }

    fn size(&self, name: &str) -> u64 {
        std::fs::metadata(self.at(name)).unwrap().len()
    }
}

fn loaded(folder: &Path) -> Vec<Mirror> {
    vec![Mirror {
        prefix: "https://".to_owned(),
        url: format!("file://{}/mirror/", folder.display()),
        digests: MirrorDigests::Pinned,
    }]
}

/// What is needed of an image is in the folder: returns the text of its layer.
async fn layer(mirrors: &[Mirror], image: &str, platform: &str) -> Result<String, String> {
    let image = ImageRef::parse(image).unwrap();
    let reading = Reading::new(mirrors);
    let platform: Platform = platform.parse().unwrap();
    let pulled = reading.image(&image, &[platform]).await?;
    let (_, manifest) = &pulled.platforms[0];
    let mut last = PathBuf::new();
    for blob in manifest.blobs() {
        last = reading.blob(&image, blob).await?;
    }
    Ok(std::fs::read_to_string(last).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_and_images_are_carried_over() {
    let Some(rig) = Rig::new().await else { return };
    let web = ["web"];
    let said = rig.ok(&[
        &["create", "one.tar"],
        &web[..],
        &["--platform", "linux/amd64,linux/arm64"],
    ]
    .concat());
    for wanted in [
        "docker.io/library/web:1",
        "reg.example/team/side:2",
        "https://charts.example/stable/web-1.2.0.tgz is pinned by no recipe",
        "linux/amd64 and linux/arm64, ",
        " 2 images",
        "`images: true` of `k3s`",
    ] {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
    assert!(!said.contains("team/more"));
    // The same again, and again from what the cache has: the same bytes.
    std::fs::remove_dir_all(rig.at("cache")).unwrap();
    rig.ok(&[
        &["create", "two.tar"],
        &web[..],
        &["--platform", "linux/amd64,linux/arm64"],
    ]
    .concat());
    assert!(std::fs::read(rig.at("one.tar")).unwrap() == std::fs::read(rig.at("two.tar")).unwrap());
    rig.ok(&["create", "bare.tar", "web", "--without-images"]);
    assert!(rig.ok(&["verify", "bare.tar"]).contains(" 0 images"));

    // A later one has only what is new.
    rig.config(true);
    rig.ok(&[
        "create",
        "later.tar",
        "web",
        "--since",
        "one.tar",
        "--platform",
        "linux/amd64,linux/arm64",
    ]);
    rig.ok(&["verify", "later.tar"]);
    assert!(
        rig.size("later.tar") < rig.size("one.tar"),
        "{}",
        rig.size("later.tar")
    );
    let (ok, said) = rig.bundle(&["load", "later.tar", "alone", "--unsigned"]);
    assert!(
        !ok && said.contains("registry-1.docker.io/v2/library/web/"),
        "{said}"
    );

    rig.ok(&["load", "one.tar", "srv", "--unsigned"]);
    let said = rig.ok(&["load", "later.tar", "srv", "--unsigned"]);
    assert!(said.contains("3 images are ready"), "{said}");

    // Everything else is gone.
    let mirrors = loaded(&rig.at("srv"));
    std::fs::remove_dir_all(rig.at("charts")).unwrap();
    let at = rig.at("srv");
    drop(rig.registry);
    for (image, platform, wanted) in [
        ("web:1", "linux/amd64", "library/web for amd64"),
        ("web:1", "linux/arm64", "library/web for arm64"),
        (
            "reg.example/team/side:2",
            "linux/arm64",
            "team/side for arm64",
        ),
        (
            "reg.example/team/more:3",
            "linux/amd64",
            "team/more for amd64",
        ),
    ] {
        let found = layer(&mirrors, image, platform).await;
        assert_eq!(found.as_deref(), Ok(wanted), "{image}");
    }
    let inputs = |chart: &str, repo: &str, version: &str| -> Values {
        [
            ("chart", chart),
            ("repo", repo),
            ("version", version),
            ("sha256", ""),
        ]
        .map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned())))
        .into_iter()
        .collect()
    };
    for (given, wanted) in [
        (
            inputs("web", "https://charts.example/stable", "1.2.0"),
            "a chart",
        ),
        (
            inputs("oci://reg.example/charts/oci", "", "0.1.0"),
            "a chart in a registry",
        ),
    ] {
        let found = chart::ahead(&given, &mirrors).await.unwrap();
        assert_eq!(std::fs::read_to_string(found.file).unwrap(), wanted);
    }
    // Another client's view of it.
    if let Ok(skopeo) = Command::new("skopeo")
        .args(["inspect", "--raw"])
        .arg(format!(
            "oci:{}:reg.example/team/side:2",
            at.join("oci").display()
        ))
        .output()
    {
        let text = String::from_utf8_lossy(&skopeo.stdout).into_owned();
        assert!(
            skopeo.status.success() && text.contains("arm64"),
            "{skopeo:?}"
        );
    } else {
        eprintln!("SKIPPED in part: there is no `skopeo` to read the layout");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_told_at_once() {
    let Some(rig) = Rig::new().await else { return };
    let recipe = RECIPE
        .replace("team/side:2", "team/gone:9")
        .replace("1.2.0", "7.7.7");
    rig.write("home/recipes/web/recipe.toml", &recipe);
    rig.registry
        .image("library/web", "1", &["arm64"], "only one")
        .await;
    let (ok, said) = rig.bundle(&["create", "one.tar", "web"]);
    assert!(!ok);
    for wanted in [
        "3 of what the stack needs can't be had",
        "docker.io/library/web:1 has nothing for linux/amd64, only for linux/arm64",
        "reg.example/team/gone:9 (web): ",
        "404",
        "has no version 7.7.7 of `web`",
        "--without-images",
    ] {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
    assert!(!rig.at("one.tar").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_another_is_refused() {
    let Some(rig) = Rig::new().await else { return };
    let about = rig
        .registry
        .blob(
            "team/side",
            "application/vnd.oci.image.layer.v1.tar",
            b"team/side for amd64",
        )
        .await;
    rig.registry.damage(about["digest"].as_str().unwrap());
    let (ok, said) = rig.bundle(&["create", "one.tar", "web"]);
    assert!(
        !ok && said.contains("wanted ") && said.contains("reg.example/team/side:2"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_a_login_gets_that_of_docker_s_config() {
    let Some(registry) = registry(true).await else {
        return;
    };
    registry.image("library/web", "1", &["amd64"], "kept").await;
    let rig = Rig {
        folder: tempfile::tempdir().unwrap(),
        registry,
    };
    let recipe = RECIPE
        .split("[steps")
        .next()
        .unwrap()
        .replace("\"reg.example/team/side:2\"", "");
    let recipe = recipe.replace("health   = [\"chart\"]\n", "");
    let objects = "[steps.objects]\nuses = \"manifest\"\non = \"service:cluster\"\nwith = { objects = \"{{ file('objects.yaml') }}\" }\n";
    rig.write(
        "home/recipes/web/recipe.toml",
        &format!("{recipe}{objects}"),
    );
    rig.write("home/recipes/web/objects.yaml", OBJECTS);
    rig.config(false);
    let (ok, said) = rig.bundle(&["create", "one.tar", "web"]);
    assert!(!ok && said.contains("docker login"), "{said}");
    let login = "bWU6aHVudGVyMg==";
    let config = format!(
        "{{ \"auths\": {{ \"{}\": {{ \"auth\": \"{login}\" }} }} }}",
        rig.registry.at
    );
    rig.write("docker/config.json", &config);
    let said = rig.ok(&["create", "one.tar", "web"]);
    assert!(said.contains(" 1 images") && !said.contains("hunter2") && !said.contains(login));
    rig.ok(&["verify", "one.tar"]);
}

/// A chart alone, which takes no registry.
const CHART: &str = r#"
summary = "A component that has a chart"
hostless = true
health   = ["chart"]

[steps.chart]
uses = "helm-chart"
on   = "service:cluster"
with = { name = "web", namespace = "web", chart = "web", repo = "https://charts.example/stable", version = "1.2.0" }
"#;

/// A home with a stack that a bundle can be made of without a server.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| {
            let path = home.at(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("home/recipes/web/recipe.toml", CHART);
        write("charts/web-1.2.0.tgz", "a chart");
        write(
            "charts/index.yaml",
            "apiVersion: v1\nentries:\n  web:\n  - { name: web, version: 1.2.0, urls: [web-1.2.0.tgz] }\n",
        );
        home.config("");
        home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, keys: &str) {
        let text = format!(
            "cluster: {{ name: lab, nodes: [{{ hostname: n1, role: control-plane }}] }}
components: {{ k3s: {{}}, web: {{}} }}
mirrors: [{{ prefix: 'https://charts.example/stable/', url: 'file://{}/' }}]
bundles: {{ trusted_keys: [{keys}] }}
",
            self.at("charts").display()
        );
        std::fs::write(self.at("stack.yaml"), text).unwrap();
    }

    fn run(&self, program: &str, args: &[&str], typed: &str) -> (bool, String) {
        use std::io::Write as _;
        let mut child = Command::new(program)
            .args(args)
            .env("FOUNDRY_CONFIG", self.at("stack.yaml"))
            .env("FOUNDRY_HOME", self.at("home"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("FOUNDRY_SECRET_foundry_bundles_password", "correct horse")
            .env("NO_COLOR", "1")
            .current_dir(self.0.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing has closed it.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        eprintln!("{program} {}\n{text}", args.join(" "));
        (output.status.success(), text)
    }

    fn bundle(&self, args: &[&str]) -> (bool, String) {
        let args = [&["bundle"], args].concat();
        self.run(env!("CARGO_BIN_EXE_foundry"), &args, "")
    }

    fn ok(&self, args: &[&str]) -> String {
        let (ok, text) = self.bundle(args);
        assert!(ok, "{text}");
        text
    }

    fn refused(&self, args: &[&str], wanted: &[&str]) {
        let (ok, text) = self.bundle(args);
        assert!(!ok, "{text}");
        for wanted in wanted {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
    }
}

fn line(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_bundle_is_loaded_if_a_trusted_key_signed_it() {
    let home = Home::new();
    home.ok(&["create", "one.tar", "web", "--without-images"]);
    let load = ["load", "one.tar", "srv"];
    home.refused(&load, &["it is not signed", "bundle sign", "--unsigned"]);
    assert!(!home.at("srv").exists());

    home.refused(&["keygen", "ours"], &["--without-password"]);
    let told = home.ok(&["keygen", "ours", "--without-password"]);
    let key = line(&home.at("ours.pub"));
    assert!(told.contains(&format!("trusted_keys: [{key}]")), "{told}");
    assert!(!told.contains(&line(&home.at("ours"))), "{told}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        let secret = home.at("ours");
        assert_eq!(
            std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&secret, mode(0o644)).unwrap();
        home.refused(
            &["sign", "one.tar", "--sign-key", "ours"],
            &["others can read it"],
        );
        std::fs::set_permissions(&secret, mode(0o600)).unwrap();
    }
    home.refused(
        &["keygen", "ours", "--without-password"],
        &["is there already"],
    );
    home.ok(&["sign", "one.tar", "--sign-key", "ours"]);
    home.refused(&load, &["none that is trusted", "trusted_keys"]);
    assert!(
        home.ok(&["verify", "one.tar"])
            .contains("none that is trusted here")
    );
    let told = home.ok(&["load", "one.tar", "srv", "--trust", "ours.pub"]);
    assert!(told.contains("foundry bundle of stack lab"), "{told}");
    home.config(&key);
    home.ok(&load);
    home.ok(&["keygen", "others", "--without-password"]);
    home.ok(&["sign", "one.tar", "--sign-key", "others"]);
    home.refused(&load, &["none that is trusted"]);
    home.refused(&["verify", "one.tar"], &["none that is trusted"]);
    let told = home.ok(&["load", "one.tar", "srv", "--unsigned"]);
    assert!(told.contains("warning: one.tar is signed by key"), "{told}");

    // With a password that is a secret.
    let password = "secret:bundles:password";
    home.ok(&["keygen", "safe", "--password", password]);
    let create = [
        "create",
        "two.tar",
        "web",
        "--without-images",
        "--sign-key",
        "safe",
    ];
    home.refused(&create, &["protected by a password", "--sign-password"]);
    home.refused(
        &[&create[..], &["--sign-password", "correct horse"]].concat(),
        &["secret:PATH:KEY"],
    );
    home.ok(&[&create[..], &["--sign-password", password]].concat());
    home.ok(&["verify", "two.tar", "--trust", "safe.pub"]);
}

#[test]
fn minisign_agrees_about_signatures_and_keys() {
    let home = Home::new();
    if Command::new("minisign").arg("-v").output().is_err() {
        eprintln!("SKIPPED: there is no `minisign`");
        return;
    }
    let ran = |program: &str, args: &[&str], typed: &str| {
        let (ok, text) = home.run(program, args, typed);
        assert!(ok, "{text}");
        text
    };
    // Signed here, checked there.
    home.ok(&["keygen", "ours", "--without-password"]);
    home.ok(&[
        "create",
        "one.tar",
        "web",
        "--without-images",
        "--sign-key",
        "ours",
    ]);
    ran("tar", &["-xf", "one.tar"], "");
    let told = ran("minisign", &["-Vm", "index.json", "-p", "ours.pub"], "");
    assert!(told.contains("foundry bundle of stack lab"), "{told}");

    // A key from there signs here, with a password and without.
    ran(
        "minisign",
        &["-G", "-W", "-p", "bare.pub", "-s", "bare"],
        "",
    );
    ran(
        "minisign",
        &["-G", "-p", "safe.pub", "-s", "safe"],
        "correct horse\ncorrect horse\n",
    );
    let password = "secret:bundles:password";
    home.ok(&["sign", "one.tar", "--sign-key", "bare"]);
    home.ok(&["verify", "one.tar", "--trust", "bare.pub"]);
    home.ok(&[
        "sign",
        "one.tar",
        "--sign-key",
        "safe",
        "--sign-password",
        password,
    ]);
    home.ok(&["load", "one.tar", "srv", "--trust", "safe.pub"]);
    ran("tar", &["-xf", "one.tar"], "");
    ran("minisign", &["-Vm", "index.json", "-p", "safe.pub"], "");

    // Signed there, checked here.
    std::fs::remove_file(home.at("index.json.minisig")).unwrap();
    ran(
        "minisign",
        &["-S", "-s", "bare", "-m", "index.json", "-t", "by hand"],
        "",
    );
    let packed = [
        "--format=gnu",
        "-cf",
        "two.tar",
        "index.json",
        "index.json.minisig",
    ];
    let blobs: Vec<String> = std::fs::read_dir(home.at("blobs"))
        .unwrap()
        .map(|entry| format!("blobs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    let blobs: Vec<&str> = blobs.iter().map(String::as_str).collect();
    ran("tar", &[&packed[..], &blobs].concat(), "");
    let told = home.ok(&["load", "two.tar", "srv", "--trust", "bare.pub"]);
    assert!(told.contains("by hand"), "{told}");
    std::fs::write(home.at("index.json"), "{}").unwrap();
    ran("tar", &[&packed[..], &blobs].concat(), "");
    home.refused(
        &[
            "load",
            "two.tar",
            "srv",
            "--trust",
            "bare.pub",
            "--unsigned",
        ],
        &["is wrong"],
    );
}
