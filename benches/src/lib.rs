//! What the benches share: the [servers](Contender) that are compared, the [client](KeepAlive) that asks them, and what
//! counts their [instructions](callgrind).
//!
//! `README.md` beside this package says what is measured, how to read it, and what came out.
#![forbid(unsafe_code)]

mod ask;
pub mod callgrind;
mod client;
mod contender;
mod options;
mod process;
mod profile;
mod rivals;
mod tower_http;

pub use self::{
    ask::Ask,
    client::KeepAlive,
    contender::{BODY, Contender, JOBS, PATH, answer, log_nothing, request, router},
    options::Options,
    process::{Process, allow_open_files},
    profile::Profile,
    rivals::{Rival, Rivals},
    tower_http::{access_line, request_span},
};
