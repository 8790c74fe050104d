//! WebSockets that end with the server.

use std::time::Duration;

use axum::{
    Error,
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
};
use graceful_shutdown::Shutdown;
use tokio::time::{Instant, timeout, timeout_at};

/// Adds [`until_shutdown`](WebSocketExt::until_shutdown) to axum's WebSocket.
pub trait WebSocketExt {
    /// A socket that takes part in the shutdown: when the server is to end, it sends Close 1001 ("going away", RFC 6455,
    /// 7.4.1), waits a moment for the client's own Close, and its `recv` says that it is over.
    ///
    /// ```
    /// use axum::{extract::ws::WebSocketUpgrade, response::Response};
    /// use graceful::{ShutdownSignal, handler::ws::WebSocketExt};
    ///
    /// async fn echo(upgrade: WebSocketUpgrade, ShutdownSignal(shutdown): ShutdownSignal) -> Response {
    ///     upgrade.on_upgrade(async move |socket| {
    ///         let mut socket = socket.until_shutdown(&shutdown);
    ///         while let Some(Ok(message)) = socket.recv().await {
    ///             if socket.send(message).await.is_err() {
    ///                 break;
    ///             }
    ///         }
    ///     })
    /// }
    /// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(echo));
    /// ```
    fn until_shutdown(self, shutdown: &Shutdown) -> GracefulSocket;
}

impl WebSocketExt for WebSocket {
    fn until_shutdown(self, shutdown: &Shutdown) -> GracefulSocket {
        GracefulSocket { socket: self, shutdown: shutdown.clone(), state: State::Open, broken: None }
    }
}

/// A WebSocket that ends with the server; made by [`WebSocketExt::until_shutdown`].
#[derive(Debug)]
pub struct GracefulSocket {
    socket: WebSocket,
    shutdown: Shutdown,
    state: State,
    /// What went wrong and has not been given out, and until when the client can be told. Boxed: rare.
    broken: Option<Box<(Error, Instant)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Our Close is out; the client's is waited for.
    Closing,
    Over,
}

/// How long the client may take to answer our Close.
const FAREWELL: Duration = Duration::from_secs(5);

impl GracefulSocket {
    /// The next message; `None` when the socket is closed, or the server is to end. A client that breaks a rule of the
    /// protocol is told which by a Close (1002, 1007, 1009), and the error is the last that comes.
    ///
    /// Cancel-safe: dropped and called again, it goes on where it was.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        if self.state == State::Open && self.broken.is_none() {
            tokio::select! {
                biased;
                () = self.shutdown.triggered() => {}
                message = self.socket.recv() => match message {
                    Some(Err(error)) => self.broken = Some(Box::new((error, Instant::now() + FAREWELL))),
                    message => return message,
                }
            }
        }
        if let Some(broken) = &self.broken {
            say_why(&mut self.socket, &broken.0, broken.1).await;
            // Whatever became of the Close, there is no next message.
            self.state = State::Over;
            return self.broken.take().map(|broken| Err(broken.0));
        }
        self.farewell().await;
        None
    }

    /// Tells the client, once, and waits for its Close; cancel-safe.
    async fn farewell(&mut self) {
        if self.state == State::Open {
            let close = CloseFrame { code: close_code::AWAY, reason: "the server is shutting down".into() };
            let sent = timeout(FAREWELL, self.socket.send(Message::Close(Some(close)))).await;
            // A client that does not read is not told; nor is one twice, if this future was dropped here.
            self.state = if matches!(sent, Ok(Ok(()))) { State::Closing } else { State::Over };
        }
        if self.state == State::Closing {
            // What is still under way is of no use to anybody; the client's Close ends it.
            let farewell = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = timeout(FAREWELL, farewell).await;
            self.state = State::Over;
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// As axum's own, and after the Close has been sent: when the order to end was given, that follows the message at once.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await?;
        // A handler that only sends never calls `recv`. Behind the message, which may be the answer to one that came before.
        if self.shutdown.is_triggered() {
            self.farewell().await;
        }
        Ok(())
    }

    /// axum's socket, which knows nothing of the shutdown.
    pub fn into_inner(self) -> WebSocket {
        self.socket
    }
}

/// Closes the socket with the code of what was wrong, where it was the client's fault: the RFC asks for it (6455, 7.1.7),
/// and a bare end does not tell a developer what to mend.
///
/// Dropped and called again, it sends what of the Close was not sent: a second one is refused, after the first has gone out.
async fn say_why(socket: &mut WebSocket, error: &Error, until: Instant) {
    let (code, reason) = match std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref) {
        Some(tungstenite::Error::Protocol(_)) => (close_code::PROTOCOL, "protocol error"),
        Some(tungstenite::Error::Utf8(_)) => (close_code::INVALID, "text that is not UTF-8"),
        Some(tungstenite::Error::Capacity(_)) => (close_code::SIZE, "message too large"),
        // The socket itself is gone.
        _ => return,
    };
    let close = CloseFrame { code, reason: reason.into() };
    let _ = timeout_at(until, socket.send(Message::Close(Some(close)))).await;
}
