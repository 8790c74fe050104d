//! The internal port: whether the process is alive, and whether it wants more requests.

use nix::sys::signal::Signal;
use tests::Client;

use crate::playground;

#[tokio::test]
async fn it_says_alive_and_ready_and_nothing_of_the_public_routes() {
    let program = playground(&[]).await;
    let mut internal = Client::connect(program.debug_address()).await;
    assert_eq!(internal.get("/livez").await.status, 200);
    assert_eq!(internal.get("/readyz").await.status, 200);
    assert_eq!(internal.get("/healthz").await.status, 404, "the public routes are not there");
    let mut public = Client::connect(program.address()).await;
    assert_eq!(public.get("/readyz").await.status, 404, "and it is not on the public port");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn during_the_delay_it_is_not_ready_and_still_takes_new_clients() {
    let program = playground(&["--drain-delay", "3s", "--shutdown-timeout", "20s"]).await;
    program.signal(Signal::SIGTERM);
    program.log().message("not ready any more, still accepting").await;

    let mut internal = Client::connect(program.debug_address()).await;
    assert_eq!(internal.get("/readyz").await.status, 503, "no more requests, please");
    assert_eq!(internal.get("/livez").await.status, 200, "but do not kill it");
    let answer = Client::connect(program.address()).await.get("/api/work").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ok":true}"#), "who comes is served");
    assert_eq!(answer.header("connection"), Some("close"), "and told to come by another way next time");

    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn it_answers_to_the_end_of_the_drain() {
    let program = playground(&[]).await;
    let mut slow = program.in_flight("/slow?ms=2000").await;
    program.signal(Signal::SIGTERM);
    program.log().message("shutdown signal").await;
    let mut internal = Client::connect(program.debug_address()).await;
    assert_eq!(internal.get("/readyz").await.status, 503);
    assert_eq!(internal.get("/livez").await.status, 200);
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(program.ended().await.code, Some(0), "its own connections do not keep the process");
}
