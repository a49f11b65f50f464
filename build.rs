//! Builds the crate anew when a task or a recipe comes or goes: they are embedded. Leaves word of what is built and by what, for
//! `foundry --version --verbose`. Knows nothing about either.

use std::process::Command;

fn main() {
    for watched in ["build.rs", "tasks", "recipes"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    set("TARGET", &var("TARGET"));
    let rustc = said(&var("RUSTC"), &["--version"]);
    set("RUSTC", rustc.as_deref().unwrap_or("unknown"));
    // A build to work with is none to be handed out, and would be made anew for each commit.
    if var("PROFILE") != "release" {
        return;
    }
    let git = |args: &[&str]| said("git", args);
    let Some(commit) = git(&["rev-parse", "HEAD"]) else {
        return;
    };
    let reference = git(&["symbolic-ref", "HEAD"]);
    for name in ["HEAD", "packed-refs"]
        .into_iter()
        .chain(reference.as_deref())
    {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let tracked = ["status", "--porcelain", "--untracked-files=no"];
    let changed = git(&tracked).is_none_or(|files| !files.is_empty());
    let changed = if changed { "-modified" } else { "" };
    set("COMMIT", &format!("{commit}{changed}"));
    // The commit's, not the build's: the same commit makes the same binary.
    set(
        "DATE",
        &git(&["log", "-1", "--format=%cs"]).unwrap_or_default(),
    );
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env=FOUNDRY_BUILD_{name}={value}");
}

/// Returns what a program prints.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
