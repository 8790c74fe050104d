//! A background worker behind a bounded queue.

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};
use tracing::{Instrument, Span};

/// What is to be done, and the span of the request that asked for it, so that its log lines carry the request's id.
pub(crate) struct Job {
    text: String,
    span: Span,
}

impl Job {
    pub(crate) fn new(text: String) -> Self {
        Self { text, span: Span::current() }
    }
}

/// Where handlers put jobs.
#[derive(Clone)]
pub(crate) struct Jobs {
    queue: mpsc::WeakSender<Job>,
}

impl Jobs {
    /// Queues a job, or gives it back if there is no room for it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let Some(queue) = self.queue.upgrade() else { return Err(job) };
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Closed(job) => job,
        })
    }
}

/// The worker itself.
pub(crate) struct Worker {
    /// The one strong sender: when it is gone, the worker does what is queued and ends.
    queue: mpsc::Sender<Job>,
    task: JoinHandle<()>,
}

/// Starts a worker with room for `size` jobs to wait.
pub(crate) fn start(size: usize) -> (Jobs, Worker) {
    let (queue, mut jobs) = mpsc::channel(size);
    #[expect(clippy::disallowed_methods, reason = "the worker's hook waits for it")]
    let task = tokio::spawn(async move {
        while let Some(Job { text, span }) = jobs.recv().await {
            work(&text).instrument(span).await;
        }
    });
    (Jobs { queue: queue.downgrade() }, Worker { queue, task })
}

impl Worker {
    /// Does what is queued, and ends.
    pub(crate) async fn finish(self) {
        let Self { queue, task } = self;
        drop(queue);
        if let Err(error) = task.await {
            tracing::error!(%error, "the worker died");
        }
        tracing::info!("queue drained");
    }
}

/// Here goes the work.
async fn work(text: &str) {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    tracing::info!(bytes = text.len(), "job done");
}
