//! `foundry config …` as a person runs it, on a home folder of its own.

use assert_cmd::Command;
use serde_json::Value as Json;
use tempfile::TempDir;

/// Returns the command on a home folder, with nothing of this machine's environment that could choose a config.
fn foundry(home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foundry").unwrap();
    command
        .args(args)
        .env("FOUNDRY_HOME", home.path())
        .env_remove("FOUNDRY_CONFIG")
        .env("NO_COLOR", "1");
    command
}

/// Runs a command that should do, and returns its standard output.
fn done(home: &TempDir, args: &[&str]) -> String {
    let output = foundry(home, args)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    String::from_utf8(output).unwrap()
}

/// Runs a command that should be refused as wrong usage, and returns its standard error.
fn refused(home: &TempDir, args: &[&str]) -> String {
    let output = foundry(home, args)
        .assert()
        .code(3)
        .get_output()
        .stderr
        .clone();
    String::from_utf8(output).unwrap()
}

fn with_configs(names: &[&str]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for name in names {
        let text = format!("cluster: {{ name: {name} }}\nhosts: [{{ hostname: 'a[1-3]' }}]\n");
        std::fs::write(home.path().join(format!("{name}.yaml")), text).unwrap();
    }
    home
}

#[test]
fn init_writes_a_config_that_validates_and_never_overwrites() {
    let home = tempfile::tempdir().unwrap();
    let args = [
        "config",
        "init",
        "--name",
        "prod",
        "--host",
        "bao-1=192.0.2.11",
    ];
    let said = done(&home, &args);
    assert!(
        said.contains("prod.yaml") && said.contains("foundry plan --config prod"),
        "{said}"
    );
    let text = std::fs::read_to_string(home.path().join("prod.yaml")).unwrap();
    assert!(
        text.starts_with("# yaml-language-server: $schema=./stack.schema.json\n"),
        "{text}"
    );
    let schema = std::fs::read_to_string(home.path().join("stack.schema.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Json>(&schema).unwrap()["type"],
        "object"
    );
    assert!(done(&home, &["config", "validate"]).contains("1 host"));

    let said = refused(&home, &args);
    assert!(said.contains("prod.yaml is there already"), "{said}");
    assert_eq!(
        std::fs::read_to_string(home.path().join("prod.yaml")).unwrap(),
        text
    );
}

#[test]
fn init_refuses_what_can_not_be_before_writing_anything() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &["--cluster-name", "Bad Name"][..],
        &["--host", "x[1-"],
        &["--name", "../x"],
        &["--component", "no-such-component"],
        &["--interactive"],
    ] {
        let said = refused(&home, &[&["config", "init"], args].concat());
        assert!(said.contains("error"), "{said}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn several_configs_want_a_choice() {
    let home = with_configs(&["prod", "staging"]);
    let said = refused(&home, &["config", "show"]);
    assert!(said.contains("prod.yaml, staging.yaml"), "{said}");
    assert!(done(&home, &["config", "show", "--config", "prod"]).contains("name: prod"));
    let chosen = foundry(&home, &["config", "show", "--output", "json"])
        .env("FOUNDRY_CONFIG", "staging")
        .assert()
        .success();
    let shown: Json = serde_json::from_slice(&chosen.get_output().stdout).unwrap();
    assert_eq!(shown["cluster"]["name"], "staging");
    assert_eq!(shown["hosts"].as_array().unwrap().len(), 3);
    let by_flag = foundry(&home, &["config", "show", "-c", "prod"])
        .env("FOUNDRY_CONFIG", "staging")
        .assert()
        .success();
    assert!(String::from_utf8_lossy(&by_flag.get_output().stdout).contains("name: prod"));
}

#[test]
fn no_config_says_how_to_get_one() {
    let home = tempfile::tempdir().unwrap();
    let said = refused(&home, &["config", "validate"]);
    assert!(
        said.contains("foundry config init") && said.contains("foundry lab up"),
        "{said}"
    );
    assert!(done(&home, &["config", "list"]).contains("no configs in"));
}

#[test]
fn the_list_marks_the_one_used_and_names_broken_ones() {
    let home = with_configs(&["prod"]);
    std::fs::write(home.path().join("broken.yaml"), "cluster: [\n").unwrap();
    let text = done(&home, &["config", "list", "--config", "prod"]);
    assert!(
        text.contains("* prod") && text.contains("1 problem"),
        "{text}"
    );
    let rows: Json =
        serde_json::from_str(&done(&home, &["config", "list", "--output", "json"])).unwrap();
    assert_eq!(rows[0]["name"], "broken");
    assert_eq!(rows[0]["error"], "1 problem");
    assert_eq!(rows[1]["hosts"], 3);
    assert_eq!(rows[1]["chosen"], false);
}

#[test]
fn validate_draws_every_problem_and_tells_programs() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("stack.yaml");
    std::fs::write(&path, "cluster: { name: x }\nhosst: []\nssh: { prot: 1 }\n").unwrap();
    let said = refused(&home, &["config", "validate"]);
    assert!(
        said.contains("stack.yaml:2:1") && said.contains("did you mean `hosts`?"),
        "{said}"
    );
    assert!(
        said.contains("stack.yaml:3:8") && said.contains("did you mean `port`?"),
        "{said}"
    );
    let run = foundry(&home, &["config", "validate", "--output", "json"])
        .assert()
        .code(3);
    let told: Json = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(told["valid"], false);
    assert_eq!(told["problems"][0]["line"], 2);
}

