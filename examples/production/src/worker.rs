//! A background worker behind a bounded queue.

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::Span;

/// What is to be done, and the span of the request that asked for it, so that its log lines carry the request's id.
pub(crate) struct Job {
    text: String,
    span: Span,
}

impl Job {
    pub(crate) fn new(text: String) -> Self {
        Self { text, span: Span::current() }
    }

    /// In a task of its own: a panic is logged, and ends this job and not the worker.
    async fn run(self) {
        let Self { text, span } = self;
        let _ = span.in_scope(|| graceful::spawn_named("job", work(text))).await;
    }
}

/// Where handlers put jobs.
#[derive(Clone)]
pub(crate) struct Jobs {
    queue: mpsc::Sender<Job>,
}

impl Jobs {
    /// Queues a job, or gives it back if there is no room for it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Closed(job) => job,
        })
    }
}

/// Starts a worker with room for `size` jobs to wait.
///
/// The server knows what is spawned like this: when every request is answered it tells the worker to end, and waits for it.
pub(crate) fn start(size: usize) -> Jobs {
    let (queue, mut jobs) = mpsc::channel::<Job>(size);
    graceful::spawn_named("worker", async move {
        loop {
            tokio::select! {
                Some(job) = jobs.recv() => job.run().await,
                () = graceful::cancelled() => break,
            }
        }
        // What is queued is still done.
        jobs.close();
        while let Some(job) = jobs.recv().await {
            job.run().await;
        }
        tracing::info!("queue drained");
    });
    Jobs { queue }
}

/// Here goes the work.
async fn work(text: String) {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    tracing::info!(bytes = text.len(), "job done");
}
