mod file;

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{self, UnixStream};

use self::file::{OwnFile, SocketFile};
use crate::{Accepted, BindError, ListenAddr, Listener, Peer};

/// Listens on a Unix socket: a file that processes on this machine connect to.
///
/// ```
/// use graceful_listener::{Listener, UnixOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("graceful-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let address = format!("unix:{}", dir.join("app.sock").display());
/// // let address = "unix:/run/app/app.sock";
/// let listener = UnixOptions::new().mode(0o660).bind(&address).await?;
/// assert_eq!(listener.local_addr()?.to_string(), address);
/// # drop(listener); std::fs::remove_dir(&dir)?;
/// # Ok(()) }
/// ```
///
/// The file is removed when the listener is dropped, unless another has taken its place by then.
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct UnixListener {
    // Dropped first: while the socket is open, no other file can have the number by which ours is known.
    file: Option<OwnFile>,
    inner: net::UnixListener,
}

impl UnixListener {
    /// Listens on `address`, with the default [options](UnixOptions).
    ///
    /// - `unix:/run/app.sock`, or the path alone: that file. One that a former process has left behind, so that nobody
    ///   listens on it, is replaced; one that somebody listens on is in use, and a file of another kind is in the way.
    /// - `unix:@name`: a name that is no file (Linux, "abstract"). It is gone with the socket, and every process in the
    ///   same network namespace may connect.
    ///
    /// Two processes that replace the same left-behind file in the same microseconds may both believe that they have it.
    ///
    /// # Errors
    ///
    /// [`BindError`] says which of the things that may go wrong did.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        UnixOptions::new().bind(address).await
    }

    /// Takes over a socket that listens already. Its file, if it has one, is left to whoever made it.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking or registered.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO enabled.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { file: None, inner: net::UnixListener::from_std(listener)? })
    }

    /// The socket.
    #[must_use]
    pub const fn get_ref(&self) -> &net::UnixListener {
        &self.inner
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream>> {
        let (stream, _) = self.inner.accept().await?;
        Ok(Accepted::new(stream, Peer::Unix))
    }

    fn close_queue(&mut self) -> bool {
        self.file.take().is_some()
    }

    /// A name that is no file is given as `@name`.
    fn local_addr(&self) -> io::Result<ListenAddr> {
        if let Some(file) = &self.file {
            return Ok(ListenAddr::Unix(file.path().to_owned()));
        }
        self.inner.local_addr().map(ListenAddr::from)
    }
}

/// How to listen on a Unix socket.
#[derive(Clone, Debug)]
pub struct UnixOptions {
    backlog: u16,
    mode: Option<u32>,
}

impl UnixOptions {
    /// The defaults, each at its method.
    #[must_use]
    pub const fn new() -> Self {
        Self { backlog: 4096, mode: None }
    }

    /// How many connections may wait in the kernel to be accepted. Default: 4096; Linux cuts it to `net.core.somaxconn`.
    #[must_use]
    pub const fn backlog(self, connections: u16) -> Self {
        Self { backlog: connections, ..self }
    }

    /// The permissions of the file, as `0o660`: who may write to it may connect. Default: what the process's umask
    /// leaves, as a rule the owner alone.
    ///
    /// They are in force before anyone can connect. Some systems other than Linux look at the directory's permissions
    /// only, and a name that is no file has none.
    #[must_use]
    pub fn mode(self, mode: impl Into<Option<u32>>) -> Self {
        Self { mode: mode.into(), ..self }
    }

    /// Listens on `address`: see [`UnixListener::bind`].
    ///
    /// # Errors
    ///
    /// [`BindError`] says which of the things that may go wrong did.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    pub async fn bind(&self, address: &str) -> Result<UnixListener, BindError> {
        let bad = |reason| BindError::BadAddress { address: address.to_owned(), reason };
        let refused = |error: io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => BindError::NoDirectory { address: address.to_owned() },
            _ => BindError::of(error, address, 0),
        };
        let name = parse(address).map_err(bad)?;
        let addr = name.addr().map_err(|_| bad("its path is longer than the system allows"))?;
        let Name::Path(path) = name else { return self.listen(&addr, None).map_err(refused) };
        // Each turn but the last has removed a file that nobody listens on.
        for _ in 0..4 {
            match self.listen(&addr, Some(path)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                listening => return listening.map_err(refused),
            }
            match remove_stale(path, &addr).await.map_err(refused)? {
                Found::Nobody => {}
                Found::Somebody => break,
                Found::NoSocket => return Err(BindError::NotASocket { address: address.to_owned() }),
            }
        }
        Err(BindError::InUse { address: address.to_owned() })
    }

    fn listen(&self, addr: &SockAddr, path: Option<&Path>) -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(addr)?;
        // From here on an error removes it again.
        let file = path.map(OwnFile::new).transpose()?;
        // Before anyone can connect: that is refused until the socket listens.
        if let (Some(path), Some(mode)) = (path, self.mode) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o777))?;
        }
        socket.listen(self.backlog.into())?;
        Ok(UnixListener { file, ..UnixListener::from_std(socket.into())? })
    }
}

