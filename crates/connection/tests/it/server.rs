//! A server of one connection, and what its handler does.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use graceful_connection::{BodyTimeout, Connection, ConnectionControl, Ended, Registry, RequestBody, Settings};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::Instant,
};

use crate::checked;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The client's side of a connection that is being served.
pub(crate) struct Client {
    pub(crate) io: DuplexStream,
    pub(crate) server: JoinHandle<Ended>,
    pub(crate) registry: Registry,
    pub(crate) start: Instant,
}

/// The limits that the tests count with: all different, so that it shows which one ended a connection.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.read_header = Some(5 * SECOND);
    settings.read_body = Some(30 * SECOND);
    settings.write = Some(60 * SECOND);
    settings.write_stall = Some(20 * SECOND);
    settings.idle = Some(120 * SECOND);
    settings.linger = Some(3 * SECOND);
    settings
}

/// Those, with something changed.
pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

pub(crate) fn connect() -> Client {
    connect_with(settings())
}

pub(crate) fn connect_with(settings: Settings) -> Client {
    connect_to(Registry::new(), settings)
}

pub(crate) fn connect_to(registry: Registry, settings: Settings) -> Client {
    // Small enough that a response of a few KiB fills it when nobody reads.
    let (io, socket) = tokio::io::duplex(4 << 10);
    let registry = checked::registered(registry);
    let service = tower::service_fn(handle);
    let server = registry.spawn(None, |place| Connection::new(socket, place, service, Arc::new(settings)));
    Client { io, server, registry, start: Instant::now() }
}

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.expect("the server reads");
    }

    /// Sends to a server that may not read to the end.
    pub(crate) async fn io_write(&mut self, text: &str) {
        // As much as it takes before it answers, and no longer than it lingers.
        tokio::select! {
            biased;
            _ = self.io.write_all(text.as_bytes()) => {}
            () = tokio::time::sleep(SECOND) => {}
        }
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> String {
        self.try_head().await.expect("a whole head")
    }

    async fn try_head(&mut self) -> Option<String> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.io.read_u8().await.ok()?);
        }
        Some(String::from_utf8(answer).expect("ASCII"))
    }

    /// Reads one answer without a body or with a body of known length.
    pub(crate) async fn answer(&mut self) -> String {
        self.try_answer().await.expect("a whole answer")
    }

    /// The same, or nothing if the server closes.
    pub(crate) async fn try_answer(&mut self) -> Option<String> {
        let head = self.try_head().await?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        // What has no body may tell how long it would be.
        if !["HTTP/1.1 304", "HTTP/1.0 304"].iter().any(|status| head.starts_with(status)) {
            self.io.read_exact(&mut body).await.expect("a whole body");
        }
        Some(head + &String::from_utf8_lossy(&body))
    }

    /// Everything the server still sends, and after how long it closed.
    pub(crate) async fn rest(&mut self) -> (String, Duration) {
        let mut rest = Vec::new();
        self.io.read_to_end(&mut rest).await.expect("a clean end");
        (String::from_utf8_lossy(&rest).into_owned(), self.start.elapsed())
    }

    pub(crate) async fn ended(self) -> (Ended, Duration) {
        let ended = self.server.await.expect("no panic");
        (ended, self.start.elapsed())
    }
}

/// A time that is up to a tick of tokio's clock late, never early.
#[track_caller]
pub(crate) fn assert_at(took: Duration, due: Duration) {
    assert!(took >= due && took <= due + Duration::from_millis(60), "at {took:?}, due at {due:?}");
}

