#![cfg(unix)]

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use graceful_listener::{
    Accepted, BindError, ConnectionRate, Limited, ListenAddr, Listener, Logged, Peer, PerIp, Proxied, Rate, Several,
    UnixListener, UnixOptions,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{self, UnixStream},
};
use tokio_test::task;

/// A directory of the test's own, short enough for a socket's path.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("graceful-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory is still there");
    }
}

pub(crate) fn address(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A file as a process leaves it behind that was killed.
fn leave_behind(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("bind"));
    assert!(path.exists(), "std does not remove it");
}

#[tokio::test]
async fn a_connection_carries_bytes_and_the_file_goes_with_the_listener() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let mut listener = UnixListener::bind(&address(&path)).await.expect("bind");
    assert_eq!(listener.local_addr().expect("bound"), ListenAddr::Unix(path.clone()));
    let mut client = UnixStream::connect(&path).await.expect("connect");
    let mut accepted = listener.accept().await.expect("accept");
    assert_eq!(accepted.peer, Peer::Unix);
    client.write_all(b"ping").await.expect("write");
    let mut read = [0; 4];
    accepted.io.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"ping");
    drop(listener);
    assert!(!path.exists(), "removed at the end");
    accepted.io.write_all(b"pong").await.expect("a connection outlives its listener");
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_connection() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let mut listener = UnixListener::bind(&address(&path)).await.expect("bind");
    let mut accept = task::spawn(listener.accept());
    assert!(accept.poll().is_pending());
    let mut client = UnixStream::connect(&path).await.expect("connect");
    drop(accept);
    client.write_all(b"x").await.expect("write");
    assert_eq!(listener.accept().await.expect("accept").io.read_u8().await.expect("read"), b'x');
}

#[tokio::test]
async fn who_waits_at_a_closed_queue_is_accepted_and_nobody_comes() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let listener = UnixListener::bind(&address(&path)).await.expect("bind");
    // Through every wrapper.
    let rate = ConnectionRate::new(9, Duration::from_secs(1));
    let mut listener =
        Logged::new(Proxied::new(PerIp::new(Rate::new(Limited::new(Several::new([listener]), 9), rate), 9), []));
    let mut waiting = UnixStream::connect(&path).await.expect("connect");
    assert!(listener.close_queue());
    let refused = UnixStream::connect(&path).await.expect_err("the entrance is gone");
    assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    waiting.write_all(b"x").await.expect("write");
    assert_eq!(listener.accept().await.expect("accept").io.read_u8().await.expect("read"), b'x');
    assert!(!listener.close_queue(), "it is closed");
}

#[tokio::test]
async fn a_file_that_was_left_behind_is_replaced() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    leave_behind(&path);
    let mut listener = UnixListener::bind(&address(&path)).await.expect("nobody listens there");
    let _client = UnixStream::connect(&path).await.expect("connect");
    listener.accept().await.expect("accept");
}

#[tokio::test]
async fn a_socket_that_somebody_listens_on_is_in_use_and_not_disturbed() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let mut first = UnixListener::bind(&address(&path)).await.expect("bind");
    let error = UnixListener::bind(&address(&path)).await.expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: the address is in use", address(&path))));
    first.accept().await.expect("the question whether anybody is there");
    let _client = UnixStream::connect(&path).await.expect("it is still there");
    first.accept().await.expect("and the same");
}

#[tokio::test]
async fn a_full_queue_is_somebody_too() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let _busy = UnixOptions::new().backlog(0).bind(&address(&path)).await.expect("bind");
    // A blocking connect would hang here, and a non-blocking one says "would block".
    let _waiting = UnixStream::connect(&path).await.expect("the one that a queue of 0 has room for");
    let error = UnixListener::bind(&address(&path)).await.expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
}

#[tokio::test]
async fn a_socket_of_another_type_is_in_use() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).expect("bind");
    let error = UnixListener::bind(&address(&path)).await.expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    drop(datagrams);
    UnixListener::bind(&address(&path)).await.expect("left behind");
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let dir = Dir::new();
    fs::write(dir.join("file"), "precious").expect("write");
    fs::create_dir(dir.join("dir")).expect("create");
    let socket = dir.join("left-behind.sock");
    leave_behind(&socket);
    std::os::unix::fs::symlink(&socket, dir.join("link")).expect("link");
    for name in ["file", "dir", "link"] {
        let error = UnixListener::bind(&address(&dir.join(name))).await.expect_err("in the way");
        assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
        assert!(error.to_string().contains("no socket is in the way"), "{error}");
    }
    assert_eq!(fs::read_to_string(dir.join("file")).expect("there"), "precious");
    assert!(dir.join("dir").is_dir() && socket.exists() && dir.join("link").is_symlink());
}

