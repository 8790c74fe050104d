//! Whole connections over an in-memory socket, on a paused clock: every limit to the instant.
#![expect(clippy::disallowed_methods, reason = "a test's client and server run beside each other")]

mod drain;
mod http1;
mod http2;
mod server;
mod states;
mod upgrade;
