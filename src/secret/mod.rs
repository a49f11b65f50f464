//! Secret references, the resolver chain, `Secret<T>` and redaction. Knows no config file and no graph.

pub mod environment;
mod masker;
pub mod private;
mod reference;
mod resolver;
mod store;
mod value;
mod vars;

pub use masker::{Masker, REDACTED};
pub use reference::{BadReference, STACK_NAMESPACE, SecretRef, references, scope};
pub use resolver::{Resolution, ResolveError, Resolver, SecretSource};
pub use store::{SecretFields, SecretStore, StoreError};
pub use value::Secret;
pub use vars::{BadVars, Vars};
