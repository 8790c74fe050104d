//! Room for as many files as connections are allowed.

use crate::{Config, server_log};

/// Raises the soft limit of open files, as far as the hard one lets it, to what [`Config::max_connections`] may need: as a
/// rule it is 1,024, for the sake of programs that use `select(2)`, and raising it is left to those that do not (Go's
/// runtime does it since 1.19). Where the hard limit is too low, it says so.
#[cfg(unix)]
pub(crate) fn make_room(config: &Config) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let connections = config.max_connections.map_or(UNLIMITED, |max| max as u64);
    // What a handler opens for its request, a file or a connection to somewhere else, and what there is besides.
    let wanted = connections.saturating_mul(2).saturating_add(OTHERS).min(hard);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        tracing::debug!(before = soft, now = wanted, "limit of open files raised");
    }
    if config.max_connections.is_some() && hard < connections.saturating_add(OTHERS) {
        server_log::few_descriptors(hard, connections);
    }
}

#[cfg(not(unix))]
pub(crate) const fn make_room(_: &Config) {}

/// Where there is no limit: as many connections have no memory left to be in.
#[cfg(unix)]
const UNLIMITED: u64 = 1 << 19;

/// Listeners, files, the runtime's own.
#[cfg(unix)]
const OTHERS: u64 = 64;
