//! Handlers that end when they are told to, and bodies that do as they are told.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Limit, Stats};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use tokio::sync::Semaphore;
use tower::{Layer, Service, service_fn, util::BoxCloneSyncService};

pub(crate) type Answered = Response<Bytes>;

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).expect("a path")
}

/// Requests that are in the handler until they are let go, one by one.
#[derive(Clone)]
pub(crate) struct Work {
    started: Arc<Mutex<Vec<String>>>,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self { started: Arc::default(), inside: Arc::default(), most: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    /// The paths of the requests, in the order in which they came to the handler.
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.lock().expect("no panic").clone()
    }

    /// The most that were inside at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Lets `n` requests end.
    pub(crate) fn finish(&self, n: usize) {
        self.go.add_permits(n);
    }

    /// One request begins; the guard is its end.
    pub(crate) fn begin(&self, path: &str) -> Inside {
        self.started.lock().expect("no panic").push(path.to_owned());
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        Inside(Arc::clone(&self.inside))
    }

    pub(crate) async fn wait(&self) {
        self.go.acquire().await.expect("never closed").forget();
    }

    /// A handler that begins when its future is polled and ends, with an empty body, when it is let go.
    pub(crate) fn service<B: Send + 'static>(
        &self,
    ) -> BoxCloneSyncService<Request<B>, Response<Full<Bytes>>, Infallible> {
        let work = self.clone();
        BoxCloneSyncService::new(service_fn(move |request: Request<B>| {
            let work = work.clone();
            async move {
                let _inside = work.begin(request.uri().path());
                work.wait().await;
                Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        }))
    }
}

pub(crate) struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Everything a script can make a body do.
pub(crate) enum Step {
    Data(&'static [u8]),
    Trailers,
    Error,
    Panic,
    Wait,
}

/// A body that follows a script; after its last step it ends with `None`.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    /// Whether the end is told by `is_end_stream` as soon as it is known.
    pub(crate) tells_end: bool,
    pub(crate) panics_in_drop: bool,
}

pub(crate) fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { steps: steps.into_iter().collect(), tells_end: false, panics_in_drop: false }
}

#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.steps.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(Bytes::from_static(data)))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(http::HeaderMap::new()))),
            Some(Step::Error) => Some(Err(Broken)),
            Some(Step::Panic) => panic!("in the body"),
            Some(Step::Wait) => return Poll::Pending,
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(42)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "in the body's drop");
    }
}

/// One request on a limit of one, and the answer's head.
pub(crate) async fn head_of<F, B, E>(
    layer: &ConcurrencyLimitLayer,
    request: Request<Empty<Bytes>>,
    inner: impl FnMut(Request<Empty<Bytes>>) -> F + Clone,
) -> Result<Response<graceful_concurrency_limit::ResponseBody<B, Empty<Bytes>>>, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    layer.layer(service_fn(inner)).call(request).await
}

pub(crate) fn in_flight(limit: &Limit) -> usize {
    limit.stats().in_flight
}

/// Lets other tasks run until `reached`.
pub(crate) async fn until(limit: &Limit, reached: impl Fn(&Stats) -> bool) -> Stats {
    soon(async {
        loop {
            let stats = limit.stats();
            if reached(&stats) {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// So that what never happens fails the test instead of hanging it.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens soon, or never")
}
