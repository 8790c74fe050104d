//! The primitives of what tells connections to end. `tests/model.rs` puts loom's in their place, which run the same
//! source in every interleaving.

pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

pub(crate) use tokio::sync::Notify;