#[test]
fn a_password_in_a_config_is_warned_of_and_never_printed() {
    let home = tempfile::tempdir().unwrap();
    let text = "cluster: { name: x }\nobservability:\n  elsewhere:\n    api_key: hunter2-canary\n";
    std::fs::write(home.path().join("stack.yaml"), text).unwrap();
    for args in [
        &["config", "validate"][..],
        &["config", "validate", "--output", "json"],
        &["config", "show"],
        &["config", "show", "--output", "json"],
    ] {
        let run = foundry(&home, args).assert().success();
        let output = run.get_output();
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        let all = String::from_utf8(all).unwrap();
        assert!(!all.contains("canary"), "{all}");
        assert!(
            all.contains("redacted") || all.contains("looks like a secret"),
            "{all}"
        );
    }
}

#[test]
fn a_config_comes_from_standard_input_too() {
    let home = tempfile::tempdir().unwrap();
    foundry(&home, &["config", "validate", "--config", "-"])
        .write_stdin("cluster: { name: piped }\n")
        .assert()
        .success();
    let said = foundry(&home, &["config", "validate", "--config", "-"])
        .write_stdin("cluster: { nme: piped }\n")
        .assert()
        .code(3);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("<stdin>:1:12"), "{said}");
}

#[test]
fn the_schema_is_json() {
    let home = tempfile::tempdir().unwrap();
    let schema: Json = serde_json::from_str(&done(&home, &["config", "schema"])).unwrap();
    assert_eq!(schema["title"], "Foundry stack");
}

#[cfg(unix)]
#[test]
fn recipes_that_others_could_have_written_are_refused_and_such_a_config_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let chmod = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let home = with_configs(&["prod"]);
    let recipes = home.path().join("recipes/mine");
    std::fs::create_dir_all(&recipes).unwrap();
    let recipe = recipes.join("recipe.toml");
    std::fs::write(&recipe, "summary = \"Mine\"\n").unwrap();
    done(&home, &["graph"]);
    for (path, mode, closed) in [
        (recipes.clone(), 0o777, 0o755),
        (home.path().join("recipes"), 0o757, 0o755),
        (recipe.clone(), 0o666, 0o644),
        (home.path().to_owned(), 0o777, 0o700),
    ] {
        chmod(&path, mode);
        let said = refused(&home, &["graph"]);
        assert!(
            said.contains("is not used: every user of this machine can change it")
                && said.contains(&format!("(mode {mode:04o})"))
                && said.contains("chmod -R go-w"),
            "{said}"
        );
        chmod(&path, closed);
    }
    let config = home.path().join("prod.yaml");
    chmod(&config, 0o666);
    let output = foundry(&home, &["graph"]).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        said.contains("warning:")
            && said.contains("every user of this machine can change it (mode 0666)"),
        "{said}"
    );
}

#[test]
fn no_error_shows_a_secret_that_is_written_out() {
    let home = tempfile::tempdir().unwrap();
    let config = |components: &str| {
        let text = format!(
            "cluster: {{ name: prod }}\nhosts: [{{ hostname: a }}]\ncomponents:\n  openbao:\n    hosts: [a]\n{components}"
        );
        std::fs::write(home.path().join("prod.yaml"), text).unwrap();
    };
    for components in [
        "    connection_url: postgres//hunter2\n",
        "    connection_url: \"postgres://bao:hunter2@db/x\"\n",
        "    connection_url: |\n      hunter2\n      hunter2\n",
        "    connection_url: >-\n      hunter2\n      hunter2\n    log_level: hunter\n",
        "    { connection_url: hunter2 }\n",
        // Mistakes beside it, of kinds that are found before anybody knows what is secret.
        "    connection_url: postgres://bao:hunter2@db/x\n    log_levle: debug\n",
        "  s3: { access_key: hunter2, hosts: 7 }\n",
        "  s3: { access_key: hunter2, secret_key: hunter2 }\n",
    ] {
        config(components);
        let told = refused(&home, &["config", "validate"]);
        assert!(!told.contains("hunter2"), "{components}\n{told}");
        assert!(told.contains("error:"), "{told}");
        for args in [&["plan"][..], &["graph"], &["config", "show"]] {
            let output = foundry(&home, args).output().unwrap();
            let told =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!told.contains("hunter2"), "{args:?} {components}\n{told}");
        }
    }
}

#[test]
fn a_report_that_can_not_be_written_is_an_error_before_anything_is_done() {
    let home = with_configs(&["prod"]);
    for report in ["junit", "events", "json", "trace", "timings"] {
        let report = format!("{report}=/no/such/folder/report");
        let told = refused(&home, &["--yes", "build", "stack", "--report", &report]);
        assert!(
            told.contains("can't write the report /no/such/folder/report: No such file"),
            "{told}"
        );
    }
}
