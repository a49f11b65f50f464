//! Disposable hosts on this machine, for trying things and for tests. Knows nothing of the engine.
