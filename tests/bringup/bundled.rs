//! A bring-up without internet: what a bundle holds is all that there is.

use std::fs;

use crate::bench::Bench;
use crate::support::{openbao, registry};

/// Bundles the stack's downloads, cuts the host off, and brings it up from the bundle.
pub fn a_bundle_stands_in_for_the_internet(bench: &Bench) {
    let (bundle, folder) = (bench.path("stack.tar"), bench.path("loaded"));
    let (bundle, folder) = (bundle.to_str().unwrap(), folder.to_str().unwrap());

    let created = bench.run(&["bundle", "create", bundle]).ok();
    eprintln!("{}", created.out);
    created.says(&openbao::asset());
    bench.run(&["bundle", "verify", bundle]).ok();
    let loaded = bench
        .run(&["bundle", "load", bundle, folder, "--unsigned"])
        .ok();
    let (_, stanza) = loaded.out.split_once("mirrors:\n").unwrap();

    // Debian's packages are no part of a bundle.
    bench.build(&["base"]).ok();
    bench.lab.ssh(0, "sudo ip route del default");
    let path = bench.lab.config();
    let text = fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("mirrors:\n").unwrap();
    fs::write(&path, format!("{before}mirrors:\n{stanza}")).unwrap();

    let built = bench.build_stack();
    eprintln!(
        "from a bundle: {:.1} s, {} steps ran",
        built.took.as_secs_f64(),
        built.summary()["counts"]["ran"]
    );
    assert!(
        built
            .steps("ran")
            .contains(&format!("openbao:artifact@{}", bench.host(0)))
    );
    bench.run(&["stack", "status"]).ok().says("healthy");

    // A second bundle has nothing new.
    let later = bench.path("later.tar");
    let later = later.to_str().unwrap();
    bench
        .run(&["bundle", "create", later, "--since", bundle])
        .ok()
        .says("earlier");
    assert!(fs::metadata(later).unwrap().len() < 64 << 10);
    bench
        .run(&["bundle", "load", later, folder, "--unsigned"])
        .ok();
}

const IMAGES: &str = r#"
summary = "Images on hosts"
role    = "*"
health  = ["image"]
[images]
web = "reg.example/team/web:1"
[steps.image]
uses     = "image"
on       = "hosts"
for_each = "{{ images }}"
with     = { image = "{{ item }}", path = "/var/lib/images/web.tar" }
"#;

/// Bundles an image of a real registry, takes the registry away, and puts the image on a host that is cut off.
pub fn images_get_on_hosts_that_reach_no_registry(bench: &Bench) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(registry) = runtime.block_on(registry::registry(false)) else {
        return;
    };
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let list = runtime.block_on(registry.image("team/web", "1", &[arch, "s390x"], "a layer"));
    let recipe = bench.lab.home().join("recipes/staged/recipe.toml");
    fs::create_dir_all(recipe.parent().unwrap()).unwrap();
    fs::write(&recipe, IMAGES).unwrap();
    let path = bench.lab.config();
    let before = fs::read_to_string(&path).unwrap();
    let (hosts, _) = before.split_once("components:\n").unwrap();
    let config = |url: &str| {
        let mirror = format!("mirrors:\n  - {{ prefix: 'https://reg.example/', url: '{url}' }}\n");
        fs::write(
            &path,
            format!("{hosts}components:\n  staged: {{}}\n{mirror}"),
        )
        .unwrap();
    };
    config(&format!("http://{}/", registry.at));
    let (bundle, folder) = (bench.path("images.tar"), bench.path("images"));
    let (bundle, folder) = (bundle.to_str().unwrap(), folder.to_str().unwrap());
    let platform = format!("linux/{arch}");
    let args = [
        "bundle",
        "create",
        bundle,
        "staged",
        "--platform",
        &platform,
    ];
    bench.run(&args).ok().says("reg.example/team/web:1");
    drop(registry);
    fs::remove_dir_all(bench.cache()).unwrap();
    bench
        .run(&["bundle", "load", bundle, folder, "--unsigned"])
        .ok()
        .says("1 images are ready");
    config(&format!("file://{folder}/mirror/reg.example/"));

    let label = format!("staged:image[reg.example/team/web:1]@{}", bench.host(0));
    assert_eq!(
        bench.build(&["staged"]).ok().steps("ran"),
        std::slice::from_ref(&label)
    );
    let on_host = |command: &str| bench.lab.ssh(0, command);
    let held = on_host("sudo tar -xOf /var/lib/images/web.tar index.json");
    let index: serde_json::Value = serde_json::from_str(&held).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["annotations"]["io.containerd.image.name"],
        "reg.example/team/web:1"
    );
    // One platform's manifest: a list would name what is not there.
    assert_ne!(entry["digest"], list);
    let blob = entry["digest"].as_str().unwrap().replace(':', "/");
    let manifest = on_host(&format!(
        "sudo tar -xOf /var/lib/images/web.tar blobs/{blob}"
    ));
    assert!(manifest.contains("layers"), "{manifest}");

    assert_eq!(bench.build(&["staged"]).ok().steps("ran"), [""; 0]);
    on_host("echo more | sudo tee -a /var/lib/images/web.tar >/dev/null");
    assert_eq!(bench.build(&["staged"]).ok().steps("ran"), [label]);
    assert_eq!(bench.build(&["staged"]).ok().steps("ran"), [""; 0]);
    fs::write(&path, before).unwrap();
}
