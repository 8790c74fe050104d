//! The playground's own promises: bounded parameters, and a clear 400 beyond them.

use tests::Client;

use crate::playground;

#[tokio::test]
async fn every_route_answers() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    for (path, status, body) in [
        ("/healthz", 200, "ok\n"),
        ("/api/work", 200, r#"{"ok":true}"#),
        ("/slow?ms=1", 200, "waited 1 ms\n"),
        ("/block?ms=1", 200, "blocked for 1 ms\n"),
        ("/big?bytes=3", 200, "xxx"),
        ("/big?bytes=0", 200, ""),
        ("/stream?n=2&ms=1", 200, "line 1\nline 2\n"),
        ("/stream?n=0", 200, ""),
        ("/panic", 500, "internal error"),
        ("/leak", 200, "started a task that never ends\n"),
        ("/log?n=2", 200, "wrote 2 lines\n"),
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
    assert_eq!(client.get("/big").await.body.len(), 1 << 20, "a mebibyte where nothing is said");
    assert_eq!(program.terminate().await.code, Some(0), "and a leaked task does not keep the process");
}

#[tokio::test]
async fn a_bad_value_is_a_400_that_says_what_is_expected() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    for (path, says) in [
        ("/slow?ms=soon", "ms: expected a whole number from 0 to 600000"),
        ("/slow?ms=-1", "ms: expected a whole number from 0 to 600000"),
        ("/slow?ms=1.5", "ms: expected a whole number from 0 to 600000"),
        ("/slow?ms=", "ms: expected a whole number from 0 to 600000"),
        ("/slow?ms=600001", "ms: expected a whole number from 0 to 600000"),
        ("/slow?ms=99999999999999999999", "ms: expected a whole number from 0 to 600000"),
        ("/slow?sec=1", "unknown field `sec`, expected `ms`"),
        ("/slow?ms=1&ms=2", "duplicate field `ms`"),
        ("/block?ms=x", "ms: expected a whole number from 0 to 600000"),
        ("/big?bytes=67108865", "bytes: expected a whole number from 0 to 67108864"),
        ("/stream?n=100001", "n: expected a whole number from 0 to 100000"),
        ("/stream?ms=x", "ms: expected a whole number from 0 to 600000"),
        ("/log?n=10001", "n: expected a whole number from 0 to 10000"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(says), "{path}: {}", answer.body);
    }
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 3000000\r\n\r\n").await;
    client.send(vec![b'x'; 3_000_000]).await;
    assert_eq!(client.answer().await.status, 413, "a body over axum's limit");
    drop(client);
    assert_eq!(program.terminate().await.code, Some(0));
}
