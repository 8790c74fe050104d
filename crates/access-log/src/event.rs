//! The record as a `tracing` event.

use std::fmt;

use http::uri::PathAndQuery;
use tracing::{
    Level, Metadata,
    callsite::{Callsite, DefaultCallsite},
    dispatcher::get_default,
    field::Visit,
    level_filters::{LevelFilter, STATIC_MAX_LEVEL},
    metadata,
    metadata::Kind,
    subscriber::NoSubscriber,
};

use crate::{
    Record,
    peer::PeerText,
    value::{FieldValue, MAX_PATH, MAX_USER_AGENT, Text, method, millis, version},
};

/// The event `access` of a record, for a [writer](crate::AccessLogLayer::writer) that has a shorter way to the log than
/// by a subscriber.
pub struct AccessEvent<'a> {
    record: &'a Record,
    callsite: &'static DefaultCallsite,
    path: Option<&'a str>,
}

/// What may write it in place of the event.
pub(crate) type Writer = fn(&AccessEvent<'_>) -> bool;

/// The fields and their values, in the order in which they are logged, written down once for both ways.
macro_rules! fields {
    (|$event:ident| $($name:ident = $value:expr,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl AccessEvent<'_> {
            /// Visits the fields as [`Event::record`](tracing::Event::record) does: those that apply, each with the value
            /// that the event has. The compiler sees the visitor, so it is faster.
            #[inline]
            pub fn record(&self, visitor: &mut (impl Visit + ?Sized)) {
                let $event = self;
                let fields = self.metadata().fields();
                // As it is; said for the compiler, which then knows each index.
                if fields.len() != NAMES.len() {
                    return;
                }
                let mut fields = fields.iter();
                $(
                    let Some(field) = fields.next() else { return };
                    FieldValue::record(&$value, &field, visitor);
                )*
            }

            /// Writes the event.
            pub(crate) fn dispatch(&self) {
                let $event = self;
                if *self.metadata().level() == Level::WARN {
                    tracing::event!(
                        name: "access", target: "access", Level::WARN, { $($name = FieldValue::value(&$value)),* }
                    );
                } else {
                    tracing::event!(
                        name: "access", target: "access", Level::INFO, { $($name = FieldValue::value(&$value)),* }
                    );
                }
            }
        }
    };
}

fields! { |event|
    message = "access",
    method = method(&event.record.method),
    path = event.path.map(|path| Text::new(path, MAX_PATH)),
    route = event.record.route(),
    version = version(event.record.version),
    status = u64::from(event.record.status.as_u16()),
    duration_ms = millis(event.record.duration),
    ttfb_ms = event.record.ttfb.map(millis),
    bytes_in = event.record.bytes_in(),
    bytes = event.record.bytes,
    bytes_expected = event.record.bytes_expected,
    peer = event.record.peer.map(PeerText::new),
    user_agent = event.record.user_agent.as_ref().map(|value| Text::of_bytes(value.as_bytes(), MAX_USER_AGENT)),
    outcome = event.record.outcome.as_str(),
}

impl<'a> AccessEvent<'a> {
    pub(crate) fn new(record: &'a Record, with_query: bool) -> Self {
        let callsite = if record.status.is_server_error() { &WARN } else { &INFO };
        let path = record.target.as_ref().map(if with_query { PathAndQuery::as_str } else { PathAndQuery::path });
        Self { record, callsite, path }
    }

    /// That of the event, which says what logs are interested in it.
    #[must_use]
    #[inline]
    pub const fn callsite(&self) -> &'static DefaultCallsite {
        self.callsite
    }

    /// That of the event: its level, its target and the names of its fields.
    #[must_use]
    #[inline]
    pub fn metadata(&self) -> &'static Metadata<'static> {
        self.callsite.metadata()
    }
}

impl fmt::Debug for AccessEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, callsite: _, path: _ } = self;
        f.debug_struct("AccessEvent").field("metadata", self.metadata()).field("record", record).finish_non_exhaustive()
    }
}

// Callsites of our own: `event_enabled!` asks the subscriber each time, and a writer has to know which it writes for. The
// fields are named for subscribers that filter by them.
static WARN: DefaultCallsite = DefaultCallsite::new(&WARN_EVENT);
static INFO: DefaultCallsite = DefaultCallsite::new(&INFO_EVENT);
static WARN_EVENT: Metadata<'static> = metadata! {
    name: "access", target: "access", level: Level::WARN, fields: NAMES, callsite: &WARN, kind: Kind::EVENT
};
static INFO_EVENT: Metadata<'static> = metadata! {
    name: "access", target: "access", level: Level::INFO, fields: NAMES, callsite: &INFO, kind: Kind::EVENT
};

/// Whether anybody may listen, at either level.
pub(crate) fn enabled() -> bool {
    // A filter that lets INFO through nearly always lets WARN through, so the second check is for nobody or an odd one.
    may_listen(&WARN) || may_listen(&INFO)
}

/// Writes the event `access`: by `writer`, if that will.
pub(crate) fn write(record: &Record, with_query: bool, writer: Option<Writer>) {
    let event = AccessEvent::new(record, with_query);
    let written = writer.is_some_and(|writer| writer(&event));
    if !written {
        event.dispatch();
    }
}

/// Whether it is worth the work.
///
/// The subscriber is not asked whether it wants this one: one whose layers have filters of their own remembers what these
/// said, for the event that is to follow, and would keep it from a layer for another event if there is none.
fn may_listen(callsite: &'static DefaultCallsite) -> bool {
    let event = callsite.metadata();
    *event.level() <= STATIC_MAX_LEVEL
        && *event.level() <= LevelFilter::current()
        && !callsite.interest().is_never()
        // All of those that there are may want it, and this thread have none of them.
        && get_default(|subscriber| !subscriber.is::<NoSubscriber>())
}
