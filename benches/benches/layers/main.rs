//! Each layer alone around the same bare service, beside its counterpart in tower or tower-http:
//! `cargo bench -p benches --bench layers`.
//!
//! A call is one request, from `poll_ready` to the end of the response's body. Take the row of `bare` away from any other
//! to have the layer's own cost.
#![forbid(unsafe_code)]

mod access_log;
mod bare;
mod concurrency_limit;
mod log_line;
mod logging;
mod recovery;
mod request_logger;
mod timeout;

use divan::AllocProfiler;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    // For its clock. The calls are polled by hand: a scheduler costs as much as a layer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    divan::main();
}
