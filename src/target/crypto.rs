//! Chooses the cryptography that TLS uses, once a process. Knows no connection.

use std::sync::Once;

/// Makes aws-lc the provider of TLS, unless one was chosen before.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody chose already: theirs stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