async fn handle(request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let control = request.extensions().get::<ConnectionControl>().cloned();
    let control = control.or_else(ConnectionControl::current).expect("the connection polls this");
    if request.method() == http::Method::CONNECT {
        tokio::spawn(crate::upgrade::echo(hyper::upgrade::on(request)));
        return Ok(status(StatusCode::OK, ""));
    }
    let response = match path.as_str() {
        "/slow" => {
            tokio::time::sleep(10 * SECOND).await;
            text("slow")
        }
        "/quick" => {
            tokio::time::sleep(SECOND / 20).await;
            text("quick")
        }
        // Lives longer, or shorter, than the others.
        "/patient" => {
            control.set_write_timeout(300 * SECOND);
            std::future::pending().await
        }
        "/patiently" => {
            control.set_write_timeout(300 * SECOND);
            tokio::time::sleep(10 * SECOND).await;
            text("patiently")
        }
        "/hasty" => {
            control.set_write_timeout(SECOND);
            std::future::pending().await
        }
        "/read-long" => {
            control.set_read_timeout(None);
            text(&format!("{} bytes", request.into_body().collect().await.expect("no limit").to_bytes().len()))
        }
        "/whose" => {
            tokio::time::sleep(SECOND).await;
            let spawned = tokio::spawn(async { ConnectionControl::current().is_some() }).await.expect("no panic");
            let own = ConnectionControl::current().map(|control| control.info().requests());
            text(&format!("{own:?} {spawned}"))
        }
        "/last" => {
            control.close();
            text("last")
        }
        "/stuck" => std::future::pending().await,
        // Take all that tokio lets a task do in one poll, and more.
        "/busy" | "/busy-and-stuck" => {
            for _ in 0..200 {
                tokio::task::coop::consume_budget().await;
            }
            if path == "/busy" {
                return Ok(text("busy"));
            }
            std::future::pending().await
        }
        // Bigger than the socket takes.
        "/big" => Response::new(Full::new(Bytes::from(vec![b'x'; 1 << 20])).boxed_unsync()),
        // Without end, and as much as the client takes.
        "/endless" => {
            let piece = || Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])));
            Response::new(StreamBody::new(futures_util::stream::repeat_with(piece)).boxed_unsync())
        }
        "/204" => status(StatusCode::NO_CONTENT, ""),
        "/304" => status(StatusCode::NOT_MODIFIED, ""),
        // As axum answers for a handler that says something with them.
        "/204-and-more" | "/304-and-more" => {
            let code = if path.starts_with("/204") { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED };
            let mut response = status(code, "more");
            response.headers_mut().insert("content-length", 4.into());
            response
        }
        "/say-close" => {
            let mut response = text("closing");
            response.headers_mut().insert("connection", "close".parse().expect("ASCII"));
            response
        }
        // 101, and then nobody is there.
        "/upgrade-nobody" => upgraded(),
        "/upgrade-panic" => {
            let upgrade = hyper::upgrade::on(request);
            tokio::spawn(async move {
                let _upgraded = upgrade.await.expect("an upgrade");
                panic!("in what was upgraded");
            });
            upgraded()
        }
        "/status-400" => status(StatusCode::BAD_REQUEST, ""),
        // The end of the body, a moment after its begin, looks like an answer to what is no request.
        "/looks-like" | "/looks-like-chunked" => {
            let last = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
            let later = futures_util::stream::once(async move {
                tokio::time::sleep(SECOND).await;
                Ok(Frame::data(Bytes::from_static(last.as_bytes())))
            });
            let mut response =
                Response::new(StreamBody::new(futures_util::StreamExt::chain(first, later)).boxed_unsync());
            if path == "/looks-like" {
                response.headers_mut().insert("content-length", (5 + last.len()).into());
            }
            response
        }
        "/events" => {
            let mut response = Response::new(StreamBody::new(Events::default()).boxed_unsync());
            response.headers_mut().insert("content-type", "text/event-stream; charset=utf-8".parse().expect("ASCII"));
            response
        }
        // Answers at once, whatever is still to come.
        "/early" => status(StatusCode::PAYLOAD_TOO_LARGE, "too large"),
        "/upgrade" | "/upgrade-slowly" => {
            if path == "/upgrade-slowly" {
                tokio::time::sleep(SECOND).await;
            }
            tokio::spawn(crate::upgrade::echo(hyper::upgrade::on(request)));
            upgraded()
        }
        "/read" => match request.into_body().collect().await {
            Ok(body) => text(&format!("{} bytes", body.to_bytes().len())),
            Err(error) if error.is::<BodyTimeout>() => status(StatusCode::REQUEST_TIMEOUT, "too slow"),
            Err(_) => status(StatusCode::BAD_REQUEST, "broken"),
        },
        _ => text("ok"),
    };
    Ok(response)
}

fn upgraded() -> Response<Body> {
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert("upgrade", "echo".parse().expect("ASCII"));
    response.headers_mut().insert("connection", "upgrade".parse().expect("ASCII"));
    response
}

fn text(text: &str) -> Response<Body> {
    status(StatusCode::OK, text)
}

fn status(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// An event every ten seconds, without end.
#[derive(Default)]
struct Events {
    sleep: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl futures_util::Stream for Events {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(10 * SECOND)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: tick\n\n")))))
    }
}
