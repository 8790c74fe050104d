//! The connection layer over plain hyper, every deadline on: `cargo bench -p benches --bench connection`.
//!
//! A call is one request on a connection that is kept alive, over a socket in memory: one read, the service, one write.
//! `graceful_control` has a `ConnectionControl` in the extensions of each request, as is the default; without, a handler finds
//! it by `ConnectionControl::current`. `hyper_util_auto` is how `axum::serve` drives hyper; `hyper_header_timeout` is hyper with the one deadline it has.
#![forbid(unsafe_code)]

mod http1;
mod http2;
mod wire;

use std::{convert::Infallible, future::Future, sync::Arc};

use benches::answer;
use bytes::Bytes;
use divan::AllocProfiler;
use graceful_connection::{Connection, HttpService, Registry, Settings};
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    benches::log_nothing();
    divan::main();
}

/// As most handlers it has the request until it answers.
async fn handler<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = answer();
    drop(request);
    Ok(response)
}

/// Ours, with the deadlines and limits of a production server; with a `ConnectionControl` in each request's extensions or
/// without.
fn graceful<T, S>(io: T, service: S, control: bool) -> impl Future + Send + Unpin
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let peer = ([127, 0, 0, 1], 40_000).into();
    let mut settings = Settings::default();
    settings.control_extension = control;
    Box::pin(Connection::new(io, Registry::new().open(Some(peer)), service, Arc::new(settings)))
}
