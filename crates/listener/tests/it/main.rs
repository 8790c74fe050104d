//! The listener over real sockets.

mod any;
#[cfg(unix)]
mod inherited;
mod proxied;
mod tcp;
mod unix;
mod wrappers;
