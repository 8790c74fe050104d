//! Sinks that behave as they are told, and a log of one's own.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use graceful_json_log::{JsonLayer, JsonSubscriber, LiveFilter, LogConfig, LogWriter, Output};
use serde_json::Value;
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt;

pub(crate) type Object = serde_json::Map<String, Value>;

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Bytes that can be looked at.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("what is logged is UTF-8")
    }

    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).expect("what is logged is UTF-8")
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a write does.
pub(crate) enum Step {
    /// Takes at most so many bytes.
    Take(usize),
    Fail(io::ErrorKind),
    Panic,
}

/// Goes through its steps, then takes everything.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) steps: Arc<Mutex<VecDeque<Step>>>,
    pub(crate) captured: Captured,
}

impl Scripted {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps.into_iter().collect())), captured: Captured::default() }
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Take(most)) => self.captured.write(&bytes[..bytes.len().min(most)]),
            Some(Step::Fail(kind)) => Err(kind.into()),
            Some(Step::Panic) => panic!("a sink that panics"),
            None => self.captured.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink behind a gate: a write waits until it is open, as one to a disk that hangs.
#[derive(Clone, Default)]
pub(crate) struct Gated {
    open: Arc<(Mutex<bool>, Condvar)>,
    waited_for: Arc<AtomicBool>,
    pub(crate) captured: Captured,
}

impl Gated {
    pub(crate) fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    /// Whether a write waits, or has waited.
    pub(crate) fn waited_for(&self) -> bool {
        self.waited_for.load(Relaxed)
    }
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waited_for.store(true, Relaxed);
        let (open, opened) = &*self.open;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        self.captured.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// With room for all that a test logs: on a busy machine the writer's thread may not run before the end of it.
pub(crate) fn open(sink: impl Write + Send + 'static) -> LogWriter {
    let config = LogConfig::new().output(Output::Writer(Box::new(sink)));
    config.capacity(256 << 20).open().expect("a thread starts")
}

/// What `init` logs with.
pub(crate) fn whole(writer: &LogWriter) -> Dispatch {
    JsonSubscriber::new(writer.clone()).into_dispatch(LiveFilter::new("trace").expect("a level"))
}

/// A subscriber that logs to `writer`, and nothing else.
pub(crate) fn json(writer: &LogWriter) -> Dispatch {
    Dispatch::new(JsonSubscriber::new(writer.clone()))
}

/// The same as a layer in a registry.
pub(crate) fn json_in_a_registry(writer: &LogWriter) -> Dispatch {
    Dispatch::new(tracing_subscriber::registry().with(JsonLayer::new(writer.clone())))
}

/// What `log` logs, line by line: the same through each of them, but for the time.
pub(crate) fn logged(log: impl Fn()) -> Vec<Object> {
    let [whole, subscriber, layer] = [whole, json, json_in_a_registry].map(|dispatch| {
        let captured = Captured::default();
        let writer = open(captured.clone());
        tracing::dispatcher::with_default(&dispatch(&writer), &log);
        writer.flush(LONG).expect("memory takes it all");
        captured.text()
    });
    let without_times = |text: &str| text.lines().map(without_time).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_times(&subscriber), without_times(&layer), "the layer and the subscriber write the same");
    assert_eq!(without_times(&subscriber), without_times(&whole), "and so does the subscriber with a filter");
    lines(&subscriber)
}

/// A line from its level on.
pub(crate) fn without_time(line: &str) -> &str {
    line.split_at_checked(r#"{"timestamp":"2006-01-02T15:04:05.123456Z","#.len()).map_or("", |(_, rest)| rest)
}

/// The complete lines of a log, each of which has to be an object without a key twice.
pub(crate) fn lines(text: &str) -> Vec<Object> {
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(line).collect()
}

pub(crate) fn line(text: &str) -> Object {
    let object: Object = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
    let keys: Vec<String> = serde_json::from_str(text).map(|Keys(keys)| keys).unwrap();
    assert_eq!(keys.len(), object.len(), "every key once: {text}");
    object
}

/// The keys of an object as they stand there.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, serde::de::IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The same numbers on every machine (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }

    pub(crate) fn text(&mut self) -> String {
        let length = self.below(24);
        (0..length).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        let bound = [0x20, 0x80, 0x80, 0x80, 0x80, 0x100, 0x3000, 0x11_0000][self.below(8) as usize];
        match self.below(12) {
            0 => '"',
            1 => '\\',
            2 => ['\u{7f}', '\u{2028}', '\u{2029}', '\u{85}'][self.below(4) as usize],
            _ => char::from_u32(self.below(bound) as u32).unwrap_or('\u{fffd}'),
        }
    }
}
