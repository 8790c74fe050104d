//! Servers with one route, `GET /api/work`: two floors, what people run, and ours.

use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Router,
    extract::Query,
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use graceful::{Config, Server};
use graceful_connection::{Connection, Registry, Settings};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{Empty, Full};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tracing::subscriber::{NoSubscriber, set_global_default};

use crate::{Options, tower_http};

/// The path that is asked for.
pub const PATH: &str = "/api/work";

/// Where the routers take a JSON document, to give the same answer.
pub const JOBS: &str = "/api/jobs";

/// What the route answers.
pub const BODY: &[u8] = b"{\"ok\":true}";

/// A server to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// hyper with hyper-util's `auto`, no router: the floor.
    Hyper,
    /// What [`Hyper`](Self::Hyper) serves, through the connection layer of ours alone: with every deadline and limit on,
    /// and nothing else.
    Connection,
    /// `axum::serve` without middleware: what every comparison is over.
    Axum,
    /// `axum::serve` with the layers of tower-http and a JSON log line a request, as people put them together today.
    /// Nothing there waits for a place, and no connection has a deadline.
    TowerHttp,
    /// [`graceful::Server`] with every default on.
    Graceful,
}

impl Contender {
    /// All of them, the floor first.
    pub const ALL: [Self; 5] = [Self::Hyper, Self::Connection, Self::Axum, Self::TowerHttp, Self::Graceful];

    /// As it is written on the command line and in the tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Connection => "connection",
            Self::Axum => "axum",
            Self::TowerHttp => "tower-http",
            Self::Graceful => "graceful",
        }
    }

    /// Sends log lines to standard output, the way this one does it, if it does.
    ///
    /// # Panics
    ///
    /// If it is called twice in a process.
    pub fn init_logging(self) {
        match self {
            Self::Hyper | Self::Connection | Self::Axum => log_nothing(),
            Self::TowerHttp => tower_http::init_logging(),
            Self::Graceful => {
                let log = graceful::logging::init(&Config::default()).expect("the first subscriber of the process");
                // The process logs to its end, and is killed there.
                std::mem::forget(log);
            }
        }
    }

    /// Serves on `address` until it is dropped, and says where once it can be reached.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn serve(
        self,
        address: SocketAddr,
        options: Options,
        listening: impl FnOnce(SocketAddr),
    ) -> io::Result<()> {
        let router = router(options.routes);
        if self == Self::Graceful {
            let mut config = Config::default();
            config.listen = address.to_string();
            config.debug_listen = None;
            config.max_in_flight = Some(options.max_in_flight);
            let server = Server::new(router).config(config).bind().await.map_err(io::Error::other)?;
            listening(server.local_addr().ok_or(io::ErrorKind::AddrNotAvailable)?);
            return server.run().await.map(drop).map_err(io::Error::other);
        }
        let listener = TcpListener::bind(address).await?;
        listening(listener.local_addr()?);
        match self {
            Self::Hyper => hyper(listener).await,
            Self::Connection => connection(listener).await,
            Self::Axum => axum(listener, router).await,
            Self::TowerHttp | Self::Graceful => axum(listener, tower_http::stack(router, options)).await,
        }
    }
}

/// Says that nobody listens, which is not the same as to say nothing.
///
/// actix-web switches on the feature `log` of the `tracing` that all share here. Without a subscriber that hands every
/// span of h2 to the crate `log`: 8,000 instructions a request, that a program without actix-web does not pay.
///
/// # Panics
///
/// If the process has a subscriber already.
pub fn log_nothing() {
    set_global_default(NoSubscriber::default()).expect("the first subscriber of the process");
}

/// The router of all but [`Contender::Hyper`] and [`Contender::Connection`], with so many routes.
pub fn router(routes: usize) -> Router {
    let others = (1..routes)
        .fold(Router::new(), |router, n| router.route(&format!("/api/v1/things-{n}/{{id}}"), get(async || {})));
    others
        .route(
            "/slow",
            get(async |Query(Slow { ms }): Query<Slow>| tokio::time::sleep(Duration::from_millis(ms)).await),
        )
        .route(JOBS, post(async |_: Bytes| json()))
        .route(PATH, get(async || json()))
}

fn json() -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], BODY)
}

/// How long a handler takes.
#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

/// What a bare service answers: the same response, without a router.
#[must_use]
pub fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The request that all benches send, for a bare service.
#[must_use]
pub fn request() -> Request<Empty<Bytes>> {
    // As hyper makes it: a slice of a buffer that is shared already, so that a layer may clone it without an allocation.
    static URI: LazyLock<Uri> = LazyLock::new(|| {
        let uri = Uri::from_maybe_shared(Bytes::from(PATH.to_owned())).expect("a path is a URI");
        drop(uri.clone());
        uri
    });
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = URI.clone();
    request.headers_mut().insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
    request
}

async fn axum(listener: TcpListener, router: Router) -> io::Result<()> {
    use axum::serve::ListenerExt;
    axum::serve(listener.tap_io(|socket| drop(socket.set_nodelay(true))), router).await
}

#[expect(clippy::disallowed_methods, reason = "the floor does what one does with hyper alone")]
async fn hyper(listener: TcpListener) -> io::Result<()> {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().header_read_timeout(None);
            // How a connection ends is no matter here.
            let _ = builder.serve_connection(TokioIo::new(socket), service_fn(work)).await;
        });
    }
}

async fn connection(listener: TcpListener) -> io::Result<()> {
    let (registry, settings) = (Registry::new(), Arc::new(Settings::default()));
    loop {
        let Ok((socket, peer)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let settings = Arc::clone(&settings);
        registry.spawn(Some(peer), |place| Connection::new(socket, place, tower::service_fn(work), settings));
    }
}

async fn work<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Send,
{
    if request.uri().path() == PATH {
        return Ok(answer());
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|contender| contender.name() == name)
            .ok_or_else(|| format!("no contender {name:?}: there are {}", Self::ALL.map(Self::name).join(", ")))
    }
}
