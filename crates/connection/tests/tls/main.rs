//! TLS with an independent client: over an in-memory socket on a paused clock, and under load over real ones.
#![expect(clippy::disallowed_methods, reason = "a test's client and server run beside each other")]

mod authority;
#[path = "../support/checked.rs"]
mod checked;
mod client;
mod client_auth;
mod deadlines;
mod drain;
mod errors;
mod first_bytes;
mod load;
mod names;
mod reload;
mod server;
mod states;
mod versions;
