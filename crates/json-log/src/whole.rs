//! The subscriber and its filter as one, which nothing stands around.

use std::fmt;

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_core::span::Current;
use tracing_subscriber::layer::SubscriberExt;

use crate::{JsonSubscriber, LiveFilter};

/// Does what `subscriber.with(filter)` does, without the detour of each call through a filter that as a rule does not
/// care: what is on at all, `tracing` knows without asking.
///
/// It is in a [`Dispatch`] from the beginning and nobody else can name it, so no layer stands around it: what it writes
/// without an event, nobody misses.
pub(crate) struct Whole {
    json: JsonSubscriber,
    filter: LiveFilter,
    /// The same two in the usual way, for a filter that asks about spans: a layer can only be called from there. In a
    /// box, so that the way past it saves no registers for it.
    layered: Box<dyn Subscriber + Send + Sync>,
}

impl Whole {
    pub(crate) fn new(json: JsonSubscriber, filter: LiveFilter) -> Self {
        Self { layered: Box::new(json.again().with(filter.clone())), json, filter }
    }

    pub(crate) const fn json(&self) -> &JsonSubscriber {
        &self.json
    }
}

impl Subscriber for Whole {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.json.on_register_dispatch(dispatch);
        self.layered.on_register_dispatch(dispatch);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.layered.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.layered.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.layered.max_level_hint()
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        if self.filter.asks_spans() { self.layered.new_span(attributes) } else { self.json.new_span(attributes) }
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if self.filter.asks_spans() { self.layered.record(id, values) } else { self.json.record(id, values) }
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.layered.record_follows_from(id, follows);
    }

    fn event(&self, event: &Event<'_>) {
        // The filter had its say in whether there is one.
        self.json.event(event);
    }

    fn enter(&self, id: &Id) {
        if self.filter.asks_spans() { self.layered.enter(id) } else { self.json.enter(id) }
    }

    fn exit(&self, id: &Id) {
        if self.filter.asks_spans() { self.layered.exit(id) } else { self.json.exit(id) }
    }

    fn current_span(&self) -> Current {
        self.json.current_span()
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.json.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        if self.filter.asks_spans() { self.layered.try_close(id) } else { self.json.try_close(id) }
    }
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { json, filter, layered: _ } = self;
        f.debug_struct("Whole").field("json", json).field("filter", filter).finish_non_exhaustive()
    }
}
