//! From return addresses to functions, files and lines.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use crate::trace::RawStack;

/// The way from an entry to a place where it waits, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stack {
    /// From the function that keeps the waker, as a timer or a lock, out to the poll of the entry. Functions that were
    /// inlined have frames of their own. Empty without unwind tables.
    pub frames: Vec<Arc<Frame>>,
    /// The entry that it leads into, if what it waits for is one.
    pub into: Option<u64>,
}

/// A function on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Its path, as `shop::orders::submit::{{closure}}` for an `async fn`; an address if the binary has no symbols.
    pub function: String,
    /// Its file, where the binary has line tables (`debug = "line-tables-only"`).
    pub file: Option<String>,
    /// The line in it: that of the `.await`, in an `async fn`.
    pub line: Option<u32>,
}

impl Stack {
    /// The innermost frame of the program's own code, not of the standard library or of a package from a registry: the
    /// `.await` to look at. `None` if there is no such frame.
    #[must_use]
    pub fn place(&self) -> Option<&Frame> {
        self.frames.iter().map(|frame| &**frame).find(|frame| !frame.is_of_library())
    }

    /// What is waited for, in a word, if it is tokio that waits: `sleep`, `interval`, `lock`, `permit`, `send`, `receive`,
    /// `changed`, `notified`, `barrier`, `join`, `file`, `io`.
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        let tokios: Vec<_> = self.frames.iter().take_while(|frame| frame.is_of_library()).map(|f| f.path()).collect();
        let has = |part: &str| tokios.iter().any(|path| path.contains(part));
        WAITS.iter().find(|(parts, _)| parts.iter().all(|part| has(part))).map(|(_, word)| *word)
    }
}

impl Frame {
    /// The path of the function; or of the module, if the debug information has only the function's own name: with line
    /// tables only, that is so for a function into which others were inlined.
    fn path(&self) -> Cow<'_, str> {
        match &self.file {
            Some(file) if !self.function.contains("::") || self.function.contains(['{', '(']) => match library(file) {
                Some((package, module)) => format!("{package}::{}", module.replace(['/', '\\'], "::")).into(),
                None => self.function.as_str().into(),
            },
            _ => self.function.as_str().into(),
        }
    }

    fn is_of_library(&self) -> bool {
        match &self.file {
            Some(file) => library(file).is_some() || is_of_house(file),
            // Dependencies are often built without line tables. What has no path is of the runtime, as `__rust_try`.
            None => !self.function.contains("::") || LIBRARIES.contains(&self.krate()),
        }
    }

    /// Not worth a line: `Pin::poll`, `poll_fn`, `catch_unwind` and the like.
    pub(crate) fn is_noise(&self) -> bool {
        match &self.file {
            Some(file) => self.is_ours() || library(file).is_some_and(|(package, _)| NOISE.contains(&package)),
            None => !self.function.contains("::") || NOISE.contains(&self.krate()),
        }
    }

    /// Of this crate, through which every entry is polled.
    fn is_ours(&self) -> bool {
        match &self.file {
            Some(file) => file.contains(file!().trim_end_matches("stack.rs")),
            None => self.krate() == env!("CARGO_CRATE_NAME"),
        }
    }

    fn krate(&self) -> &str {
        let name = self.function.trim_start_matches(['<', '&', '*']);
        let name = name.strip_prefix("dyn ").unwrap_or(name);
        name.split([':', '<', ' ', '[', '>']).next().unwrap_or(name)
    }
}

/// Whether it is a file of this crate or its neighbours, where they are not packages from a registry.
fn is_of_house(file: &str) -> bool {
    let house = file!().trim_end_matches("tasks/src/stack.rs");
    file.split_once(house).is_some_and(|(_, rest)| HOUSE.iter().any(|name| rest.starts_with(name)))
}

/// The package and the module of a file, if it is not the program's own.
fn library(file: &str) -> Option<(&str, &str)> {
    let (package, module) = if let Some((_, rest)) = file.split_once("/library/") {
        // `/rustc/<commit>/library/core/src/…`, or of the component `rust-src`.
        rest.split_once("/src/")?
    } else {
        let (_, rest) = file.split_once("/registry/src/").or_else(|| file.split_once("/git/checkouts/"))?;
        let (package, module) = rest.split_once('/')?.1.split_once("/src/")?;
        (package.rsplit_once('-').map_or(package, |(name, _version)| name), module)
    };
    Some((package, module.trim_end_matches(".rs")))
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, file, line } = self;
        f.write_str(function)?;
        match (file, line) {
            (Some(file), Some(line)) => write!(f, " at {}:{line}", short(file)),
            (Some(file), None) => write!(f, " at {}", short(file)),
            (None, _) => Ok(()),
        }
    }
}

