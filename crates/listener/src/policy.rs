//! What an error of `accept` means for the loop around it.

use std::{fmt, io, time::Duration};

use tokio::time::Instant;

/// What kind of error `accept` gave.
///
/// See the [crate docs](crate) for the loop that uses it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum AcceptError {
    /// Something about the one connection that was to be accepted, or a signal in between: ignore it and try again at
    /// once. Usually a client that went away while it waited in the queue (`ECONNABORTED`).
    ///
    /// On Linux, `accept` also hands on what the network had to say to the new connection, and wants that treated the
    /// same way (accept(2), "Error handling").
    Connection,
    /// The process or the system is out of something: descriptors (`EMFILE`, `ENFILE`), buffers (`ENOBUFS`) or memory
    /// (`ENOMEM`). It passes when a connection ends: [back off](Backoff) and try again.
    Resource,
    /// Anything else, as a listener that is broken for good. Back off too: a loop that tries again at once takes a whole
    /// core. One that gives nothing else for some seconds will give nothing else for ever.
    Other,
}

impl AcceptError {
    /// Sorts an error of [`Listener::accept`](crate::Listener::accept).
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown => Self::Connection,
            Kind::OutOfMemory => Self::Resource,
            _ => error.raw_os_error().map_or(Self::Other, Self::of_code),
        }
    }

    /// The errors that `ErrorKind` has no name for.
    #[cfg(unix)]
    const fn of_code(code: i32) -> Self {
        match code {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS => Self::Resource,
            libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN => Self::Connection,
            #[cfg(target_os = "linux")]
            libc::ENONET => Self::Connection,
            _ => Self::Other,
        }
    }

    /// `WSAEMFILE` and `WSAENOBUFS`.
    #[cfg(windows)]
    const fn of_code(code: i32) -> Self {
        match code {
            10024 | 10055 => Self::Resource,
            _ => Self::Other,
        }
    }

    #[cfg(not(any(unix, windows)))]
    const fn of_code(_: i32) -> Self {
        Self::Other
    }
}

/// How long to wait after a failed `accept`, and whether to say so.
///
/// The wait is 5 ms after the first failure, twice as long after each further one, at most 1 s, and 5 ms again after a
/// success (the numbers of Go's `net/http`).
///
/// A server that is out of descriptors accepts one connection for each that ends, so failures and successes take turns.
/// All that is one burst, with one warning: it ends with a success that comes 1 s or more after the last failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    wait: Duration,
    burst: Option<Current>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    first: Instant,
    last: Instant,
    errors: u64,
    /// Whether anything was accepted since `last`.
    accepted: bool,
}

/// What to do after a failed `accept`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Failed {
    /// Wait so long before the next `accept`.
    pub wait: Duration,
    /// Warn: it is the first failure of its burst.
    pub warn: bool,
}

/// A burst of failures that is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Burst {
    /// How many failures there were.
    pub errors: u64,
    /// The time from the first to the last of them.
    pub lasted: Duration,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `accept` failed. Not to be called for [`AcceptError::Connection`].
    #[must_use]
    pub fn failed(&mut self) -> Failed {
        let now = Instant::now();
        self.wait = (self.wait * 2).clamp(FIRST, LONGEST);
        // A burst that nobody ended, as nothing was accepted since it had been quiet long enough, is over all the same.
        let burst = self.burst.filter(|burst| !burst.is_over(now));
        self.burst = Some(match burst {
            Some(burst) => Current { last: now, errors: burst.errors + 1, accepted: false, ..burst },
            None => Current { first: now, last: now, errors: 1, accepted: false },
        });
        Failed { wait: self.wait, warn: burst.is_none() }
    }

    /// `accept` gave a connection. Says once for each burst that it is over.
    #[must_use]
    pub fn succeeded(&mut self) -> Option<Burst> {
        let burst = self.burst.as_mut()?;
        self.wait = Duration::ZERO;
        burst.accepted = true;
        if !burst.is_over(Instant::now()) {
            return None;
        }
        let Current { first, last, errors, accepted: _ } = *burst;
        self.burst = None;
        Some(Burst { errors, lasted: last - first })
    }
}

