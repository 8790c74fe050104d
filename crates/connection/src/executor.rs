//! Where hyper puts the tasks of HTTP/2 streams.

mod place;
pub(crate) mod stream;

use std::sync::Arc;

use graceful_tasks::Tracked;
use http::{Method, Uri};
use hyper::rt::Executor;

use self::{place::InPlace, stream::StreamTask};
use crate::{Settings, registry::Entry, service::RequestGuard};

/// Runs each stream in a task of its own, under the response deadlines.
///
/// They cannot sit in a body: hyper waits for the peer's window without polling the body, so a wrapper of it never sees
/// that the peer stopped. The executor is handed the stream's whole future.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor {
    pub(crate) entry: Arc<Entry>,
    pub(crate) settings: Arc<Settings>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the request's guard inside accounts for the task")]
    fn execute(&self, future: F) {
        if let Some((number, work)) = self.entry.shared.take_announced_stream() {
            let stream = StreamTask::new(future, Arc::clone(&self.entry.shared), number, &self.settings);
            tokio::spawn(Tracked::new(work, InPlace::new(stream)));
        } else {
            // The pump of an extended CONNECT (RFC 8441): it lives as long as the tunnel, without a limit, and counts as
            // a request, or the idle deadline would close a connection whose only work is a tunnel.
            let shared = &self.entry.shared;
            let number = shared.requests.next_tunnel();
            let work = self.entry.kinds().request(shared, number);
            let guard = RequestGuard::new(&self.entry, number, &Method::CONNECT, &Uri::default(), &work);
            tokio::spawn(Tracked::new(work, async move {
                future.await;
                drop(guard);
            }));
        }
    }
}
