//! One line, ours beside the JSON of `tracing-subscriber`: time and allocations.
//!
//! Ours goes through the whole writer, thread and all, into a sink. The peer writes straight into a sink, which is kind
//! to it: no lock, no copy, no system call.

use std::{io, sync::LazyLock, time::Duration};

use divan::{AllocProfiler, Bencher};
use graceful_json_log::{JsonLayer, JsonSubscriber, LiveFilter, LogConfig, LogWriter, Output, write_line};
use tracing::{
    Dispatch, Level, Metadata, Span, callsite::DefaultCallsite, field::Visit, info, info_span, metadata::Kind, trace,
};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

static WRITER: LazyLock<LogWriter> = LazyLock::new(|| {
    let config = LogConfig::new().capacity(256 << 20).output(Output::Writer(Box::new(io::sink())));
    config.open().expect("a thread starts")
});

static OURS: LazyLock<Dispatch> = LazyLock::new(|| {
    let filter = LiveFilter::new("info").expect("a level");
    JsonSubscriber::new(WRITER.clone()).into_dispatch(filter)
});

static LAYER: LazyLock<Dispatch> = LazyLock::new(|| {
    let filter = LiveFilter::new("info").expect("a level");
    Dispatch::new(tracing_subscriber::registry().with(filter).with(JsonLayer::new(WRITER.clone())))
});

static PEER: LazyLock<Dispatch> = LazyLock::new(|| {
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(io::sink);
    Dispatch::new(tracing_subscriber::registry().with(tracing_subscriber::EnvFilter::new("info")).with(json))
});

#[derive(Clone, Copy, Debug)]
enum Log {
    /// As `init` logs.
    Ours,
    /// Our layer in a registry.
    Layer,
    Peer,
}

impl Log {
    fn dispatch(self) -> &'static Dispatch {
        match self {
            Self::Ours => &OURS,
            Self::Layer => &LAYER,
            Self::Peer => &PEER,
        }
    }

    fn bench(self, bencher: Bencher<'_, '_>, log: impl Fn() + Sync) {
        tracing::dispatcher::with_default(self.dispatch(), || {
            (0..1_000).for_each(|_| log());
            bencher.bench_local(log);
        });
        let _ = WRITER.flush(Duration::from_secs(10));
    }
}

const ALL: [Log; 3] = [Log::Ours, Log::Layer, Log::Peer];

fn request() -> Span {
    info_span!("request", method = "GET", path = "/api/work", request_id = "0190163d-8694-739b-aea5-966c26f8ad91")
}

fn access() {
    tracing::event!(
        name: "access",
        target: "access",
        tracing::Level::INFO,
        {
            message = "access", method = "GET", path = "/api/work", route = "/api/work", version = "HTTP/1.1", status = 200u16,
            duration_ms = 0.125, ttfb_ms = 0.113, bytes_in = 0u64, bytes = 13u64, peer = "127.0.0.1:40404",
            user_agent = "curl/8.5.0", outcome = "complete",
        }
    );
}

/// The same line without the event.
fn access_directly() {
    static CALLSITE: DefaultCallsite = DefaultCallsite::new(&LINE);
    static LINE: Metadata<'static> = tracing::metadata! {
        name: "access",
        target: "access",
        level: Level::INFO,
        fields: &[
            "message", "method", "path", "route", "version", "status", "duration_ms", "ttfb_ms", "bytes_in", "bytes",
            "peer", "user_agent", "outcome",
        ],
        callsite: &CALLSITE,
        kind: Kind::EVENT,
    };
    let mut fields = LINE.fields().iter();
    let mut next = || fields.next().expect("as many as there are names");
    let done = write_line(&CALLSITE, |line| {
        for text in ["access", "GET", "/api/work", "/api/work", "HTTP/1.1"] {
            line.record_str(&next(), text);
        }
        line.record_u64(&next(), 200);
        line.record_f64(&next(), 0.125);
        line.record_f64(&next(), 0.113);
        line.record_u64(&next(), 0);
        line.record_u64(&next(), 13);
        for text in ["127.0.0.1:40404", "curl/8.5.0", "complete"] {
            line.record_str(&next(), text);
        }
    });
    assert!(done, "this thread's events go nowhere else");
}

#[divan::bench]
fn access_line_without_an_event(bencher: Bencher<'_, '_>) {
    Log::Ours.bench(bencher, access_directly);
}

#[divan::bench(args = ALL)]
fn message(bencher: Bencher<'_, '_>, log: Log) {
    log.bench(bencher, || info!("a message"));
}

#[divan::bench(args = ALL)]
fn line_in_a_request(bencher: Bencher<'_, '_>, log: Log) {
    let span = tracing::dispatcher::with_default(log.dispatch(), request);
    span.in_scope(|| log.bench(bencher, || info!(user = 42, rows = 7, "found")));
}

#[divan::bench(args = ALL)]
fn access_line(bencher: Bencher<'_, '_>, log: Log) {
    log.bench(bencher, access);
}

#[divan::bench(args = ALL)]
fn request_span(bencher: Bencher<'_, '_>, log: Log) {
    log.bench(bencher, || drop(request()));
}

#[divan::bench(args = ALL)]
fn request_with_its_access_line(bencher: Bencher<'_, '_>, log: Log) {
    log.bench(bencher, || request().in_scope(access));
}

#[divan::bench(args = ALL)]
fn off(bencher: Bencher<'_, '_>, log: Log) {
    log.bench(bencher, || trace!(user = 42, "off"));
}

/// Both cores, or as many as there are: what the threads cost each other.
#[divan::bench(threads = [1, 2, 8])]
fn access_line_on_threads(bencher: Bencher<'_, '_>) {
    bencher.bench(|| tracing::dispatcher::with_default(&OURS, || (0..100).for_each(|_| access())));
}

fn main() {
    divan::main();
}