impl Current {
    fn is_over(&self, now: Instant) -> bool {
        self.accepted && now - self.last >= QUIET
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors, lasted } = self;
        let plural = if *errors == 1 { "" } else { "s" };
        write!(f, "{errors} error{plural} in {:.1} s", lasted.as_secs_f64())
    }
}

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_the_system_may_say() {
        use AcceptError::{Connection, Other, Resource};
        for (code, kind) in [
            (libc::ECONNABORTED, Connection),
            (libc::ECONNRESET, Connection),
            (libc::EINTR, Connection),
            (libc::EAGAIN, Connection),
            (libc::ENETDOWN, Connection),
            (libc::EPROTO, Connection),
            (libc::ENOPROTOOPT, Connection),
            (libc::EHOSTDOWN, Connection),
            (libc::EHOSTUNREACH, Connection),
            (libc::ENETUNREACH, Connection),
            (libc::ETIMEDOUT, Connection),
            (libc::EMFILE, Resource),
            (libc::ENFILE, Resource),
            (libc::ENOBUFS, Resource),
            (libc::ENOMEM, Resource),
            (libc::EBADF, Other),
            (libc::EINVAL, Other),
            (libc::EPERM, Other),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(AcceptError::of(&error), kind, "{error}");
        }
    }

    #[test]
    fn an_error_of_a_wrapper_is_sorted_too() {
        assert_eq!(AcceptError::of(&io::Error::other("proxy")), AcceptError::Other);
        assert_eq!(AcceptError::of(&io::ErrorKind::ConnectionReset.into()), AcceptError::Connection);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_from_5_ms_to_1_s() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..10).map(|_| backoff.failed().wait.as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff.succeeded(), None);
        assert_eq!(backoff.failed().wait.as_millis(), 5, "after a success it begins again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_warning_and_one_end_a_burst() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.succeeded(), None, "nothing to tell where nothing failed");
        for i in 0..10 {
            let failed = backoff.failed();
            assert_eq!(failed.warn, i == 0, "the first failure is told, failure {i} is not");
            advance(failed.wait).await;
        }
        // 5 + 10 + … + 640 + 1000 ms, to the last failure.
        let lasted = Duration::from_millis(2275);
        assert_eq!(backoff.succeeded(), Some(Burst { errors: 10, lasted }));
        assert_eq!(backoff.succeeded(), None, "told once");
        assert!(backoff.failed().warn, "the next burst is told again");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_successes_in_turns_are_one_burst() {
        let mut backoff = Backoff::new();
        let mut warnings = 0;
        for _ in 0..100 {
            warnings += u32::from(backoff.failed().warn);
            advance(Duration::from_millis(5)).await;
            assert_eq!(backoff.succeeded(), None, "not over while it fails again and again");
        }
        assert_eq!(warnings, 1, "a server at its last descriptor must not fill the log");
        advance(QUIET).await;
        let burst = backoff.succeeded().expect("over");
        assert_eq!(burst.errors, 100);
        assert_eq!(burst.to_string(), "100 errors in 0.5 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_long_after_another_is_a_new_one() {
        let mut backoff = Backoff::new();
        assert!(backoff.failed().warn);
        assert_eq!(backoff.succeeded(), None);
        advance(Duration::from_secs(3600)).await;
        assert!(backoff.failed().warn, "nobody was there to end the first");
        advance(QUIET).await;
        assert_eq!(backoff.succeeded().expect("over").errors, 1, "and it does not count in the second");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_success_it_is_one_burst_however_long() {
        let mut backoff = Backoff::new();
        assert!(backoff.failed().warn);
        advance(Duration::from_secs(3600)).await;
        assert!(!backoff.failed().warn, "it never recovered");
    }
}
