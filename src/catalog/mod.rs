//! Task and recipe files → `Catalog`: embedded in the binary, overlaid by the user's own folder. Knows no host.