impl Default for UnixOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What `address` asks for.
#[derive(Debug, PartialEq)]
enum Name<'a> {
    Path(&'a Path),
    Abstract(&'a str),
}

impl Name<'_> {
    fn addr(&self) -> io::Result<SockAddr> {
        match self {
            Self::Path(path) => SockAddr::unix(path),
            Self::Abstract(name) => SockAddr::unix(format!("\0{name}")),
        }
    }
}

fn parse(address: &str) -> Result<Name<'_>, &'static str> {
    let name = address.strip_prefix(PREFIX).unwrap_or(address);
    // The system would take it as the end, and listen somewhere else.
    if name.contains('\0') {
        return Err("a zero byte is in its path");
    }
    match name.strip_prefix('@') {
        Some("") => Err("its name is missing"),
        Some(_) if cfg!(not(any(target_os = "android", target_os = "linux"))) => {
            Err("only Linux has names that are no files")
        }
        Some(name) => Ok(Name::Abstract(name)),
        None if name.is_empty() => Err("its path is missing"),
        None => Ok(Name::Path(Path::new(name))),
    }
}

/// What is at the path of a socket that could not be bound.
enum Found {
    /// Nothing any more.
    Nobody,
    Somebody,
    NoSocket,
}

/// Removes the file at `path` if it is a socket that nobody listens on.
async fn remove_stale(path: &Path, addr: &SockAddr) -> io::Result<Found> {
    let found = match SocketFile::at(path) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Found::NoSocket),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nobody),
        Err(error) => return Err(error),
    };
    if answers(addr)? {
        return Ok(Found::Somebody);
    }
    // One that starts at this very moment refuses, too, between its bind and its listen. Look twice.
    tokio::time::sleep(STARTING).await;
    if answers(addr)? {
        return Ok(Found::Somebody);
    }
    found.remove()?;
    Ok(Found::Nobody)
}

/// Whether somebody listens there. They see a connection that says nothing.
fn answers(addr: &SockAddr) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Or the probe would wait for one whose queue is full.
    probe.set_nonblocking(true)?;
    match probe.connect(addr) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Ok(false),
            ErrorKind::WouldBlock => Ok(true),
            // Somebody's, of another type.
            _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => Ok(true),
            _ => Err(error),
        },
    }
}

/// Whether `address` asks for a Unix socket, where an address of another kind may stand as well.
pub(crate) fn is_unix(address: &str) -> bool {
    address.starts_with(PREFIX)
}

pub(crate) const PREFIX: &str = "unix:";

/// Longer than any process takes from bind to listen.
const STARTING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        for (address, expected) in [
            ("unix:/run/app.sock", Ok(Name::Path(Path::new("/run/app.sock")))),
            ("unix:///run/app.sock", Ok(Name::Path(Path::new("/run/app.sock")))),
            ("/run/app.sock", Ok(Name::Path(Path::new("/run/app.sock")))),
            ("unix:app.sock", Ok(Name::Path(Path::new("app.sock")))),
            ("unix:./@app", Ok(Name::Path(Path::new("./@app")))),
            ("", Err("its path is missing")),
            ("unix:", Err("its path is missing")),
            ("unix:@", Err("its name is missing")),
            ("unix:/run/a\0b", Err("a zero byte is in its path")),
            ("unix:@a\0b", Err("a zero byte is in its path")),
        ] {
            assert_eq!(parse(address), expected, "{address:?}");
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        assert_eq!(parse("unix:@app"), Ok(Name::Abstract("app")));
    }
}
