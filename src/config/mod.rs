//! `stack.yaml` → `Stack`, with source spans. Knows no recipe; secret references stay references.
