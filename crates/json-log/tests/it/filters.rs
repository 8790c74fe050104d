//! What is off, and how that changes.

use tracing::{Dispatch, Level, callsite, debug, info, info_span, level_filters::LevelFilter, trace};
use tracing_subscriber::{Layer, layer::SubscriberExt};

use crate::support::{Captured, LONG, lines, open};
use graceful_json_log::{JsonLayer, JsonSubscriber, LiveFilter};

fn everything() {
    info!("info");
    debug!("debug");
    debug!(target: "shop", "shop");
    info_span!("request", id = 1).in_scope(|| trace!("trace"));
}

#[derive(Clone, Copy)]
enum On {
    Whole,
    Subscriber,
    Registry,
    Layer,
}

/// What `log` logs with a filter that is one with the subscriber, with one on it, with one for all layers of a registry,
/// and with one for the layer.
fn all_ways(directives: &str, log: impl Fn(&LiveFilter)) -> [Vec<String>; 4] {
    [On::Whole, On::Subscriber, On::Registry, On::Layer].map(|on| {
        let captured = Captured::default();
        let writer = open(captured.clone());
        let filter = LiveFilter::new(directives).unwrap();
        let json = JsonLayer::new(writer.clone());
        let registry = tracing_subscriber::registry();
        let dispatch = match on {
            On::Whole => JsonSubscriber::new(writer.clone()).into_dispatch(filter.clone()),
            On::Subscriber => Dispatch::new(JsonSubscriber::new(writer.clone()).with(filter.clone())),
            On::Registry => Dispatch::new(registry.with(filter.clone()).with(json)),
            On::Layer => Dispatch::new(registry.with(json.with_filter(filter.clone()))),
        };
        tracing::dispatcher::with_default(&dispatch, || log(&filter));
        writer.flush(LONG).unwrap();
        lines(&captured.text()).iter().map(|line| line["message"].as_str().unwrap().into()).collect()
    })
}

#[test]
fn a_filter_changes_while_the_program_runs() {
    let logged = all_ways("info", |filter| {
        everything();
        for directives in ["off", "warn,shop=debug", "debug", "[request{id=1}]=trace,info", "info"] {
            filter.set(directives).unwrap();
            info!(target: "graceful", "--");
            everything();
        }
    });
    let expected = [
        "info", // info
        // nothing: off
        "shop", // warn,shop=debug
        "--", "info", "debug", "shop", // debug
        "--", "info", "trace", // [request{id=1}]=trace,info
        "--", "info", // info
    ];
    for logged in logged {
        assert_eq!(logged, expected);
    }
}

#[test]
fn the_subscriber_knows_the_highest_level() {
    let filter = LiveFilter::new("warn,shop=info").unwrap();
    let subscriber = JsonSubscriber::new(open(std::io::sink())).with(filter.clone());
    let hint = |subscriber: &dyn tracing::Subscriber| subscriber.max_level_hint();
    assert_eq!(hint(&subscriber), Some(LevelFilter::INFO), "so that a lower level costs one load");
    filter.set("off").unwrap();
    assert_eq!(hint(&subscriber), Some(LevelFilter::OFF));
    filter.set("[request]=trace").unwrap();
    assert_eq!(hint(&subscriber), Some(LevelFilter::TRACE));
}

#[test]
fn a_place_in_the_code_is_on_or_off_for_good() {
    struct Place;
    impl callsite::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &tracing::Metadata<'_> {
            &PLACE
        }
    }
    static CALLSITE: Place = Place;
    static PLACE: tracing::Metadata<'static> = tracing::metadata! {
        name: "event", target: "shop", level: Level::DEBUG, fields: &[], callsite: &CALLSITE,
        kind: tracing::metadata::Kind::EVENT,
    };
    let filter = LiveFilter::new("info").unwrap();
    let subscriber = JsonSubscriber::new(open(std::io::sink())).with(filter.clone());
    let interest = || tracing::Subscriber::register_callsite(&subscriber, &PLACE);
    assert!(interest().is_never(), "no filter is asked about what is off");
    filter.set("shop=debug").unwrap();
    assert!(interest().is_always(), "nor about what is on");
    filter.set("[request]=debug").unwrap();
    assert!(interest().is_sometimes(), "a span decides each time");
}