/// A file of a dependency, from its package on.
fn short(file: &str) -> &str {
    let Some((_, rest)) = file.split_once("/registry/src/") else { return file };
    rest.split_once('/').map_or(rest, |(_, path)| path)
}

/// Looks each address up once: many entries wait at few places.
#[derive(Default)]
pub(crate) struct Resolver {
    known: HashMap<usize, Vec<Arc<Frame>>>,
}

impl Resolver {
    /// Takes 100 ms and more the first time in a process, when the debug information is read: not for a worker.
    pub(crate) fn resolve(&mut self, stack: &RawStack) -> Stack {
        let mut frames = Vec::new();
        for address in &stack.addresses {
            frames.extend_from_slice(self.known.entry(*address).or_insert_with(|| look_up(*address)));
        }
        // At the inner end: what notes the stack, and the poll of the entry that it leads into.
        let inner = frames.iter().take_while(|frame| frame.is_noise()).count();
        if let Some(last) = frames[..inner].iter().rposition(|frame| frame.is_ours() || is_clone(frame)) {
            frames.drain(..=last);
        }
        // At the outer end: the poll of the entry itself.
        if let Some(end) = frames.iter().position(|frame| frame.is_ours()) {
            frames.truncate(end);
        }
        Stack { frames, into: (stack.into != 0).then_some(stack.into) }
    }
}

fn is_clone(frame: &Frame) -> bool {
    frame.function.contains("Waker as core::clone::Clone")
        || frame.file.as_ref().is_some_and(|file| file.ends_with("core/src/task/wake.rs"))
}

fn look_up(address: usize) -> Vec<Arc<Frame>> {
    let mut frames = Vec::new();
    backtrace::resolve(std::ptr::with_exposed_provenance_mut(address), |symbol| {
        // `{:#}` leaves the hash out.
        let function = symbol.name().map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}"));
        let file = symbol.filename().map(|file| file.display().to_string());
        frames.push(Arc::new(Frame { function, file, line: symbol.lineno() }));
    });
    if frames.is_empty() {
        frames.push(Arc::new(Frame { function: format!("{address:#x}"), file: None, line: None }));
    }
    frames
}

/// Whose functions are not the program's own, where there is no file to tell.
const LIBRARIES: [&str; 34] = [
    "alloc",
    "axum",
    "axum_core",
    "backtrace",
    "core",
    "futures_channel",
    "futures_core",
    "futures_util",
    "graceful",
    "graceful_access_log",
    "graceful_answer",
    "graceful_concurrency_limit",
    "graceful_connection",
    "graceful_json_log",
    "graceful_listener",
    "graceful_recovery",
    "graceful_request_logger",
    "graceful_shutdown",
    "graceful_tasks",
    "graceful_timeout",
    "graceful_timer",
    "h2",
    "http_body_util",
    "hyper",
    "hyper_util",
    "rustls",
    "std",
    "tokio",
    "tokio_rustls",
    "tokio_stream",
    "tokio_util",
    "tower",
    "tracing",
    "tungstenite",
];

/// The folders of the neighbours.
const HOUSE: [&str; 12] = [
    "access-log/src/",
    "answer/src/",
    "concurrency-limit/src/",
    "connection/src/",
    "graceful/src/",
    "listener/src/",
    "recovery/src/",
    "request-logger/src/",
    "shutdown/src/",
    "tasks/src/",
    "timeout/src/",
    "timer/src/",
];

const NOISE: [&str; 6] = ["alloc", "backtrace", "core", "graceful_tasks", "std", "tracing"];

/// Parts of paths that are all on the way from tokio's outermost function to its innermost. The first that fits counts:
/// a lock is made of a semaphore.
const WAITS: [(&[&str], &str); 17] = [
    (&["tokio::time::interval"], "interval"),
    (&["tokio::time"], "sleep"),
    (&["tokio::runtime::time"], "sleep"),
    (&["tokio::sync::mutex"], "lock"),
    (&["tokio::sync::rwlock"], "lock"),
    (&["tokio::sync::mpsc", "tokio::sync::batch_semaphore"], "send"),
    (&["tokio::sync::mpsc"], "receive"),
    (&["tokio::sync::oneshot"], "receive"),
    (&["tokio::sync::broadcast"], "receive"),
    (&["tokio::sync::watch"], "changed"),
    (&["tokio::sync::barrier"], "barrier"),
    (&["tokio::sync::notify"], "notified"),
    (&["tokio::sync::batch_semaphore"], "permit"),
    (&["tokio::sync::semaphore"], "permit"),
    (&["tokio::fs"], "file"),
    (&["tokio::runtime::task"], "join"),
    (&["tokio::runtime::io"], "io"),
];
