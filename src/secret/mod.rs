//! Secret references, the resolver chain, `Secret<T>` and redaction. Knows no config file and no graph.

mod masker;
mod reference;
mod value;

pub use masker::{Masker, REDACTED};
pub use reference::{BadReference, STACK_NAMESPACE, SecretRef, references, scope};
pub use value::Secret;
