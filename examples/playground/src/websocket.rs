//! A WebSocket that says everything twice.

use axum::{
    extract::{WebSocketUpgrade, ws::Message},
    response::Response,
};
use graceful::{
    ShutdownSignal,
    handler::ws::{GracefulSocket, WebSocketExt},
};

/// The longest message that is read: 1 MiB.
const LONGEST: usize = 1 << 20;

/// `/ws`: sends back each message, until the client closes or the server is to end.
pub(crate) async fn echo(upgrade: WebSocketUpgrade, ShutdownSignal(shutdown): ShutdownSignal) -> Response {
    upgrade.max_message_size(LONGEST).on_upgrade(async move |socket| serve(socket.until_shutdown(&shutdown)).await)
}

async fn serve(mut socket: GracefulSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answered = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            // axum answers pings and the close by itself.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}
