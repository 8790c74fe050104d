//! The primitives of the gate: std's, and in this crate's unit tests loom's, which run it in every interleaving.
//!
//! The tests under `tests/` are built against the crate without `cfg(test)`, and so against std.

#[cfg(test)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicIsize, Ordering},
};
#[cfg(not(test))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicIsize, Ordering},
};
