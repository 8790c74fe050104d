//! The primitives of the inbox. `tests/model.rs` puts loom's in their place, which run the same source in every
//! interleaving.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
