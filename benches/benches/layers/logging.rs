//! Who listens to what is logged. Each is the default of this thread while its guard lives.

use std::{io, sync::LazyLock};

use graceful_json_log::{JsonSubscriber, LiveFilter, LogConfig, LogWriter, Output};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::{DefaultGuard, set_default},
    span,
    subscriber::NoSubscriber,
};

/// Nobody.
pub(crate) fn off() {
    // Whoever listened in another bench is still cached at the callsites; a new dispatcher makes them ask anew.
    drop(Dispatch::new(NoSubscriber::default()));
}

/// One that wants everything and does nothing.
pub(crate) fn noop() -> DefaultGuard {
    set_default(&Dispatch::new(Noop))
}

/// tracing-subscriber's JSON, to nowhere.
pub(crate) fn json() -> DefaultGuard {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(io::sink);
    set_default(&Dispatch::new(subscriber.finish()))
}

/// `graceful-json-log` with its thread, to nowhere.
pub(crate) fn json_log() -> DefaultGuard {
    static WRITER: LazyLock<LogWriter> = LazyLock::new(|| {
        // Room for all lines of a bench: a dropped one would cost nothing.
        let config = LogConfig::new().capacity(256 << 20).output(Output::Writer(Box::new(io::sink())));
        config.open().expect("a thread starts")
    });
    let filter = LiveFilter::new("info").expect("a level");
    set_default(&JsonSubscriber::new(WRITER.clone()).into_dispatch(filter))
}

struct Noop;

impl Subscriber for Noop {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
