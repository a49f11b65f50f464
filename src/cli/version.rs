//! `foundry --version --verbose`: which commit was built, for what and by what. `build.rs` finds that out.

use std::ffi::OsString;

/// Returns whether arguments that ask for the version ask for all of it.
pub fn in_full(mut args: impl Iterator<Item = OsString>) -> bool {
    args.any(|arg| {
        let arg = arg.to_string_lossy();
        let short = arg.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        arg == "--verbose" || short.is_some_and(|rest| rest.contains('v'))
    })
}

/// Returns all that is known of this build, a line each.
pub fn text() -> String {
    let commit = option_env!("FOUNDRY_BUILD_COMMIT");
    let date = option_env!("FOUNDRY_BUILD_DATE");
    let built = match (commit, date) {
        (Some(commit), Some(date)) => format!("({} {date})", &commit[..commit.len().min(12)]),
        _ => "(built to work with)".to_owned(),
    };
    format!(
        "foundry {} {built}\ncommit: {}\ndate: {}\ntarget: {}\nrustc: {}\nkeyring: {}\n",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or("unknown"),
        date.unwrap_or("unknown"),
        env!("FOUNDRY_BUILD_TARGET"),
        env!("FOUNDRY_BUILD_RUSTC"),
        if cfg!(feature = "keyring") {
            "yes"
        } else {
            "no"
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_version_is_asked_for_in_any_order() {
        let asked = |args: &[&str]| in_full(args.iter().map(OsString::from));
        for args in [
            &["--version", "--verbose"][..],
            &["--verbose", "--version"],
            &["-vV"],
            &["-V", "-v"],
        ] {
            assert!(asked(args), "{args:?}");
        }
        assert!(!asked(&["--version"]));
        assert!(!asked(&["-V"]));
        let text = text();
        for line in ["foundry ", "\ncommit: ", "\ntarget: ", "\nrustc: rustc 1."] {
            assert!(text.contains(line), "{text}");
        }
    }
}
