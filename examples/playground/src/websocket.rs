//! A WebSocket that says everything twice.

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};

/// The longest message that is read: 1 MiB.
const LONGEST: usize = 1 << 20;

/// `/ws`: sends back each message.
pub(crate) async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(LONGEST).on_upgrade(serve)
}

async fn serve(mut socket: WebSocket) {
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
