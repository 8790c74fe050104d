//! What a line and a span allocate, once the thread and the buffers are warm.

use std::{error::Error, io};

use allocation_counter::measure;
use graceful_json_log::{JsonSubscriber, LiveFilter, LogWriter, write_line};
use tracing::{
    Dispatch, Level, Metadata, callsite::DefaultCallsite, field, field::Visit, info, info_span, metadata::Kind,
};
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{LONG, json, json_in_a_registry, open, whole};

fn access_line() {
    info!(
        target: "access",
        method = "GET", path = "/api/work", route = "/api/work", version = "HTTP/1.1", status = 200u16, duration_ms = 0.125,
        ttfb_ms = 0.1, bytes_in = 0u64, bytes = 13u64, peer = %std::net::Ipv4Addr::LOCALHOST, user_agent = "curl/8.5.0",
        outcome = "complete", "access"
    );
}

fn request_span() -> tracing::Span {
    info_span!(
        "request",
        method = "GET",
        path = "/api/work?with=some&more",
        request_id = "0190163d-8694-739b-aea5-966c26f8ad91",
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
        parent_id = "00f067aa0ba902b7",
        user = field::Empty,
    )
}

/// Allocations of a hundred times: by the subscriber and by the layer.
fn allocations(of: impl Fn()) -> [u64; 2] {
    let count = |dispatch: fn(&LogWriter) -> Dispatch| {
        let writer = open(io::sink());
        tracing::dispatcher::with_default(&dispatch(&writer), || {
            (0..100).for_each(|_| of());
            let counted = measure(|| (0..100).for_each(|_| of()));
            writer.flush(LONG).unwrap();
            assert_eq!(counted.count_current, 0, "what is allocated is given back");
            assert_eq!(writer.stats().dropped, 0);
            counted.count_total
        })
    };
    assert_eq!(count(whole), count(json), "with a filter it costs no more");
    [count(json), count(json_in_a_registry)]
}

#[test]
fn a_line_allocates_nothing() {
    assert_eq!(allocations(access_line), [0, 0]);
    let error = io::Error::other("no");
    let every_kind = || {
        info!(a = 1, b = -1, c = 1.5, d = 1e300, e = ?Some("x"), f = %2, g = true, h = u128::MAX, "formatted {}", 3);
        info!(error = &error as &dyn Error, text = "with \"escapes\" \u{2028}");
    };
    assert_eq!(allocations(every_kind), [0, 0]);
}

#[test]
fn a_line_without_an_event_allocates_nothing() {
    static CALLSITE: DefaultCallsite = DefaultCallsite::new(&LINE);
    static LINE: Metadata<'static> = tracing::metadata! {
        name: "line", target: "access", level: Level::INFO, fields: &["message", "path", "status"],
        callsite: &CALLSITE, kind: Kind::EVENT,
    };
    let writer = open(io::sink());
    tracing::dispatcher::with_default(&whole(&writer), || {
        let directly = || {
            let mut fields = LINE.fields().iter();
            write_line(&CALLSITE, |line| {
                for text in ["access", "/api/work/and/more"] {
                    line.record_str(&fields.next().unwrap(), text);
                }
                line.record_u64(&fields.next().unwrap(), 200);
            })
        };
        let lines = || (0..100).for_each(|_| assert!(request_span().in_scope(directly) && directly()));
        lines();
        assert_eq!(measure(lines).count_total, 0, "in a span and outside");
        writer.flush(LONG).unwrap();
        assert_eq!((writer.stats().written, writer.stats().dropped), (400, 0));
    });
}

#[test]
fn a_span_allocates_nothing_or_once() {
    assert_eq!(allocations(|| drop(request_span())), [0, 100], "in a registry, the extension's box");
    assert_eq!(allocations(|| drop(info_span!("no fields"))), [0, 0]);
    let recorded = || {
        request_span().record("user", "ada").record("user", "bob");
    };
    assert_eq!(allocations(recorded), [0, 100], "what is recorded later fits in place");
}

#[test]
fn a_line_in_a_request_allocates_nothing() {
    let in_request = || {
        request_span().in_scope(|| {
            info!("one");
            info_span!("inner").in_scope(|| info!(query = "select 1", rows = 7, "two"));
            access_line();
        });
    };
    assert_eq!(allocations(in_request), [0, 100], "the span, and none of its three lines");
}

#[test]
fn what_is_off_is_not_even_evaluated() {
    let info = LiveFilter::new("info").expect("a level");
    let subscriber = JsonSubscriber::new(open(io::sink())).with(info);
    tracing::subscriber::with_default(subscriber, || {
        let off = || tracing::trace!(text = String::from("not made").as_str(), "off");
        off();
        assert_eq!(measure(off).count_total, 0);
    });
}

#[test]
fn a_long_span_is_not_kept() {
    let long = "x".repeat(100_000);
    tracing::dispatcher::with_default(&json(&open(io::sink())), || {
        let begun_long = || drop(info_span!("long", text = long.as_str()));
        let recorded_long = || drop(info_span!("long", text = field::Empty).record("text", long.as_str()).clone());
        drop(request_span());
        for span in [&begun_long as &dyn Fn(), &recorded_long] {
            let kept = measure(span);
            assert!(kept.bytes_current < 1_000, "no more than the names of its fields: {kept:?}");
        }
    });
}

#[test]
fn a_long_line_is_not_kept() {
    let writer = open(io::sink());
    let long = "x".repeat(100_000);
    tracing::dispatcher::with_default(&json(&writer), || {
        info!("warm");
        let kept = measure(|| info!(text = long.as_str()));
        assert!(kept.bytes_current <= 0, "{kept:?}");
    });
}
