//! The probes of one target → one batch → facts. Decides nothing.
