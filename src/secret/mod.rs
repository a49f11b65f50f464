//! Secret references, the resolver chain, `Secret<T>` and redaction. Knows no config file and no graph.
