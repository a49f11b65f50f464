//! What init answered: the key shares and the root token, as they lie in a root-only file on the host that was
//! initialised. Knows not who keeps them in the end.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroize;

use crate::run::{StepError, Writer};
use crate::secret::Secret;
use crate::target::inputs::wrong;
use crate::target::script::Script;

/// The answer to an init.
#[derive(Deserialize)]
pub struct Answer {
    // Null where there are none.
    unseal_keys_b64: Option<Vec<String>>,
    unseal_threshold: Option<u32>,
    recovery_keys_b64: Option<Vec<String>>,
    recovery_keys_threshold: Option<u32>,
    root_token: String,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.unseal_keys_b64.zeroize();
        self.recovery_keys_b64.zeroize();
        self.root_token.zeroize();
    }
}

/// Key shares and how many of them it takes.
pub struct Shares<'a> {
    /// `unseal` or `recovery`.
    pub kind: &'static str,
    /// Base64; encrypted to their holders if PGP keys were given.
    pub keys: &'a [String],
    /// How many it takes.
    pub threshold: u32,
}

impl Answer {
    /// Reads the file at `path`; `None` when the host has none.
    ///
    /// # Errors
    /// When the host can't be told, or the file is no such answer.
    pub async fn read(writer: &dyn Writer, path: &str) -> Result<Option<Self>, StepError> {
        let text = Script::new(
            "if [ -s \"$answer\" ]; then cat -- \"$answer\"; fi\n",
            Duration::from_secs(30),
            &[("answer", path)],
        )
        .run(writer)
        .await?;
        if text.expose().trim().is_empty() {
            return Ok(None);
        }
        // The parser's own words could quote a key.
        serde_json::from_str(text.expose())
            .map(Some)
            .map_err(|error| {
                wrong(format!(
                    "{path} is not what an init answers (line {}, column {}): left as it is",
                    error.line(),
                    error.column()
                ))
            })
    }

    /// Returns the shares that people get: of the unseal key, or with automatic unsealing of the recovery key.
    #[must_use]
    pub fn shares(&self) -> Shares<'_> {
        match self.unseal_keys_b64.as_deref() {
            None | Some([]) => Shares {
                kind: "recovery",
                keys: self.recovery_keys_b64.as_deref().unwrap_or_default(),
                threshold: self.recovery_keys_threshold.unwrap_or_default(),
            },
            Some(keys) => Shares {
                kind: "unseal",
                keys,
                threshold: self.unseal_threshold.unwrap_or_default(),
            },
        }
    }

    /// Returns the shares that open a node, if they are not encrypted to their holders (those are far longer).
    #[must_use]
    pub fn usable(&self) -> &[String] {
        let keys = self.unseal_keys_b64.as_deref().unwrap_or_default();
        if keys.iter().all(|key| key.len() <= 64) {
            keys
        } else {
            &[]
        }
    }

    /// Returns the root token.
    #[must_use]
    pub fn root_token(&self) -> Secret<String> {
        Secret::new(self.root_token.clone())
    }
}
