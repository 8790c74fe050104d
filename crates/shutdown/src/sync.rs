//! The primitives of the order. `tests/model.rs` puts loom's in their place, which run the same source in every
//! interleaving.

pub(crate) use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

pub(crate) use tokio::sync::watch;
