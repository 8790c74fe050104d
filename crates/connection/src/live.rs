//! A connection's work in the registry of live work: itself, its requests, its socket after an upgrade.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use graceful_tasks::{Entry, Kind, Registry, Seat};

use crate::shared::Shared;

/// The kinds of it.
pub(crate) struct Kinds {
    pub(crate) connections: Kind<ConnectionLabel>,
    pub(crate) requests: Kind<RequestLabel>,
    pub(crate) upgraded: Kind<ConnectionLabel>,
}

pub(crate) const CONNECTION: &str = "connection";
pub(crate) const REQUEST: &str = "request";
pub(crate) const UPGRADED: &str = "upgraded";

impl Kinds {
    pub(crate) fn of(registry: &Registry) -> Self {
        Self {
            connections: registry.kind(CONNECTION),
            requests: registry.kind(REQUEST),
            upgraded: registry.kind(UPGRADED),
        }
    }

    /// The place is the caller's.
    #[track_caller]
    pub(crate) fn connection(&self, shared: &Arc<Shared>) -> Entry {
        self.connections.enter(ConnectionLabel(Arc::clone(shared)))
    }

    pub(crate) fn request(&self, shared: &Arc<Shared>, number: u64) -> Entry {
        self.requests.enter(RequestLabel { shared: Arc::clone(shared), number: Some(number) })
    }

    /// For the requests of an HTTP/1 connection, one after the other.
    pub(crate) fn seat(&self, shared: &Arc<Shared>) -> Seat {
        self.requests.seat(RequestLabel { shared: Arc::clone(shared), number: None })
    }

    pub(crate) fn upgraded(&self, shared: &Arc<Shared>) -> Entry {
        self.upgraded.enter(ConnectionLabel(Arc::clone(shared)))
    }
}

/// What is known of the connection at the time of a look.
///
/// The cell, not the connection's entry: what is listed somewhere does not keep a connection from being over.
#[derive(Clone)]
pub(crate) struct ConnectionLabel(Arc<Shared>);

impl Display for ConnectionLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(shared) = self;
        if let Some(peer) = shared.peer() {
            write!(f, "{peer} ")?;
        }
        if shared.is_http2() {
            f.write_str("HTTP/2 ")?;
        }
        write!(f, "{}", shared.state())
    }
}

/// Of the request with this number. Its method and path stay where they are until somebody asks.
pub(crate) struct RequestLabel {
    shared: Arc<Shared>,
    /// `None` in a seat: of the last one that began by the time of a look.
    number: Option<u64>,
}

/// What a look gets: of one request for good.
impl Clone for RequestLabel {
    fn clone(&self) -> Self {
        let Self { shared, number } = self;
        Self { shared: Arc::clone(shared), number: number.or_else(|| Some(shared.requests.started())) }
    }
}

impl Display for RequestLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, number } = self;
        let Some(live) = number.and_then(|number| shared.requests.get(number)) else { return Ok(()) };
        // Without the query: that may be a secret.
        write!(f, "{} {}", live.method, live.uri.path())?;
        if let Some(route) = &live.route {
            write!(f, " route {route}")?;
        }
        match shared.peer() {
            Some(peer) => write!(f, " from {peer}"),
            None => Ok(()),
        }
    }
}
