//! HTTP/2: answers that are ready together go out in one piece, and none waits for a handler that takes its time.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use graceful_connection::{Connection, Registry, RequestBody, Settings};
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::Barrier,
};

const STREAMS: usize = 8;

/// What happened, as the server's socket saw it: how many handlers had begun at each write.
#[derive(Clone, Default)]
struct Seen {
    begun: Arc<AtomicUsize>,
    writes: Arc<Mutex<Vec<usize>>>,
}

struct Watched {
    socket: DuplexStream,
    seen: Seen,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let begun = self.seen.begun.load(SeqCst);
        self.seen.writes.lock().expect("no test panics with it").push(begun);
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// What a handler does before it answers.
#[derive(Clone)]
enum Work {
    Nothing,
    /// It keeps the worker for so long, as one that computes.
    Computes(Duration),
    /// It waits until all others do, as for a database that answers them all at once.
    Waits(Arc<Barrier>),
}

/// Asks for all at once, and says how many handlers had begun at each write that followed.
async fn ask(work: Work) -> Vec<usize> {
    let seen = Seen::default();
    let (io, socket) = tokio::io::duplex(64 << 10);
    let service = tower::service_fn({
        let begun = Arc::clone(&seen.begun);
        move |_: Request<RequestBody>| {
            let (begun, work) = (Arc::clone(&begun), work.clone());
            async move {
                begun.fetch_add(1, SeqCst);
                match work {
                    Work::Nothing => {}
                    Work::Computes(time) => std::thread::sleep(time),
                    Work::Waits(barrier) => {
                        barrier.wait().await;
                    }
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"here"))))
            }
        }
    });
    let registry = Registry::new();
    let watched = Watched { socket, seen: seen.clone() };
    let server = registry.spawn(None, |place| Connection::new(watched, place, service, Arc::new(Settings::default())));
    let (send, connection) = h2::client::handshake(io).await.expect("h2");
    let client = tokio::spawn(connection);
    let mut send = send.ready().await.expect("open");
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        let request = Request::get("http://x/").body(()).expect("a request");
        answers.push(send.send_request(request, true).expect("open").0);
    }
    for answer in answers {
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
    drop(send);
    client.await.expect("no panic").expect("a clean end");
    server.await.expect("no panic");
    let writes = std::mem::take(&mut *seen.writes.lock().expect("no test panics with it"));
    writes.into_iter().filter(|begun| *begun > 0).collect()
}

/// The fewest writes of many tries: what the client asks for at once comes at once as a rule, and the worker may be kept from
/// its work at any time.
async fn fewest_writes(work: impl Fn() -> Work) -> usize {
    let mut fewest = usize::MAX;
    for _ in 0..100 {
        fewest = fewest.min(tokio::spawn(ask(work())).await.expect("no panic").len());
    }
    fewest
}

// One worker each time, which has a queue, and a slot before it.

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_that_are_there_at_once_go_out_together() {
    let writes = fewest_writes(|| Work::Nothing).await;
    assert!(writes <= 3, "{STREAMS} answers in {writes} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_that_were_waited_for_together_go_out_together() {
    let writes = fewest_writes(|| Work::Waits(Arc::new(Barrier::new(STREAMS)))).await;
    assert!(writes <= 3, "{STREAMS} answers in {writes} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_does_not_wait_for_handlers_that_take_their_time() {
    let work = Work::Computes(Duration::from_millis(2));
    let writes = tokio::spawn(ask(work)).await.expect("no panic");
    assert!(writes[0] < STREAMS, "the first answer is out before the last handler has begun: {writes:?}");
}
