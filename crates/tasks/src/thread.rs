use std::fmt;

/// A thread that runs something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thread {
    /// Its name, if it has one. All workers of a runtime have the same.
    pub name: Option<String>,
    /// The number that the system knows it by, as `top -H` shows it. Only on Linux.
    pub os_id: Option<u32>,
}

impl Thread {
    pub(crate) fn current() -> Self {
        Self { name: std::thread::current().name().map(str::to_owned), os_id: os_id() }
    }
}

/// Once a thread: a link that reads `1234/task/1240`, and saves a dependency for one system call.
fn os_id() -> Option<u32> {
    if !cfg!(target_os = "linux") || cfg!(miri) {
        return None;
    }
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, os_id } = self;
        f.write_str(name.as_deref().unwrap_or("unnamed"))?;
        match os_id {
            Some(id) => write!(f, " ({id})"),
            None => Ok(()),
        }
    }
}
