//! Accepting connections: bind, limits, errors that do not stop the server.
#![forbid(unsafe_code)]
