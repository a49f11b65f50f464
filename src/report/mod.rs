//! Folds events into a picture. Knows `event`, nothing else of the engine.
