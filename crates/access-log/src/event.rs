//! The record as a `tracing` event.

use std::{slice::EscapeAscii, time::Duration};

use http::{Version, uri::PathAndQuery};
use tracing::{
    Level, Metadata,
    callsite::DefaultCallsite,
    dispatcher::get_default,
    field::{DisplayValue, Value, display},
    metadata,
    metadata::Kind,
    subscriber::NoSubscriber,
};

use crate::{Record, RefusedRequest, peer::PeerText};

/// Bytes of a text from the client that a line may hold. A client can send as much as the server's limit for a head, 64
/// KiB and more, and should not be able to fill a disk with it.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 1024;
const MAX_USER_AGENT: usize = 256;

/// Whether anybody listens, at either level.
///
/// By callsites of its own: `event_enabled!` asks the subscriber each time, also where that has said that it wants all of
/// them. The fields are named for subscribers that filter by them.
pub(crate) fn enabled() -> bool {
    macro_rules! enabled {
        ($level:expr) => {{
            static CALLSITE: DefaultCallsite = DefaultCallsite::new(&EVENT);
            static EVENT: Metadata<'static> = metadata! {
                name: "access",
                target: "access",
                level: $level,
                fields: &[
                    "message",
                    "method",
                    "path",
                    "route",
                    "version",
                    "status",
                    "duration_ms",
                    "ttfb_ms",
                    "bytes_in",
                    "bytes",
                    "bytes_expected",
                    "peer",
                    "user_agent",
                    "outcome",
                ],
                callsite: &CALLSITE,
                kind: Kind::EVENT,
            };
            tracing::level_enabled!($level) && listens(&CALLSITE, &EVENT)
        }};
    }
    // A filter that lets INFO through nearly always lets WARN through, so the second check is for nobody or an odd one.
    enabled!(Level::WARN) || enabled!(Level::INFO)
}

fn listens(callsite: &'static DefaultCallsite, event: &'static Metadata<'static>) -> bool {
    let interest = callsite.register();
    if interest.is_never() {
        return false;
    }
    // All of those that there are may want it, and this thread have none of them.
    get_default(
        |subscriber| {
            if interest.is_always() { !subscriber.is::<NoSubscriber>() } else { subscriber.enabled(event) }
        },
    )
}

/// Writes the event `access`. A field that does not apply is left out, which is what `None` does here.
pub(crate) fn write(record: &Record, with_query: bool) {
    let method = Text::new(record.method.as_str(), MAX_METHOD);
    let path = record.target.as_ref().map(|target| {
        let path = if with_query { PathAndQuery::as_str } else { PathAndQuery::path };
        Text::new(path(target), MAX_PATH)
    });
    let user_agent = record.user_agent.as_ref().map(|value| Text::of_bytes(value.as_bytes(), MAX_USER_AGENT));
    let peer = record.peer.map(PeerText::new);
    macro_rules! write {
        ($level:expr) => {
            tracing::event!(
                name: "access",
                target: "access",
                $level,
                {
                    message = "access",
                    method = method.as_value(),
                    path = path.as_ref().map(Text::as_value),
                    route = record.route(),
                    version = version(record.version),
                    status = record.status.as_u16(),
                    duration_ms = millis(record.duration),
                    ttfb_ms = record.ttfb.map(millis),
                    bytes_in = record.bytes_in(),
                    bytes = record.bytes,
                    bytes_expected = record.bytes_expected,
                    peer = peer.as_ref().map(PeerText::as_str),
                    user_agent = user_agent.as_ref().map(Text::as_value),
                    outcome = record.outcome.as_str(),
                }
            )
        };
    }
    if record.status.is_server_error() {
        write!(Level::WARN);
    } else {
        write!(Level::INFO);
    }
}

/// Writes the same event for what no service has seen.
pub(crate) fn write_refused(refused: &RefusedRequest<'_>) {
    let RefusedRequest { status, reason, method, target, version: spoken, user_agent, bytes, peer } = *refused;
    let peer = peer.map(PeerText::new);
    let method = method.map(|method| Text::new(method.as_str(), MAX_METHOD));
    let path = target.map(|target| Text::new(target.path(), MAX_PATH));
    let user_agent = user_agent.map(|value| Text::of_bytes(value.as_bytes(), MAX_USER_AGENT));
    macro_rules! write {
        ($level:expr) => {
            tracing::event!(
                name: "access",
                target: "access",
                $level,
                {
                    message = "access",
                    method = method.as_ref().map(Text::as_value),
                    path = path.as_ref().map(Text::as_value),
                    version = spoken.map(version),
                    status = status.as_u16(),
                    bytes,
                    peer = peer.as_ref().map(PeerText::as_str),
                    user_agent = user_agent.as_ref().map(Text::as_value),
                    outcome = "refused",
                    reason,
                }
            )
        };
    }
    if status.is_server_error() {
        write!(Level::WARN);
    } else {
        write!(Level::INFO);
    }
}

/// What a client sent, so that it is harmless in any log: as it is, if it is ASCII, else escaped byte for byte
/// (`\xc3\xa9`), so that no terminal can be steered by it; and never longer than its limit. ASCII needs no second look:
/// none of `http`'s types holds a control character, except that a header value may have tabs.
enum Text<'a> {
    Plain(&'a str),
    Escaped(DisplayValue<EscapeAscii<'a>>),
}

impl<'a> Text<'a> {
    fn new(text: &'a str, max: usize) -> Self {
        let cut = &text.as_bytes()[..text.len().min(max)];
        if cut.is_ascii() { Self::Plain(&text[..cut.len()]) } else { Self::escaped(cut, max) }
    }

    fn of_bytes(bytes: &'a [u8], max: usize) -> Self {
        let cut = &bytes[..bytes.len().min(max)];
        std::str::from_utf8(cut).map_or_else(|_| Self::escaped(cut, max), |text| Self::new(text, max))
    }

    /// One byte becomes four characters at most.
    fn escaped(cut: &'a [u8], max: usize) -> Self {
        Self::Escaped(display(cut[..cut.len().min(max / 4)].escape_ascii()))
    }

    fn as_value(&self) -> &dyn Value {
        match self {
            Self::Plain(text) => text,
            Self::Escaped(text) => text,
        }
    }
}

/// As in a status line. `Version`'s own `Debug` writes `HTTP/2.0`, a name that HTTP/2 does not have.
const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds, exact to the microsecond: more digits would be noise. Divided once, so that 1.234 is printed as 1.234.
fn millis(duration: Duration) -> f64 {
    let micros = duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into());
    micros as f64 / 1000.0
}
