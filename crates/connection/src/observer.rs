use std::{net::SocketAddr, time::Duration};

use crate::{CloseReason, ConnectionState, shared::Shared};

/// Is told of every change of state, as Go's `http.Server.ConnState`.
///
/// A connection is new, then active and idle by turns, perhaps upgraded, and closed in the end; each change is told once.
/// It runs in the connection's own task, or in that of one of its streams: it must be quick, and must not block.
pub trait Observer: Send + Sync + 'static {
    /// `connection` is `state` now. When it is closed, [`ConnectionInfo::close_reason`] says why.
    fn state(&self, connection: &ConnectionInfo<'_>, state: ConnectionState);
}

impl<F> Observer for F
where
    F: Fn(&ConnectionInfo<'_>, ConnectionState) + Send + Sync + 'static,
{
    fn state(&self, connection: &ConnectionInfo<'_>, state: ConnectionState) {
        self(connection, state);
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo<'a> {
    shared: &'a Shared,
}

impl<'a> ConnectionInfo<'a> {
    pub(crate) const fn of(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// Counts up from 1, never reused.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.shared.id
    }

    /// The client's address, where it has one.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.shared.peer()
    }

    /// How long it has been open.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.shared.opened.elapsed()
    }

    /// How many requests it has carried so far, those in flight included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.started()
    }

    /// Whether it speaks HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.shared.is_http2()
    }

    /// What was agreed on in its TLS handshake, once that is done; `None` for one in the clear.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&'a crate::tls::TlsInfo> {
        self.shared.tls()
    }

    /// Why it was closed, once it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.reason()
    }
}
