//! A panic becomes a 500 or a cut connection, and a full report.

use nix::sys::signal::Signal;
use tests::Client;

use crate::playground;

#[tokio::test]
async fn in_a_handler_it_is_500_and_the_connection_is_kept() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let answer = client.get("/panic?token=secret").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "internal error"), "and no word of the cause");
    assert_eq!(answer.header("connection"), None);
    assert_eq!(client.get("/healthz").await.status, 200, "on the same connection");

    let report = program.log().message("panic").await;
    assert_eq!(report["level"], "ERROR");
    assert_eq!(report["target"], "graceful::panic");
    for (field, value) in [("panic", "in the handler"), ("method", "GET"), ("path", "/panic"), ("where", "future")] {
        assert_eq!(report[field], value, "{field}");
    }
    assert!(report["location"].as_str().is_some_and(|at| at.contains("panics.rs:")), "{report:?}");
    let backtrace = report["backtrace"].as_str().expect("a backtrace");
    let first = backtrace.lines().next().unwrap_or_default();
    assert!(first.contains("in_the_handler"), "it begins where the panic was: {first}");
    assert_eq!(report.request_id(), Some(answer.request_id()), "and says which request");

    let record = program.log().access("/panic", 1).await.swap_remove(0);
    assert_eq!((&record["level"], &record["status"]), (&"WARN".into(), &500.into()));
    let ended = program.terminate().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "nothing is printed beside the log");
    assert!(!format!("{:?}", ended.log.lines()).contains("secret"));
}

#[tokio::test]
async fn in_a_body_the_connection_is_cut_and_never_ends_cleanly() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("GET /panic-body HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let text = client.rest().await.expect("what was sent before the cut");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("the first half\n"), "{text}");
    assert!(!text.ends_with("\r\n0\r\n\r\n"), "no last chunk: {text}");

    let report = program.log().message("panic").await;
    assert_eq!((&report["panic"], &report["where"]), (&"in the body".into(), &"body".into()));
    let record = program.log().access("/panic-body", 1).await.swap_remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"body_error".into()));
    assert_eq!(record.request_id(), report.request_id());
    let next = Client::connect(program.address()).await.get("/healthz").await;
    assert_eq!(next.status, 200, "the server goes on");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_hundred_of_them_give_their_places_back() {
    let program = playground(&["--max-in-flight", "2", "--max-queue", "0"]).await;
    let mut client = Client::connect(program.address()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/panic").await.status, 500);
        let mut cut = Client::connect(program.address()).await;
        cut.send("GET /panic-body HTTP/1.1\r\nhost: test\r\n\r\n").await;
        let text = cut.rest().await.expect("what was sent before the cut");
        assert!(text.starts_with("HTTP/1.1 200 "), "not refused: {text}");
    }
    assert_eq!(client.get("/healthz").await.status, 200);
    program.log().access("/panic-body", 50).await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0));
    let reports = ended.log.lines().iter().filter(|line| line["message"] == "panic").count();
    assert_eq!(reports, 100, "each is reported, the last one too");
}

#[tokio::test]
async fn the_last_report_is_written_before_the_end() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    // The first one loads the names of the whole program. The end waits for a second at most, which a busy machine may
    // need for that.
    assert_eq!(client.get("/panic").await.status, 500);
    program.log().message("panic").await;
    for _ in 0..20 {
        assert_eq!(client.get("/panic").await.status, 500);
    }
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0));
    let reports = ended.log.lines().iter().filter(|line| line["message"] == "panic").count();
    assert_eq!(reports, 21, "names take time; the end waits for them");
}