#[tokio::test]
async fn a_file_that_is_anothers_by_now_is_left_alone() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let old = UnixListener::bind(&address(&path)).await.expect("bind");
    // As a deployment does that does not wait for the old process.
    fs::remove_file(&path).expect("remove");
    let mut new = UnixListener::bind(&address(&path)).await.expect("bind");
    drop(old);
    let _client = UnixStream::connect(&path).await.expect("the new one's file is still there");
    new.accept().await.expect("accept");
    fs::remove_file(&path).expect("remove");
    drop(new); // nothing to remove is no error
}

#[tokio::test]
async fn permissions_are_as_asked_for_whatever_the_umask() {
    let dir = Dir::new();
    for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
        let path = dir.join("app.sock");
        let _listener = UnixOptions::new().mode(mode).bind(&address(&path)).await.expect("bind");
        let found = fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{found:o} for {mode:o}");
    }
}

#[tokio::test]
async fn each_error_says_what_to_do() {
    let dir = Dir::new();
    for (address, is_usage, hint) in [
        (address(&dir.join("none/app.sock")), false, "its directory does not exist; create it"),
        (address(&dir.join(&"x".repeat(200))), true, "its path is longer than the system allows; give unix:/path"),
        ("unix:".to_owned(), true, "its path is missing; give unix:/path"),
        ("unix:/a\0b".to_owned(), true, "a zero byte is in its path"),
    ] {
        let error = UnixListener::bind(&address).await.expect_err("wrong");
        assert_eq!(error.is_usage(), is_usage, "{error}");
        assert_eq!(error.address(), address);
        assert!(error.to_string().contains(hint), "{error}");
    }
    fs::write(dir.join("file"), "").expect("write");
    let error = UnixListener::bind(&address(&dir.join("file/app.sock"))).await.expect_err("a file is no directory");
    assert!(matches!(error, BindError::NoDirectory { .. }), "{error:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_is_no_file() {
    use std::os::linux::net::SocketAddrExt;

    let name = format!("graceful-{}", std::process::id());
    let address = format!("unix:@{name}");
    let mut listener = UnixListener::bind(&address).await.expect("bind");
    assert_eq!(listener.local_addr().expect("bound").to_string(), address);
    assert!(!Path::new(&format!("@{name}")).exists());
    let error = UnixListener::bind(&address).await.expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let _client = std::os::unix::net::UnixStream::connect_addr(&addr).expect("connect");
    listener.accept().await.expect("accept");
    drop(listener);
    UnixListener::bind(&address).await.expect("gone with its socket");
}

#[tokio::test]
async fn a_socket_of_stds_is_taken_over_and_its_file_left() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let std = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let mut listener = UnixListener::from_std(std).expect("taken over");
    assert_eq!(listener.local_addr().expect("bound"), ListenAddr::Unix(path.clone()));
    assert!(task::spawn(listener.accept()).poll().is_pending(), "nobody is there yet, and nothing blocks");
    drop(listener);
    assert!(path.exists(), "whoever made it may still want it");
}

/// A listener of another kind, as a user writes it: the trait and the wrappers are not for ours alone.
struct Unix(net::UnixListener);

impl Listener for Unix {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream>> {
        let (stream, _) = self.0.accept().await?;
        Ok(Accepted::new(stream, Peer::Unix))
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        let addr = self.0.local_addr()?;
        addr.as_pathname().map(|path| ListenAddr::Unix(path.into())).ok_or(io::ErrorKind::AddrNotAvailable.into())
    }
}

#[tokio::test]
async fn a_unix_peer_is_limited_in_all_but_not_by_address() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let listener = Unix(net::UnixListener::bind(&path).expect("bind"));
    let mut listener = Logged::new(PerIp::new(Limited::new(listener, 2), 1));
    assert_eq!(listener.local_addr().expect("bound").to_string(), address(&path));
    let _clients = [UnixStream::connect(&path).await, UnixStream::connect(&path).await];
    let first = listener.accept().await.expect("accept");
    let second = listener.accept().await.expect("a peer without an address is not one too many");
    assert_eq!((first.peer, second.peer), (Peer::Unix, Peer::Unix));
    let limit = listener.get_ref().get_ref().limit().clone();
    assert_eq!(limit.open(), 2);
    drop((first, second));
    assert_eq!(limit.open(), 0);
}
