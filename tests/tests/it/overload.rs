//! More clients than places: so many in flight, so many waiting, and an honest 503 for the rest, which every client reads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{Router, body::Body, routing::get};
use futures_util::{future::join_all, stream};
use graceful::{Config, Server};
use tests::{Client, within};
use tokio::sync::Semaphore;

use crate::playground;

const LIMITS: [&str; 6] = ["--max-in-flight", "8", "--max-queue", "4", "--queue-wait", "100ms"];

#[tokio::test]
async fn eight_are_served_and_the_others_are_refused_in_time() {
    let program = playground(&LIMITS).await;
    let address = program.address();
    let mut clients = join_all((0..64).map(|_| Client::connect(address))).await;
    for client in &mut clients {
        client.send("GET /slow?ms=3000 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    }
    let answers = join_all(clients.iter_mut().map(Client::answer)).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, 8, "at most 8 in flight, and not fewer");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.body.as_str()), (503, "server busy"));
        assert_eq!(refused.header("retry-after"), Some("1"), "and when to come again");
        assert_eq!(refused.header("connection"), None, "the connection is kept");
    }

    // How long it took is the server's to say: the test and its 64 clients have to share the machine.
    let records = program.log().access("/slow", 64).await;
    let mut refused: Vec<_> =
        records.iter().filter(|record| record["status"] == 503).map(|record| record.number("duration_ms")).collect();
    refused.sort_unstable_by(f64::total_cmp);
    assert_eq!(refused.len(), 56);
    let at_once = refused.iter().filter(|ms| **ms < 100.0).count();
    assert!(at_once >= 52, "at most 4 waited, for 100 ms: {refused:?}");
    // All of them, where a moment of a busy machine does not count.
    assert!(refused[52] < 150.0 && refused[55] < 1000.0, "refused within 150 ms: {refused:?}");

    let again = clients[0].get("/healthz").await;
    assert_eq!(again.status, 200, "a client that was refused comes again on its connection");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_place_is_taken_to_the_end_of_the_body() {
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let go_on = Arc::new(Semaphore::new(0));
    let handler = {
        let (inside, most, go_on) = (Arc::clone(&inside), Arc::clone(&most), Arc::clone(&go_on));
        async move || {
            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            let inside = Inside(inside);
            // The head is out at once; the body waits.
            Body::from_stream(stream::once(async move {
                let _inside = inside;
                go_on.acquire().await.map(|permit| {
                    permit.forget();
                    "done\n"
                })
            }))
        }
    };
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.max_in_flight = Some(8);
    config.max_queue = 64;
    config.queue_wait = tests::PATIENCE;
    let bound = Server::new(Router::new().route("/a", get(handler.clone())).route("/b", get(handler)))
        .config(config)
        .bind()
        .await
        .expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("an address"), bound.shutdown());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(bound.run());

    let mut clients = join_all((0..64).map(|_| Client::connect(address))).await;
    for (i, client) in clients.iter_mut().enumerate() {
        let path = if i % 2 == 0 { "/a" } else { "/b" };
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    }
    within("eight to be inside", async {
        while inside.load(SeqCst) < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    go_on.add_permits(64);
    for answer in join_all(clients.iter_mut().map(Client::answer)).await {
        assert_eq!((answer.status, answer.body.as_str()), (200, "done\n"), "all have their turn");
    }
    assert_eq!(most.load(SeqCst), 8, "never a ninth, over two routes and 64 connections");
    assert_eq!(inside.load(SeqCst), 0);

    shutdown.trigger();
    let report = within("the server to end", server).await.expect("no panic").expect("a clean end");
    assert!(report.is_clean(), "{report}");
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The client sends all of its body before it reads anything. A server that answers and closes makes the kernel send a
/// reset, and the client never sees the answer.
#[tokio::test]
async fn a_client_that_is_still_uploading_reads_its_503() {
    let program = playground(&["--max-in-flight", "1", "--max-queue", "0"]).await;
    let holder = program.in_flight("/slow?ms=600000").await;
    let piece = [b'x'; 64 << 10];
    for megabytes in [0, 1, 5, 20, 100] {
        for chunked in [false, true] {
            let mut client = Client::connect(program.address()).await;
            let length = megabytes << 20;
            let what = format!("{megabytes} MiB, chunked: {chunked}");
            if chunked {
                client.send("POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await;
            } else {
                let head = format!("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
                client.send(head).await;
            }
            let mut sent = Ok(());
            for _ in 0..length / piece.len() {
                let framed = if chunked { [b"10000\r\n", &piece[..], b"\r\n"].concat() } else { piece.to_vec() };
                sent = client.try_send(framed).await;
                if sent.is_err() {
                    break;
                }
            }
            if chunked && sent.is_ok() {
                sent = client.try_send("0\r\n\r\n").await;
            }
            assert!(sent.is_ok(), "{what}: the whole upload is taken, then {sent:?}");
            let answer = client.try_answer().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((answer.status, answer.body.as_str()), (503, "server busy"), "{what}");
            assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
        }
    }
    drop(holder);
    program.log().access("/slow", 1).await;
    assert_eq!(Client::connect(program.address()).await.get("/healthz").await.status, 200, "the place is free again");
    assert_eq!(program.terminate().await.code, Some(0));
}
