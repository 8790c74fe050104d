use std::{
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::extract::ConnectInfo;
use http::Request;
use tower_service::Service;

/// The stack for one connection: every request learns who the client is.
#[derive(Clone, Debug)]
pub(crate) struct WithPeer<S> {
    inner: S,
    peer: Option<SocketAddr>,
}

impl<S> WithPeer<S> {
    pub(crate) const fn new(inner: S, peer: Option<SocketAddr>) -> Self {
        Self { inner, peer }
    }
}

impl<S, B> Service<Request<B>> for WithPeer<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        // In parts: a request that was borrowed is copied once more when it is passed on.
        let (mut head, body) = request.into_parts();
        if let Some(peer) = self.peer {
            head.extensions.insert(ConnectInfo(peer));
        }
        self.inner.call(Request::from_parts(head, body))
    }
}
