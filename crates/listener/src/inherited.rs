use std::{
    env, io,
    sync::{Mutex, PoisonError},
};

use listenfd::ListenFd;

use crate::{AnyListener, TcpListener, UnixListener};

/// A socket that listened before this process was there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inherited {
    /// Its name, if the one who handed it over gave names: `FileDescriptorName=` in a systemd socket unit, by default the
    /// unit's own name.
    pub name: Option<String>,
    /// The socket.
    pub listener: AnyListener,
}

/// Takes the sockets that were handed to this process, in their order: systemd's socket activation, or `systemfd`.
///
/// The one who hands them over keeps them open across restarts, so that clients wait instead of being refused, and may
/// bind ports for which this process has no right. None if there are none; a second call finds none, as there is only
/// one of each.
///
/// ```
/// use graceful_listener::{AnyListener, Several, inherited};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut listeners: Vec<_> = inherited()?.into_iter().map(|inherited| inherited.listener).collect();
/// if listeners.is_empty() {
///     listeners.push(AnyListener::bind("127.0.0.1:0").await?);
/// }
/// let listener = Several::new(listeners);
/// # Ok(()) }
/// ```
///
/// The protocol is that of `sd_listen_fds(3)`: `LISTEN_FDS`, `LISTEN_PID` (may be missing), `LISTEN_FDNAMES`. The first two
/// are removed from the environment, so that no child process believes they are for it. As with all changes of the
/// environment, call it before there are threads that read it from C.
///
/// # Errors
///
/// If one of them is not a listening TCP or Unix stream socket, or if there are not as many names as sockets; then those
/// that came before are closed.
///
/// # Panics
///
/// If there are any, outside of a tokio runtime with IO enabled.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    // Two that read the environment at the same time would get the same descriptors, and each would close them.
    static TAKING: Mutex<()> = Mutex::new(());
    let taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sockets = ListenFd::from_env();
    drop(taking);

    let count = sockets.len();
    let names = env::var("LISTEN_FDNAMES").ok().filter(|_| count > 0);
    let names: Vec<_> = names.iter().flat_map(|names| names.split(':')).map(str::to_owned).collect();
    if !names.is_empty() && names.len() != count {
        let message = format!("{count} sockets were inherited, but LISTEN_FDNAMES has {} names", names.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut names = names.into_iter();
    (0..count)
        .map(|at| {
            let name = names.next();
            match take(&mut sockets, at)? {
                Some(listener) => Ok(Inherited { name, listener }),
                None => {
                    let name = name.map(|name| format!(" ({name:?})")).unwrap_or_default();
                    let descriptor = FIRST + at;
                    let message =
                        format!("descriptor {descriptor}{name}, handed over, is not a listening TCP or Unix socket");
                    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
                }
            }
        })
        .collect()
}

/// The descriptor of the first, `SD_LISTEN_FDS_START`.
const FIRST: usize = 3;

/// The listener at a place of the list; `None` if what is there is none.
fn take(sockets: &mut ListenFd, at: usize) -> io::Result<Option<AnyListener>> {
    if let Ok(Some(tcp)) = sockets.take_tcp_listener(at) {
        return if listens(&tcp)? { TcpListener::from_std(tcp).map(|tcp| Some(tcp.into())) } else { Ok(None) };
    }
    if let Ok(Some(unix)) = sockets.take_unix_listener(at) {
        return if listens(&unix)? { UnixListener::from_std(unix).map(|unix| Some(unix.into())) } else { Ok(None) };
    }
    Ok(None)
}

/// Whether it is not a connection: with `Accept=yes`, systemd hands over one of those.
fn listens(socket: &impl std::os::fd::AsFd) -> io::Result<bool> {
    #[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
    return socket2::SockRef::from(socket).is_listener();
    // The others cannot tell. What is no listener says so when it is asked for a connection.
    #[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "linux")))]
    return {
        let _ = socket;
        Ok(true)
    };
}
