//! What the access log writes, and that it does so once.

mod body;
mod capture;
mod contract;
mod fields;
mod outcomes;
mod panics;
mod sockets;
mod spans;
mod writer;
