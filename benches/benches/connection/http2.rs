use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use benches::PATH;
use divan::Bencher;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};

use crate::{
    handler,
    wire::{Socket, Wire},
};

/// One stream: the connection and the stream's own task, on a current-thread runtime, which is a part of the figure.
fn bench<F: Future + Unpin>(bencher: Bencher<'_, '_>, connection: impl FnOnce(Socket) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (wire, socket) = Wire::new();
    let entered = runtime.enter();
    let mut connection = connection(socket);
    drop(entered);
    // Polls until so many more bytes have come.
    let mut run = |more: usize| {
        let until = wire.received() + more;
        runtime.block_on(poll_fn(|cx| {
            assert!(Pin::new(&mut connection).poll(cx).is_pending(), "the connection is kept");
            if wire.received() >= until { Poll::Ready(()) } else { Poll::Pending }
        }));
    };

    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    wire.send(&frame(SETTINGS, 0, 0, &[]));
    // The whole window, once and for all.
    wire.send(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes()));
    run(1);
    wire.send(&frame(SETTINGS, ACK, 0, &[]));
    let mut stream = 1;
    let mut ask = || {
        wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request()));
        stream += 2;
        // A frame of headers, and one of data that ends the stream.
        run(2 * FRAME_HEAD + benches::BODY.len() + 1);
    };
    for _ in 0..100 {
        ask();
    }
    bencher.bench_local(ask);
}

const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const HEADERS: u8 = 1;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEAD: usize = 9;

/// RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of the static table alone (RFC 7541, 6.1 and 6.2.2): GET, http, the path, the authority.
fn request() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(PATH.len()).expect("a short path")];
    block.extend(PATH.as_bytes());
    block.extend(b"\x01\x09localhost");
    block
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
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), service_fn(handler::<Incoming>))
    });
}

#[divan::bench]
fn hyper_util_auto(bencher: Bencher<'_, '_>) {
    bench(bencher, |socket| {
        Box::pin(async move {
            auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(socket), service_fn(handler::<Incoming>))
                .await
        })
    });
}
