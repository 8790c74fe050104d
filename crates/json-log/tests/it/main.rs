//! What a line says, what it costs, and what becomes of it when the output fails.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]
#![cfg_attr(not(unix), expect(dead_code, reason = "processes and devices are tested on unix"))]

mod costs;
mod differential;
mod direct;
mod filters;
mod lines;
#[cfg(unix)]
mod process;
mod spans;
mod support;
mod torture;
