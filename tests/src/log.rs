use std::{
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;
use tracing::{Dispatch, subscriber::DefaultGuard};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use crate::within;

/// What was logged so far: by a process on its standard output, or by this thread. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    /// How many lines there are.
    written: watch::Sender<usize>,
}

/// One line of a log: a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Line(Value);

impl Log {
    pub(crate) fn new() -> Self {
        Self { lines: Arc::default(), written: watch::Sender::new(0) }
    }

    /// Collects what this thread logs, in the form that a program's log has, until the guard is dropped. For tests on
    /// a runtime of one thread.
    #[must_use]
    pub fn of_this_thread() -> (Self, DefaultGuard) {
        // While there is only one subscriber, `tracing` asks that of the thread that comes by a span or an event for the
        // first time whether anybody wants it, and has the answer for all threads: never, where that one has none.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&ANOTHER);
        let log = Self::new();
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(log.clone());
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
        (log, guard)
    }

    /// Adds a line.
    ///
    /// # Panics
    ///
    /// If it is not a JSON object: no line may be anything else.
    pub(crate) fn push(&self, text: &str) {
        let mut value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON, {error}: {text:?}"));
        let line = value.as_object_mut().unwrap_or_else(|| panic!("not an object: {text:?}"));
        // `tracing-subscriber` keeps the request's fields apart; the log of a program has them beside the event's.
        if let Some(Value::Object(span)) = line.remove("span") {
            for (field, value) in span {
                line.entry(field).or_insert(value);
            }
        }
        let count = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(Line(value));
            lines.len()
        };
        self.written.send_replace(count);
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there are `count` lines that fit, and gives all that fit.
    ///
    /// # Panics
    ///
    /// When they do not come, with `what` in the message.
    pub async fn wait_for(&self, what: &str, count: usize, fits: impl Fn(&Line) -> bool) -> Vec<Line> {
        let mut written = self.written.subscribe();
        within(&format!("{count} × {what} in the log"), async {
            loop {
                written.borrow_and_update();
                let fitting: Vec<_> = self.lines().into_iter().filter(&fits).collect();
                if fitting.len() >= count {
                    return fitting;
                }
                written.changed().await.expect("the sender is in `self`");
            }
        })
        .await
    }

    /// Waits for the first line with this message.
    pub async fn message(&self, message: &str) -> Line {
        self.wait_for(message, 1, |line| line["message"] == message).await.swap_remove(0)
    }

    /// Waits for the access records of `count` requests for `path`.
    pub async fn access(&self, path: &str, count: usize) -> Vec<Line> {
        self.wait_for(&format!("access record of {path}"), count, |line| line.is_access() && line["path"] == path).await
    }
}

impl Line {
    /// Whether this is an access record.
    #[must_use]
    pub fn is_access(&self) -> bool {
        self["target"] == "access"
    }

    /// The id of the request that the line belongs to.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self["request_id"].as_str()
    }

    /// A number.
    ///
    /// # Panics
    ///
    /// If the field is none.
    #[must_use]
    pub fn number(&self, field: &str) -> f64 {
        self[field].as_f64().unwrap_or_else(|| panic!("{field} is not a number in {self:?}"))
    }

    /// The names of all fields.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        self.0.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }
}

/// A field, or null where there is none.
impl std::ops::Index<&str> for Line {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.0[field]
    }
}

/// A line a write, as `tracing_subscriber::fmt` does it.
impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in std::str::from_utf8(bytes).map_err(io::Error::other)?.lines() {
            self.push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
