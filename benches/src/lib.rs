//! What the benches share: the [servers](Contender) that are compared, and the [client](KeepAlive) that asks them.
//!
//! `README.md` beside this package says what is measured, how to read it, and what came out.
#![forbid(unsafe_code)]

mod client;
mod contender;
mod process;
mod tower_http;

pub use self::{
    client::KeepAlive,
    contender::{BODY, Contender, PATH, answer, request, router},
    process::Process,
    tower_http::{access_line, request_span},
};
