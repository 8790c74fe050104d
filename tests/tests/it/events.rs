//! Server-sent events and the end of the server.

use tests::Client;

use crate::playground;

#[tokio::test]
async fn a_stream_ends_with_the_server_and_says_when_to_come_back() {
    let program = playground(&[]).await;
    let mut events = Client::connect(program.address()).await;
    events.send("GET /events HTTP/1.1\r\nhost: test\r\n\r\n").await;
    events.until("data: tick 1\n\n").await;
    program.signal(nix::sys::signal::Signal::SIGTERM);
    events.until("retry: 1000\n\n").await;
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "an open stream does not hold the shutdown: {}", ended.stderr);
    let record = ended.log.access("/events", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "complete", "the stream came to its own end");
}
