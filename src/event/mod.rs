//! The public, serialisable events of a run: the only thing that reports know.
