use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use graceful_tasks::{Entry, Moment};
use http::{Method, Uri};
use tokio::time::Instant;

use super::{Flag, note::Note};

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Between their head and the end of their response's body.
    in_flight: AtomicU32,
    started: AtomicU64,
    /// The one that the connection's task took in last: over HTTP/2 a tunnel may have begun since, in another task.
    latest: AtomicU64,
    /// How many there may be; 0 is as many as there come.
    max: AtomicU64,
    /// What is in flight, so that a shutdown can name what it waits for. HTTP/1: the method and the target of the one
    /// there can be, tagged with the moment at which its head was in. Written for each request: no lock, no count.
    current: Note,
    /// HTTP/1: its entry among the live work.
    work: AtomicU64,
    /// HTTP/1: its route, tagged with its number.
    route: Note,
    /// HTTP/2: the streams. Touched by the tasks of one connection only.
    streams: Mutex<Vec<Live>>,
    /// A handler has moved a limit of its own: only then is it worth looking among `moved`.
    overridden: Flag,
    moved: Mutex<Vec<Moved>>,
}

/// A request in flight.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    number: u64,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) since: Moment,
    /// Its entry among the live work.
    pub(crate) entry: u64,
}

/// The limits that a request has moved.
#[derive(Clone, Copy, Debug)]
struct Moved {
    number: u64,
    read: Override,
    write: Override,
}

/// A limit that a handler has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Override {
    /// It has not.
    #[default]
    None,
    /// To then; `None` lifts it.
    Until(Option<Instant>),
}

