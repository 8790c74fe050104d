//! What a connection speaks, from the sniff to the end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Ended, Refusal, Settings,
    executor::StreamExecutor,
    io::CountedIo,
    service::{HttpService, Tracked},
    state::CloseReason,
};

/// The client connection preface (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Io<T> = TokioIo<CountedIo<T>>;

#[expect(clippy::large_enum_variant, reason = "the big variant is what nearly every connection is")]
pub(crate) enum Protocol<T, S: HttpService> {
    Sniff {
        io: CountedIo<T>,
        service: Tracked<S>,
    },
    Http1(http1::UpgradeableConnection<Io<T>, Tracked<S>>),
    /// Boxed: it is three times the size of the others, and most connections are HTTP/1.
    Http2(Box<http2::Connection<Io<T>, Tracked<S>, StreamExecutor>>),
    Farewell {
        io: CountedIo<T>,
        left: Bytes,
    },
    Gone,
}

impl<T, S> Protocol<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    /// Drives the connection. Ready when the socket is closed, or was handed over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, settings: &Arc<Settings>) -> Poll<Result<(), Ended>> {
        loop {
            match self {
                Self::Sniff { io, .. } => {
                    let Ok(read) = ready!(io.poll_ahead(cx)) else {
                        return Poll::Ready(Err(Ended::because(CloseReason::Broken)));
                    };
                    let sniffed = io.sniffed();
                    if sniffed.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    let n = sniffed.len().min(PREFACE.len());
                    let alike = sniffed[..n] == PREFACE[..n];
                    if alike && n < PREFACE.len() && read > 0 {
                        continue;
                    }
                    let http2 = alike && n == PREFACE.len();
                    if io.shared().agreed_http2().is_some_and(|agreed| agreed != http2) {
                        // The one thing was agreed on, the other is spoken (RFC 9113, 3.2).
                        return Poll::Ready(Err(Ended::because(CloseReason::BadRequest)));
                    }
                    self.speak(http2, settings);
                }
                Self::Http1(connection) => return Pin::new(connection).poll(cx).map_err(Ended::failed),
                Self::Http2(connection) => return Pin::new(connection).poll(cx).map_err(Ended::failed),
                Self::Farewell { io, left } => {
                    while !left.is_empty() {
                        match ready!(Pin::new(&mut *io).poll_write(cx, left)) {
                            Ok(n) if n > 0 => left.advance(n),
                            _ => return Poll::Ready(Ok(())),
                        }
                    }
                    // The client is known to be slow: what it has sent is read, so there is nothing to linger for.
                    let _ = ready!(io.poll_finish(cx));
                    return Poll::Ready(Ok(()));
                }
                Self::Gone => return Poll::Ready(Ok(())),
            }
        }
    }

    fn speak(&mut self, http2: bool, settings: &Arc<Settings>) {
        let Self::Sniff { mut io, service } = std::mem::replace(self, Self::Gone) else { return };
        io.speak(http2);
        let entry = Arc::clone(io.entry());
        let io = TokioIo::new(io);
        if http2 {
            entry.shared.set_http2();
            let mut builder = http2::Builder::new(StreamExecutor { entry, settings: Arc::clone(settings) });
            builder
                .max_concurrent_streams(settings.h2_max_streams)
                .max_header_list_size(settings.max_header_bytes)
                .enable_connect_protocol();
            *self = Self::Http2(Box::new(builder.serve_connection(io, service)));
        } else {
            let mut builder = http1::Builder::new();
            // The read buffer must hold a head of the size allowed; hyper asks for 8 KiB at least.
            let head = settings.max_header_bytes as usize;
            builder
                .header_read_timeout(None)
                // The socket watches for a client that leaves, see `CountedIo::watch`.
                .half_close(true)
                .max_header_size(head)
                .max_buf_size(head.saturating_add(1).max(DEFAULT_MAX_BUF));
            // Setting hyper's own number makes it slower: an array of that size is there already.
            if settings.max_headers != DEFAULT_MAX_HEADERS {
                builder.max_headers(settings.max_headers);
            }
            *self = Self::Http1(builder.serve_connection(io, service).with_upgrades());
        }
    }

    /// Ends after what is in flight; an idle connection ends now.
    pub(crate) fn graceful_shutdown(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Http2(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
            Self::Sniff { .. } => *self = Self::Gone,
            Self::Farewell { .. } | Self::Gone => {}
        }
    }

    /// Tells an HTTP/1 client that its head took too long. False if there is no way to tell it.
    pub(crate) fn say_request_timeout(&mut self) -> bool {
        let io = match std::mem::replace(self, Self::Gone) {
            Self::Sniff { io, .. } => Some(io),
            Self::Http1(connection) => connection.into_parts().map(|parts| parts.io.into_inner()),
            _ => None,
        };
        match io {
            Some(io) => {
                // hyper was told to give up on the connection, so it is said by hand.
                let left = io.refuse(Refusal::HeaderTimeout);
                *self = Self::Farewell { io, left };
                true
            }
            None => false,
        }
    }
}

/// hyper's own default for the read and write buffers of HTTP/1.
const DEFAULT_MAX_BUF: usize = 8192 + 4096 * 100;

/// hyper's own default for the number of header fields.
const DEFAULT_MAX_HEADERS: usize = 100;
