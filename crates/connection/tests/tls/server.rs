//! A server of connections over memory, and what its handler does.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use graceful_connection::{
    CloseReason, Connection, ConnectionControl, Ended, Gauges, Registry, RequestBody, Settings,
    tls::{Acceptor, HandshakeError, TlsInfo, TlsSettings},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    task::JoinHandle,
};

use crate::checked;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Outcome = Result<Ended, HandshakeError>;

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) acceptor: Acceptor,
    pub(crate) registry: Registry,
    pub(crate) settings: Arc<Settings>,
}

impl Server {
    pub(crate) fn new(settings: TlsSettings) -> Self {
        let acceptor = Acceptor::new(settings).expect("good files");
        Self { acceptor, registry: checked::registered(Registry::new()), settings: Arc::new(Settings::default()) }
    }

    /// A client's socket, and the server's task for it.
    pub(crate) fn connect(&self) -> (DuplexStream, JoinHandle<Outcome>) {
        let (client, socket) = tokio::io::duplex(16 << 10);
        (client, tokio::spawn(self.serve(socket)))
    }

    pub(crate) fn serve<T>(&self, socket: T) -> impl Future<Output = Outcome> + Send + 'static
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { acceptor, registry, settings } = self.clone();
        // Registered by whoever accepts, before anything is read.
        let place = registry.open(None);
        async move {
            let (io, place) = acceptor.accept(socket, place).await?;
            Ok(Connection::new(io, place, tower::service_fn(handle), settings).await)
        }
    }

    /// How many connections were closed for a reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.registry.closed_by_reason().find(|closed| closed.0 == reason).map_or(0, |closed| closed.1)
    }

    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.registry.gauges(), Gauges::default(), "every gauge is back at zero");
    }
}

async fn handle(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/upgrade" {
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.expect("an upgrade")));
            tokio::io::copy(&mut read, &mut write).await
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().expect("ASCII"));
        response.headers_mut().insert("connection", "upgrade".parse().expect("ASCII"));
        return Ok(response);
    }
    let body = match request.uri().path() {
        "/tls" => {
            let control = request.extensions().get::<ConnectionControl>().expect("every request has one");
            control.info().tls().map_or_else(|| "in the clear".to_owned(), describe)
        }
        "/slow" => {
            tokio::time::sleep(10 * SECOND).await;
            "slow".to_owned()
        }
        "/stuck" => std::future::pending().await,
        "/read" => match request.into_body().collect().await {
            Ok(body) => format!("{} bytes", body.to_bytes().len()),
            Err(_) => "broken".to_owned(),
        },
        "/big" => "x".repeat(1 << 20),
        _ => "ok".to_owned(),
    };
    Ok(Response::new(Full::new(Bytes::from(body))))
}

/// All that a handler can read, in a line.
fn describe(tls: &TlsInfo) -> String {
    let client = tls.client_certificate();
    format!(
        "{} {} alpn={} name={} resumed={} client={}",
        tls.version(),
        tls.cipher_suite(),
        tls.alpn().unwrap_or("-"),
        tls.server_name().unwrap_or("-"),
        tls.resumed(),
        client.map_or("-", |client| client.subject()),
    )
}

/// A time that is up to a tick of tokio's clock late, never early.
#[track_caller]
pub(crate) fn assert_at(took: Duration, due: Duration) {
    assert!(took >= due && took <= due + Duration::from_millis(60), "at {took:?}, due at {due:?}");
}
