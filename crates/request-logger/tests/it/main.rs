//! The layer as its users see it: on a bare service, on axum and on hyper.
#![expect(clippy::disallowed_methods, reason = "a bare task is what some of these tests are about")]

mod capture;
mod cost;
mod ids;
mod lifetime;
mod sockets;
mod span;
mod stack;
