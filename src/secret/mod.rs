//! Secret references, the resolver chain, `Secret<T>` and redaction. Knows no config file and no graph.

mod reference;
mod value;

pub use reference::SecretRef;
pub use value::Secret;
