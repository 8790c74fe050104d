//! A writer in place of the event.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use graceful_access_log::{AccessEvent, AccessLogLayer, RequestBody, tell_route};
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tracing::{Event, Instrument, Level, Metadata, Span, Subscriber, info_span, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, Layer as _, SubscriberExt};

use crate::capture::{Capture, Fields};

thread_local! {
    static WRITES: Cell<bool> = const { Cell::new(true) };
    static WRITTEN: RefCell<Vec<(Level, Fields, Option<&'static str>)>> = const { RefCell::new(Vec::new()) };
}

fn writer(event: &AccessEvent<'_>) -> bool {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    assert_eq!((metadata.name(), metadata.target()), ("access", "access"));
    let span = Span::current().metadata().map(Metadata::name);
    WRITTEN.with_borrow_mut(|written| written.push((*metadata.level(), fields, span)));
    WRITES.get()
}

fn written() -> Vec<(Level, Fields, Option<&'static str>)> {
    WRITTEN.take()
}

/// Asks for `status`, in a span.
async fn ask(layer: &AccessLogLayer, status: u16, request: http::request::Builder) {
    let handler = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| async move {
        tell_route("/users/{id}");
        Ok::<_, Infallible>(
            Response::builder().status(status).body(Full::new(Bytes::from_static(b"hello"))).expect("a response"),
        )
    });
    let request = request.body(Empty::new()).expect("a request");
    drop(layer.layer(handler).oneshot(request).instrument(info_span!("request")).await);
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_given_what_the_event_has() {
    let mut log = Capture::new();
    let layer = AccessLogLayer::new().query(true).writer(writer);
    let hostile = || HeaderValue::from_bytes(b"caf\xc3\xa9 \xff").expect("a header value");
    let requests = [
        || Request::get("/users/7?a=b").header(USER_AGENT, "curl/8.5.0"),
        || Request::connect("example.com:443"),
        || Request::builder().method("ODD").uri("/caf\u{e9}/users/7"),
        || Request::get(format!("/{}", "p".repeat(2_000))),
    ];
    for (status, level) in [(200, Level::INFO), (503, Level::WARN)] {
        for request in requests {
            for agent in [None, Some(hostile())] {
                let request = || agent.iter().fold(request(), |request, agent| request.header(USER_AGENT, agent));
                WRITES.set(true);
                ask(&layer, status, request()).await;
                log.none();
                WRITES.set(false);
                ask(&layer, status, request()).await;
                let event = log.only();
                assert_eq!((event.level, event.spans.as_slice()), (level, &["request"][..]));
                let expected = (level, Fields(event.fields), Some("request"));
                assert_eq!(written(), [expected.clone(), expected], "in its span, and asked once a record");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_not_asked_for_what_nobody_wants() {
    let request = || Request::get("/");
    WRITES.set(true);
    ask(&AccessLogLayer::new().writer(writer), 200, request()).await;
    assert_eq!(written(), [], "there is no subscriber");
    let _log = Capture::up_to(Level::WARN);
    ask(&AccessLogLayer::new().writer(writer).filter(|_| false), 503, request()).await;
    assert_eq!(written(), [], "the filter says no");
    ask(&AccessLogLayer::new().writer(writer), 503, request()).await;
    assert_eq!(written().len(), 1);
}

/// Counts the events that it gets.
#[derive(Clone, Default)]
struct Events(Arc<AtomicUsize>);

impl<S: Subscriber> tracing_subscriber::Layer<S> for Events {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn layers_with_filters_of_their_own_miss_nothing() {
    type Writer = fn(&AccessEvent<'_>) -> bool;
    let writers: [(Option<Writer>, usize); 3] = [(None, 1), (Some(|_| false), 1), (Some(|_| true), 0)];
    for (writer, records) in writers {
        let (all, few) = (Events::default(), Events::default());
        let _default = tracing::subscriber::set_default(
            tracing_subscriber::registry()
                .with(all.clone().with_filter(LevelFilter::INFO))
                .with(few.clone().with_filter(LevelFilter::ERROR)),
        );
        let layer = AccessLogLayer::new();
        let layer = if let Some(writer) = writer { layer.writer(writer) } else { layer };
        let handler = service_fn(|_: Request<RequestBody<Empty<Bytes>>>| async {
            // The first event after the layer has looked whether anybody listens.
            tracing::error!("in the handler");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        });
        drop(layer.layer(handler).oneshot(Request::new(Empty::new())).await);
        tracing::error!("afterwards");
        assert_eq!(few.0.load(Relaxed), 2, "each of the two errors");
        assert_eq!(all.0.load(Relaxed), 2 + records);
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_panics_does_so_without_effect_on_the_request() {
    let _log = Capture::new();
    ask(&AccessLogLayer::new().writer(|_| panic!("a writer that panics")), 200, Request::get("/")).await;
}
