use std::{io, net::SocketAddr, time::Duration};

use benches::{BODY, PATH};
use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::Instant,
};

use crate::Load;

const CONNECTIONS: usize = 8;
const STREAMS: usize = 16;

/// On every connection so many streams, each with a request after the other.
pub(crate) struct Http2 {
    runtime: Runtime,
    connections: Vec<SendRequest<Bytes>>,
    address: SocketAddr,
}

impl Load for Http2 {
    const WHAT: &str = "HTTP/2, 8 connections of 16 streams";

    fn connect(address: SocketAddr) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut load = Self { runtime, connections: Vec::new(), address };
        load.connections = load.runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let connection = connect(address).await?;
                // Sends the SETTINGS, too: a server does not wait for those for long.
                ask(&connection, &load.uri()).await.map_err(io::Error::other)?;
                connections.push(connection);
            }
            io::Result::Ok(connections)
        })?;
        Ok(load)
    }

    fn ask(&mut self, time: Duration) -> io::Result<usize> {
        let uri = self.uri();
        let end = Instant::now() + time;
        self.runtime.block_on(async {
            let mut streams = JoinSet::new();
            for connection in &self.connections {
                for _ in 0..STREAMS {
                    streams.spawn(one_after_the_other(connection.clone(), uri.clone(), end));
                }
            }
            let mut requests = 0;
            while let Some(answered) = streams.join_next().await {
                requests += answered??;
            }
            Ok(requests)
        })
    }
}

impl Http2 {
    fn uri(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }
}

#[expect(clippy::disallowed_methods, reason = "the connection's task ends with its last handle")]
async fn connect(address: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (requests, connection) = client::handshake(socket).await.map_err(io::Error::other)?;
    // How it ends is told to the streams.
    tokio::spawn(async { drop(connection.await) });
    requests.ready().await.map_err(io::Error::other)
}

async fn one_after_the_other(connection: SendRequest<Bytes>, uri: String, end: Instant) -> io::Result<usize> {
    let mut requests = 0;
    while Instant::now() < end {
        ask(&connection, &uri).await.map_err(io::Error::other)?;
        requests += 1;
    }
    Ok(requests)
}

async fn ask(connection: &SendRequest<Bytes>, uri: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::get(uri).body(())?;
    let (response, _) = connection.clone().ready().await?.send_request(request, true)?;
    let mut response = response.await?;
    let mut length = 0;
    while let Some(chunk) = response.body_mut().data().await {
        let chunk = chunk?;
        length += chunk.len();
        response.body_mut().flow_control().release_capacity(chunk.len())?;
    }
    if response.status() != 200 || length != BODY.len() {
        return Err(format!("not the response that was expected: {response:?}").into());
    }
    Ok(())
}
