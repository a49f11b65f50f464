//! Secrets in the environment: taken out of it once, at the start, so that no child inherits them and `/proc/PID/environ` does not
//! show them. Does not know what they are for.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::value::Secret;

/// Variables with secrets: this one ...
const TOKEN: &str = "FOUNDRY_BAO_TOKEN";
/// ... and all that begin so.
const PREFIX: &str = "FOUNDRY_SECRET_";

static TAKEN: OnceLock<HashMap<String, Secret<String>>> = OnceLock::new();

/// Returns whether a variable holds a secret.
fn is_secret(name: &str) -> bool {
    name == TOKEN || name.starts_with(PREFIX)
}

/// Takes all secrets out of the environment; [`variable`] has them from then on.
///
/// # Safety
/// No other thread may run yet: the environment is everybody's.
pub unsafe fn take() {
    TAKEN.get_or_init(|| {
        let secrets: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| is_secret(name))?;
                Some((name, value))
            })
            .collect();
        for (name, _) in &secrets {
            // SAFETY: the caller vouches that nobody else reads or writes the environment.
            unsafe {
                wipe(name);
                std::env::remove_var(name);
            }
        }
        // One that is no text can't be used, but no child gets it either.
        let texts = secrets
            .into_iter()
            .filter_map(|(name, value)| Some((name, Secret::new(value.into_string().ok()?))));
        texts.collect()
    });
}

/// Overwrites a variable's value where the kernel has put it, which is what `/proc/PID/environ` shows.
///
/// # Safety
/// As for [`take`].
#[cfg(unix)]
unsafe fn wipe(name: &str) {
    use std::ffi::{CStr, c_char};

    unsafe extern "C" {
        static environ: *const *mut c_char;
    }
    // SAFETY: `environ` is a list of C strings, ended by a null pointer, and nobody changes it meanwhile.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let entry = CStr::from_ptr(*at).to_bytes();
            let value = entry
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            if let Some(length) = value.map(<[u8]>::len) {
                let start = (*at).add(entry.len() - length);
                for offset in 0..length {
                    start.add(offset).write_volatile(0);
                }
            }
            at = at.add(1);
        }
    }
}

#[cfg(not(unix))]
unsafe fn wipe(_: &str) {}

/// Returns the secret that a variable held at the start, or holds, where nothing was taken.
#[must_use]
pub fn variable(name: &str) -> Option<Secret<String>> {
    match TAKEN.get() {
        Some(taken) => taken.get(name).cloned(),
        None => std::env::var(name).ok().map(Secret::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_variables_hold_secrets() {
        for (name, wanted) in [
            ("FOUNDRY_BAO_TOKEN", true),
            ("FOUNDRY_SECRET_foundry_grafana_admin_password", true),
            ("FOUNDRY_HOME", false),
            ("PATH", false),
        ] {
            assert_eq!(is_secret(name), wanted, "{name}");
        }
    }
}
