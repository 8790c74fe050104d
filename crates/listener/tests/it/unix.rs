//! A listener of another kind, as a user writes it: the trait and the wrappers are not for TCP alone.
#![cfg(unix)]

use std::io;

use graceful_listener::{Accepted, Limited, ListenAddr, Listener, Logged, Peer, PerIp};
use tokio::net::{UnixListener, UnixStream};

struct Unix(UnixListener);

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
    let path = std::env::temp_dir().join(format!("graceful-listener-{}.sock", std::process::id()));
    let listener = Unix(UnixListener::bind(&path).expect("bind"));
    let mut listener = Logged::new(PerIp::new(Limited::new(listener, 2), 1));
    assert_eq!(listener.local_addr().expect("bound").to_string(), format!("unix:{}", path.display()));
    let _clients = [UnixStream::connect(&path).await, UnixStream::connect(&path).await];
    let first = listener.accept().await.expect("accept");
    let second = listener.accept().await.expect("a peer without an address is not one too many");
    assert_eq!((first.peer, second.peer), (Peer::Unix, Peer::Unix));
    let limit = listener.get_ref().get_ref().limit().clone();
    assert_eq!(limit.open(), 2);
    drop((first, second));
    assert_eq!(limit.open(), 0);
    std::fs::remove_file(path).expect("the socket's file");
}
