use std::{
    future::Future,
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use benches::Ask;
use divan::Bencher;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};

use crate::{
    handler,
    wire::{Socket, Wire},
};

/// One request: the connection is polled once. By hand, for a scheduler would be a part of the figure.
fn bench<F: Future + Unpin>(bencher: Bencher<'_, '_>, connection: impl FnOnce(Socket) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let request = Ask::Bare.request(([127, 0, 0, 1], 8080).into());
    let (wire, socket) = Wire::new();
    let mut connection = connection(socket);
    let mut ask = move || {
        wire.send(&request);
        let before = wire.received();
        let polled = Pin::new(&mut connection).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending() && wire.received() > before, "it has answered and waits for more");
    };
    // The first one is another way: the sniff, the buffers.
    ask();
    bencher.bench_local(ask);
}

#[divan::bench]
fn graceful(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| crate::graceful(socket, tower::service_fn(handler), false));
}

#[divan::bench]
fn graceful_control(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| crate::graceful(socket, tower::service_fn(handler), true));
}

#[divan::bench]
fn hyper(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| {
        http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(socket), service_fn(handler::<Incoming>))
    });
}

#[divan::bench]
fn hyper_header_timeout(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .serve_connection(TokioIo::new(socket), service_fn(handler::<Incoming>))
    });
}

#[divan::bench]
fn hyper_util_auto(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().header_read_timeout(None);
        Box::pin(async move {
            builder.serve_connection_with_upgrades(TokioIo::new(socket), service_fn(handler::<Incoming>)).await
        })
    });
}
