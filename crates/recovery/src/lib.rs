//! A panic becomes a 500 or a cut connection, and a full report.
//!
//! Without it, a panic in a handler ends an HTTP/1 connection with no answer, and one in a response body looks to the
//! client like the end of the response. With it, [`RecoveryLayer`] catches panics in the service below: in `call`, in the
//! future, in the response body, and in the `Drop` of each.
//!
//! - The head was not sent: the client gets 500 `internal error`, or [another answer](RecoveryLayer::answer). A keep-alive
//!   connection stays usable.
//! - The head was sent: the body ends with an error, so that hyper closes the connection (HTTP/1) or resets the stream
//!   with `INTERNAL_ERROR` (HTTP/2). The client is never led to take a part for the whole.
//! - Either way the log gets one event with what the panic said, where it was, a backtrace that begins there, and the
//!   request.
//!
//! It is for every server. It is not a way to handle errors: a handler that can fail returns an error. And it cannot
//! repair what a panic has left half done, such as a poisoned lock or half a file.
//!
//! # Examples
//!
//! On axum, around the finished router:
//!
//! ```
//! use axum::{Router, routing::get};
//! use graceful_recovery::RecoveryLayer;
//! use tower::Layer;
//!
//! let router: Router = Router::new().route("/", get(|| async { "hello" }));
//! let app = RecoveryLayer::new().layer(router);
//! # let _ = app;
//! ```
//!
//! `router.layer(RecoveryLayer::new())` works too; there every route pays for axum's own box. On a plain stack, with
//! another answer and with the counter:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use graceful_answer::ProblemDetails;
//! use graceful_recovery::RecoveryLayer;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let recovery = RecoveryLayer::new().answer(ProblemDetails::new());
//! let panics = recovery.panics();
//!
//! let service = ServiceBuilder::new().layer(recovery).service(service_fn(async |request: Request<()>| {
//!     let id: u32 = request.uri().path()[1..].parse().expect("a path is a number");
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("order {id}")))))
//! }));
//!
//! let response = service.oneshot(Request::get("/seven").body(()).unwrap()).await.unwrap();
//! assert_eq!(response.status(), 500);
//! let body = response.into_body().collect().await.unwrap().to_bytes();
//! assert_eq!(body, r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error"}"#);
//! assert_eq!(panics.total(), 1);
//! # }
//! ```
//!
//! # Where it stands
//!
//! Inside the layers that observe a request (request id and span, access log), so that they see the 500 and the cut body
//! and the report is inside the request's span; outside all that may panic: limits, timeouts, the router. Layered twice,
//! the inner one catches.
//!
//! # The report
//!
//! One event at `ERROR` with the target `graceful::panic` and the message `panic`, inside the span that was current around
//! this layer. Its fields:
//!
//! | field | |
//! |---|---|
//! | `panic` | what it said, at most 4 KiB; `non-string panic payload` if it was no text |
//! | `location` | `file:line:column` of the panic |
//! | `method`, `path` | of the request; the path without its query, which may hold secrets |
//! | `request_id` | if the layer was told [where to find it](RecoveryLayer::request_id); else it is the span's to carry |
//! | `where` | the [`Place`]: `call`, `future`, `body`, `drop`, `answer` |
//! | `thread` | the name of the thread that panicked |
//! | `backtrace` | from the frame that panicked down to the service; at most 100 frames |
//!
//! `location` and `backtrace` are known to the panic hook alone. They are absent where it did not run: after
//! `resume_unwind` with the panic of another thread, or when the hook is not ours any more.
//!
//! A backtrace is captured at the panic as bare addresses, in some microseconds. Giving them names takes about 90 ms the
//! first time in a process and 0.2 ms later on, so one thread of this crate's own does it, started with the first report,
//! and writes the event. A server calls [`flush`] before it exits. At most 64 reports wait for that thread; the next are
//! written at once, and `backtrace` says that it was left out. [`RecoveryLayer::backtrace`] switches it off, and so does
//! `RUST_BACKTRACE=0`; then every report is written at once. (std captures and names under one lock, so a second panic
//! within those first 90 ms may wait for the first to get its names.)
//!
//! Where there is no `tracing` subscriber at all the report is printed to stderr instead of being lost.
//!
//! # The panic hook
//!
//! The first [`RecoveryLayer::new`] of a process puts one hook in front of the one that is there. It takes for the report
//! what happens inside the layer, on the thread that is polling it. Everything else goes to the previous hook as before:
//! panics in spawned tasks, in other threads, at start. An application that sets a hook of its own should do so before;
//! one that calls `set_hook` later replaces ours: panics are still caught, answered, counted and reported, but
//! without location and backtrace, and the new hook is called for all of them.
//!
//! A panic inside the layer that the application catches itself is not answered and not counted. It was diverted all the
//! same, so it is reported, at `WARN`.
//!
//! # What it cannot do
//!
//! - With `panic = "abort"` a panic ends the process. The layer says so once, at `WARN`, and leaves the hook alone.
//! - A panic that leaves a destructor while the stack unwinds from another one aborts the process, and so does one in
//!   the `Display` of a value that a panic's own message formats. For the destructor both panics are printed to stderr
//!   first; this is why a second panic on a thread that still has one to report goes to the previous hook as well.
//! - A panic in the inner service's `poll_ready` or `clone` passes: no request is there yet to be answered.
//! - What a handler spawns is not inside; look at its `JoinHandle`.
//! - A response that another layer or hyper buffers is cut no earlier than it is sent: a body that panics before the
//!   first flush of HTTP/1 takes the head with it, and the client reads a bare close.
#![forbid(unsafe_code)]

mod backtraces;
mod body;
mod cause;
mod future;
mod hook;
mod layer;
mod panics;
mod report;
mod reporter;
mod section;
mod service;
mod watch;

pub use self::body::ResponseBody;
pub use self::cause::{Aborted, Panicked, Place, abort};
pub use self::future::ResponseFuture;
pub use self::layer::RecoveryLayer;
pub use self::panics::Panics;
pub use self::reporter::flush;
pub use self::service::Recovery;
