//! The listener over real sockets.

mod tcp;
mod unix;
mod wrappers;
