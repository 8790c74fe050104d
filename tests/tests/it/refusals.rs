//! What never becomes a request is answered in the server's own words, and is in the access log: whoever was sent a
//! status is on record.

use axum::{Router, routing::get};
use graceful::{Config, Server};
use tests::{Client, Log, within};

use crate::playground;

/// What is sent, the status, and why it was refused.
fn cases() -> [(String, u16, &'static str); 5] {
    [
        ("BOGUS REQUEST\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /p?token=secret HTTP/1.1\r\nuser-agent: me\r\n\r\n".to_owned(), 400, "bad_host"),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(3000)), 414, "line_too_long"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(3000)), 431, "head_too_large"),
        ("GET / HT".to_owned(), 408, "header_timeout"),
    ]
}

#[tokio::test]
async fn each_has_its_line_in_the_access_log() {
    let program = playground(&["--max-header-bytes", "2048", "--read-header-timeout", "300ms"]).await;
    for (request, status, reason) in cases() {
        let mut client = Client::connect(program.address()).await;
        client.send(&request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{reason}");
        assert_eq!(client.rest().await.expect("a plain end"), "", "{reason}");
        let fits = |line: &tests::Line| line.is_access() && line["reason"] == reason;
        let record = program.log().wait_for(reason, 1, fits).await.swap_remove(0);
        assert_eq!((&record["status"], &record["outcome"]), (&status.into(), &"refused".into()), "{record:?}");
        assert_eq!(record["peer"], client.address().to_string());
        assert_eq!(record.number("bytes"), answer.body.len() as f64, "{record:?}");
        let known = reason == "bad_host";
        assert_eq!(record["method"] == "GET" && record["path"] == "/p" && record["user_agent"] == "me", known);
    }
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.log.lines().iter().filter(|line| line.is_access()).count(), cases().len(), "one line each");
    assert!(!format!("{:?}", ended.log.lines()).contains("secret"), "without its query");
}

#[tokio::test]
async fn with_problem_details_they_are_problem_details_too() {
    let (log, _guard) = Log::of_this_thread();
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.problem_details = true;
    config.max_header_bytes = 2048;
    config.read_header_timeout = Some(std::time::Duration::from_millis(300));
    config.max_upgraded = Some(1);
    let app = Router::new().route("/", get(async || "ok"));
    let server = Server::new(app).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (server.local_addr().expect("TCP"), server.shutdown());
    let clients = async {
        for (request, status, _) in cases() {
            let mut client = Client::connect(address).await;
            client.send(&request).await;
            let answer = client.answer().await;
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{status}");
            let problem: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!((answer.status, &problem["status"]), (status, &status.into()));
        }
        shutdown.trigger();
    };
    let (report, ()) = within("the server to end", async { tokio::join!(server.run(), clients) }).await;
    assert!(report.expect("a clean end").is_clean());
    let refused = log.lines().iter().filter(|line| line["outcome"] == "refused").count();
    assert_eq!(refused, cases().len());
}
