//! One line of JSON an event, and a writer that never makes a worker wait.
//!
//! ```no_run
//! use graceful_json_log::{LogConfig, init};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (log, _guard) = init(LogConfig::new().filter("info,my_crate=debug"))?;
//!     let request = tracing::info_span!("request", method = "GET", path = "/", request_id = "7f3c");
//!     request.in_scope(|| tracing::info!(user = 42, "hello"));
//!     log.set_filter("debug")?; // at any time
//!     Ok(())
//! }
//! ```
//!
//! ```json
//! {"timestamp":"2026-11-22T12:00:00.123456Z","level":"INFO","target":"my_crate","message":"hello","user":42,"method":"GET","path":"/","request_id":"7f3c"}
//! ```
//!
//! For programs whose log is read by machines, on hot paths. Where people read it, [`Format::Pretty`] is the format of
//! `tracing-subscriber` on the same writer. Not for a log that must not lose a line (an audit): a full buffer drops.
//!
//! [`init`] is all of it at once: a [`JsonSubscriber`] with a [`LiveFilter`] on it, in a
//! [`Dispatch`](JsonSubscriber::into_dispatch). The parts work by themselves, too, in
//! a registry of one's own beside the layers of others (OpenTelemetry, tokio-console): [`JsonLayer`] renders the same
//! lines, a [`LogWriter`] (from [`LogConfig::open`]) writes, a [`LiveFilter`] filters. The layer is as content with any
//! other filter. What libraries log by the `log` crate comes in by `LogTracer` of `tracing-log`, if a program sets that.
//!
//! # The line
//!
//! `timestamp` (UTC, RFC 3339, microseconds), `level`, `target`; then the fields of the event, of which `message` is one;
//! then the fields of its span and of the spans around that. All stand at the top level, each key once:
//!
//! - An event's field wins over a span's, an inner span's over an outer one's, and what was recorded last over what was
//!   recorded before.
//! - Fields named `timestamp`, `level` or `target`, and a span's `message`, are written as `field.timestamp` and so on:
//!   those keys are the line's own.
//! - `r#type` is written as `type`.
//!
//! | value | in JSON |
//! |---|---|
//! | integers, `i128` and `u128` too | a number with all its digits |
//! | `f64` | a number, always with a point or an exponent; NaN and the infinities are `null` |
//! | `bool` | `true`, `false` |
//! | `&str` | a string |
//! | `&dyn Error` | a string with its sources: `cannot read config: no such file` |
//! | `?debug`, `%display`, bytes (in hex) | a string |
//! | `None`, `field::Empty` | no field |
//!
//! Strings are escaped as JSON wants, and so are DEL, the C1 controls, U+2028 and U+2029: a line is one line to every
//! reader, and harmless on a terminal.
//!
//! Span names are not written, and the fields of a span are rendered only once, when they are recorded.
//!
//! # The writer
//!
//! A thread that logs copies its line into a buffer in memory and goes on. One thread of its own (`log`) writes: the
//! first line at once, then what has come in every 20 ms or when the buffer is half full, in order of time, with one
//! system call.
//!
//! | when | then |
//! |---|---|
//! | the output is slow, or blocks for ever | lines wait in the buffer ([`LogConfig::capacity`]); when that is full the newest are dropped and counted |
//! | there is room again | a line of level `WARN`, target `graceful_json_log`: `"message":"log lines dropped","dropped":17` |
//! | the disk is full, or any other error | the batch waits and is tried again, after 1 ms and up to each second; half a line is completed |
//! | the reader of a pipe is gone | lines are dropped and counted; the program lives on |
//! | the file was moved away | [`LogWriter::reopen`], when SIGHUP comes |
//! | the process was killed within a line | the half line is cut off when the file is opened again |
//! | the program ends | [`LogGuard`] and [`flush`](flush()) wait for the output, up to a time |
//!
//! [`LogWriter::stats`] has the counts.
//!
//! # What it costs
//!
//! A line allocates nothing. Nor does a span of [`JsonSubscriber`], if it has no more than eight fields of 256 bytes in
//! all; one of [`JsonLayer`] allocates once. A level that is off costs one load.
//!
//! A third of what a line with many fields costs is `tracing`'s way to hand over their values. [`write_line`] spares that,
//! for a line that every request writes.
//!
//! A thread that logs takes one lock, its own as a rule, for the copy of a line. The writer's thread takes it for a swap
//! of two buffers: nothing is allocated, sorted or written under a lock.
//!
//! `cargo bench -p graceful-json-log` measures a line beside `tracing-subscriber`'s.
#![forbid(unsafe_code)]

mod config;
mod direct;
mod entered;
mod escape;
mod fields;
mod filter;
mod init;
mod keys;
mod layer;
mod line;
mod number;
mod output;
mod queue;
mod scratch;
mod spans;
mod subscriber;
#[cfg(test)]
mod testing;
mod text;
mod thread;
mod time;
mod whole;
mod writer;

pub use self::config::{Format, InitError, LogConfig};
pub use self::direct::{LineFields, write_line};
pub use self::filter::{FilterError, LiveFilter};
pub use self::init::{LogGuard, LogHandle, flush, init};
pub use self::layer::JsonLayer;
pub use self::output::Output;
pub use self::subscriber::JsonSubscriber;
pub use self::writer::{LogStats, LogWriter, NotFlushed};
