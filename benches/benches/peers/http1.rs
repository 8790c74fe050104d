use std::{io, net::SocketAddr, time::Duration};

use benches::KeepAlive;
use tokio::time::Instant;

use crate::Load;

const CONNECTIONS: usize = 32;

/// A request on every connection, then all the responses, over and over.
pub(crate) struct Http1(Vec<KeepAlive>);

impl Load for Http1 {
    const WHAT: &str = "HTTP/1.1, 32 connections";

    fn connect(address: SocketAddr) -> io::Result<Self> {
        (0..CONNECTIONS).map(|_| KeepAlive::connect(address)).collect::<Result<_, _>>().map(Self)
    }

    fn ask(&mut self, time: Duration) -> io::Result<usize> {
        let begin = Instant::now();
        let mut requests = 0;
        while begin.elapsed() < time {
            self.0.iter_mut().try_for_each(KeepAlive::send)?;
            self.0.iter_mut().try_for_each(KeepAlive::receive)?;
            requests += CONNECTIONS;
        }
        Ok(requests)
    }
}
