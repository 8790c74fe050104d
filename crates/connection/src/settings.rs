use std::time::Duration;

use tokio::time::Instant;

/// The deadlines and limits of a connection.
///
/// A deadline of `None` is off; zero is a deadline that has always passed, so it is treated as off as well: zero never
/// means "at once". A deadline too far away for the clock is off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// From accept to the end of the first request head, and later from the first byte of a head to its end. It covers
    /// the version sniff, and for HTTP/2 the preface. Bytes that drip in do not restart it. Default 5 s.
    pub read_header: Option<Duration>,
    /// From the end of a request's head to the end of its body. Default 30 s.
    pub read_body: Option<Duration>,
    /// From the end of a request to the last byte of its response: from the end of its head, or from the last part of
    /// its body that the handler took. A response of type `text/event-stream` and an
    /// upgrade lift it. Default 60 s.
    pub write: Option<Duration>,
    /// How long a peer may take no byte at all while there is something to send. It also protects where `write` is off
    /// or lifted. Default 30 s.
    pub write_stall: Option<Duration>,
    /// How fast a request's body must come in while the handler waits for it. Default off; 240 bytes a second after 5 s is
    /// Kestrel's.
    pub min_body_rate: Option<MinRate>,
    /// How fast a client must take a response while there is more to send. Default off; 240 bytes a second after 5 s is
    /// Kestrel's.
    pub min_write_rate: Option<MinRate>,
    /// HTTP/1: how long a handler runs on after the client has closed its side, so that a quick one still answers a
    /// client that sends its request and then the end (`printf … | nc -N`). Then it is dropped, as for a client that left:
    /// the two look alike until something is written. A reset drops it at once. Default 100 ms.
    pub half_close_grace: Option<Duration>,
    /// Between a response and the first byte of the next request; for HTTP/2, without a stream. Default 120 s.
    pub idle: Option<Duration>,
    /// How long to go on reading, and discarding, after the last answer on a connection whose client is still sending.
    /// Closing at once would make the kernel send a reset, and the client would lose the answer (RFC 9112, 9.6).
    /// Default 5 s (nginx' `lingering_timeout`).
    pub linger: Option<Duration>,
    /// HTTP/1: how many bytes a request head may have; beyond it 431. HTTP/2: `SETTINGS_MAX_HEADER_LIST_SIZE`. Default
    /// 64 KiB.
    pub max_header_bytes: u32,
    /// HTTP/1: how many header fields a request may have; beyond it 431. Default 100 (hyper's own).
    pub max_headers: usize,
    /// How old a connection may grow before it is asked to end, give or take a tenth, so that connections opened together
    /// do not end together. What is in flight is answered. Default off.
    pub max_age: Option<Duration>,
    /// How many requests a connection may carry, give or take a tenth. Default off.
    pub max_requests: Option<u64>,
    /// How many sockets may be upgraded (WebSockets, tunnels) at once; a request for one more is answered 503. HTTP/2's
    /// are streams, and count as such. Default off.
    pub max_upgraded: Option<usize>,
    /// Whether every request has its [`ConnectionControl`](crate::ConnectionControl) in its extensions. That is one
    /// allocation a request, and two more for the table where nothing else is in it; without, a handler still finds it by
    /// [`ConnectionControl::current`](crate::ConnectionControl::current). Default on.
    pub control_extension: bool,
    /// HTTP/2: how many streams a client may have open at once. Default 250 (Go's net/http).
    pub h2_max_streams: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_header: Some(Duration::from_secs(5)),
            read_body: Some(Duration::from_secs(30)),
            write: Some(Duration::from_secs(60)),
            write_stall: Some(Duration::from_secs(30)),
            min_body_rate: None,
            min_write_rate: None,
            half_close_grace: Some(Duration::from_millis(100)),
            idle: Some(Duration::from_secs(120)),
            linger: Some(Duration::from_secs(5)),
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_age: None,
            max_requests: None,
            max_upgraded: None,
            control_extension: true,
            h2_max_streams: 250,
        }
    }
}

/// The least that a peer must move, on average, while it is waited for.
///
/// It is a better limit for big bodies than a total one, which a slow but honest client cannot meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MinRate {
    /// Bytes a second, at least 1.
    pub bytes_per_second: u64,
    /// How long it may move nothing, or less than that, before the rate counts.
    pub grace: Duration,
}

impl MinRate {
    /// At least `bytes_per_second`, once `grace` is over. `None` for a rate of 0, which is no limit.
    #[must_use]
    pub const fn new(bytes_per_second: u64, grace: Duration) -> Option<Self> {
        if bytes_per_second == 0 { None } else { Some(Self { bytes_per_second, grace }) }
    }

    /// How long so many bytes may take.
    pub(crate) fn time_for(self, bytes: u64) -> Duration {
        let millis = u128::from(bytes) * 1000 / u128::from(self.bytes_per_second.max(1));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// The instant that lies `limit` after `start`; `None` if the limit is off or the clock does not reach that far.
pub(crate) fn deadline(start: Instant, limit: Option<Duration>) -> Option<Instant> {
    limit.filter(|limit| !limit.is_zero()).and_then(|limit| start.checked_add(limit))
}

/// The earlier one of those that there are.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_the_unreachable_are_off() {
        let start = Instant::now();
        assert_eq!(deadline(start, None), None);
        assert_eq!(deadline(start, Some(Duration::ZERO)), None, "zero never means at once");
        assert_eq!(deadline(start, Some(Duration::MAX)), None, "an overflow must not panic");
        assert_eq!(deadline(start, Some(Duration::from_secs(1))), Some(start + Duration::from_secs(1)));
    }
}
