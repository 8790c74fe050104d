//! What the timeout layers do, seen from outside.
#![expect(clippy::disallowed_methods, reason = "tests may spawn: the test's runtime ends with the test")]
#![expect(clippy::unwrap_used, reason = "in a test, to panic is to fail")]

mod body;
mod bounds;
mod detach;
mod route;
mod servers;
mod support;
mod time;
