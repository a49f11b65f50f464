//! `Stack` × `Catalog` → `Graph`: steps with typed ids, labels, selection, keys, queries, export. Knows no live system.
