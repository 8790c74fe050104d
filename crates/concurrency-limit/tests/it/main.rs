//! What the layer does, through its public face: on bare services with a paused clock, and on real sockets.

#![expect(clippy::disallowed_methods, reason = "tests have no registry of live work to spawn through")]

mod drain;
mod limit;
mod places;
mod queue;
mod refusal;
mod service;
mod sockets;
mod stress;
mod support;
mod throttle;
mod upload;