impl Requests {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Acquire)
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// At least one.
    pub(crate) fn set_max(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    /// Whether the last request that the connection may carry has begun.
    pub(crate) fn is_last(&self) -> bool {
        let max = self.max.load(Relaxed);
        max != 0 && self.started() >= max
    }

    /// The number of a request that is about to begin: HTTP/1, where they do so in the connection's own task only.
    pub(crate) fn next(&self) -> u64 {
        self.started() + 1
    }

    /// The number of a stream that is about to begin.
    pub(crate) fn next_stream(&self) -> u64 {
        let number = self.next_tunnel();
        self.latest.store(number, Relaxed);
        number
    }

    /// The number of a tunnel that is about to begin: that of an extended CONNECT does so in the task of the stream that
    /// asked for it, beside whatever begins in the connection's.
    pub(crate) fn next_tunnel(&self) -> u64 {
        self.started.fetch_add(1, Relaxed) + 1
    }

    /// The number of the request that the connection's task has taken in last. For that task.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Relaxed)
    }

    /// HTTP/1: a request begins. All of it in the connection's task.
    pub(super) fn begin(&self, number: u64, method: &Method, uri: &Uri, work: &Entry) {
        self.work.store(work.id(), Relaxed);
        self.started.store(number, Relaxed);
        self.latest.store(number, Relaxed);
        let target = match uri.path_and_query() {
            Some(path) => path.as_str(),
            None => uri.authority().map_or("", |authority| authority.as_str()),
        };
        self.current.write_alone(work.since().to_bits(), method.as_str(), target);
        self.in_flight.store(1, Release);
    }

    /// HTTP/1: it has ended.
    pub(super) fn end(&self, number: u64) {
        self.forget(number);
        // Release: whoever sees zero also sees all that the request did.
        self.in_flight.store(0, Release);
    }

    /// HTTP/2: a stream begins. Says whether it is the only one.
    pub(super) fn begin_stream(&self, number: u64, method: Method, uri: Uri, work: &Entry) -> bool {
        self.streams().push(Live { number, method, uri, route: None, since: work.since(), entry: work.id() });
        self.in_flight.fetch_add(1, AcqRel) == 0
    }

    /// HTTP/2: it has ended. Says whether it was the last one in flight.
    pub(super) fn end_stream(&self, number: u64) -> bool {
        self.forget(number);
        // Dropped outside the lock: what it refers to may have to be freed.
        let _ended = {
            let mut streams = self.streams();
            streams.iter().position(|live| live.number == number).map(|at| streams.swap_remove(at))
        };
        // AcqRel: whoever sees zero also sees all that the requests did.
        self.in_flight.fetch_sub(1, AcqRel) == 1
    }

    pub(crate) fn get(&self, number: u64) -> Option<Live> {
        self.list().into_iter().find(|live| live.number == number)
    }

    /// What is in flight.
    pub(crate) fn list(&self) -> Vec<Live> {
        let streams = self.streams().clone();
        if !streams.is_empty() || self.in_flight() == 0 {
            return streams;
        }
        let Some(current) = self.current.read() else { return streams };
        let number = self.started();
        let route = self.route.read().filter(|route| route.tag == number).map(|route| route.text.into());
        vec![Live {
            number,
            route,
            method: current.title.parse().unwrap_or_default(),
            uri: current.text.parse().unwrap_or_default(),
            since: Moment::from_bits(current.tag),
            entry: self.work.load(Relaxed),
        }]
    }

    /// HTTP/1.
    pub(super) fn set_route(&self, number: u64, route: &str) {
        self.route.write(number, "", route);
    }

    /// HTTP/2.
    pub(super) fn set_stream_route(&self, number: u64, route: &Arc<str>) {
        if let Some(live) = self.streams().iter_mut().find(|live| live.number == number) {
            live.route = Some(Arc::clone(route));
        }
    }

    pub(crate) fn read_override(&self, number: u64) -> Override {
        self.find(number, |moved| moved.read)
    }

    pub(crate) fn write_override(&self, number: u64) -> Override {
        self.find(number, |moved| moved.write)
    }

    pub(crate) fn override_read(&self, number: u64, until: Option<Instant>) {
        self.change(number, |moved| moved.read = Override::Until(until));
    }

    pub(crate) fn override_write(&self, number: u64, until: Option<Instant>) {
        self.change(number, |moved| moved.write = Override::Until(until));
    }

    fn find(&self, number: u64, limit: impl Fn(&Moved) -> Override) -> Override {
        if !self.overridden.get() {
            return Override::None;
        }
        self.moved().iter().find(|moved| moved.number == number).map_or(Override::None, limit)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Moved)) {
        let mut all = self.moved();
        if !self.is_live(number) {
            return;
        }
        let at = all.iter().position(|moved| moved.number == number).unwrap_or_else(|| {
            all.push(Moved { number, read: Override::None, write: Override::None });
            all.len() - 1
        });
        change(&mut all[at]);
        self.overridden.set();
    }

    fn is_live(&self, number: u64) -> bool {
        (number == self.started() && self.in_flight() > 0) || self.streams().iter().any(|live| live.number == number)
    }

    /// The limits of a request that has ended are of no interest.
    fn forget(&self, number: u64) {
        if self.overridden.get() {
            let mut all = self.moved();
            all.retain(|moved| moved.number != number);
            self.overridden.put(!all.is_empty());
        }
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Live>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) -> MutexGuard<'_, Vec<Moved>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_begin_at_once_have_numbers_of_their_own() {
        const EACH: usize = 50_000;
        let (requests, both) = (Requests::default(), std::sync::Barrier::new(2));
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let take = |next: fn(&Requests) -> u64| {
                both.wait();
                (0..EACH).map(|_| next(&requests)).collect::<Vec<_>>()
            };
            let threads =
                [scope.spawn(move || take(Requests::next_stream)), scope.spawn(move || take(Requests::next_tunnel))];
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=2 * EACH as u64), "each once, from 1");
    }

    #[test]
    fn a_tunnel_is_not_what_the_connection_took_in_last() {
        let requests = Requests::default();
        let stream = requests.next_stream();
        assert_eq!((requests.next_tunnel(), requests.latest()), (stream + 1, stream));
    }
}
