//! Whole connections over an in-memory socket, on a paused clock: every limit to the instant.
#![expect(clippy::disallowed_methods, reason = "a test's client and server run beside each other")]

mod budget;
#[path = "../support/checked.rs"]
#[expect(dead_code, reason = "the other binary starts threads as well")]
mod checked;
mod drain;
mod expect;
mod extensions;
mod http1;
mod http2;
mod keep_alive;
mod live_work;
mod refusals;
mod server;
mod states;
mod together;
mod upgrade;
