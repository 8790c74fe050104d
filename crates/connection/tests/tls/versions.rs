//! What is spoken: versions, protocols, resumption, and what is refused.

use bytes::Bytes;
use graceful_connection::{
    CloseReason,
    tls::{
        HandshakeError,
        rustls::{
            AlertDescription, Error, SupportedProtocolVersion,
            version::{TLS12, TLS13},
        },
    },
};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    authority::Authority,
    client::{Client, alert, body, get, rest},
    server::{SECOND, Server},
};

fn setup() -> (Authority, Server) {
    let authority = Authority::new();
    let server = Server::new(authority.issue("one", &["localhost"]).settings());
    (authority, server)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn both_versions_and_both_protocols_are_served_and_the_handler_can_tell() {
    let (authority, server) = setup();
    for (version, suite) in [(&TLS12, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), (&TLS13, "TLS_AES_256_GCM_SHA384")] {
        let word = if version.version == TLS12.version { "TLSv1.2" } else { "TLSv1.3" };
        let (io, served) = server.connect();
        let client = Client::speaking(&authority, version).alpn(&["http/1.1"]);
        let mut io = client.connect(io).await.expect("a connection");
        let answer = get(&mut io, "/tls").await.expect("an answer");
        assert_eq!(body(&answer), format!("{word} {suite} alpn=http/1.1 name=localhost resumed=false client=-"));
        io.shutdown().await.expect("the server reads");
        assert_eq!(rest(&mut io).await, b"");
        assert_eq!(served.await.expect("no panic").expect("a connection").reason, CloseReason::Done);

        let (io, served) = server.connect();
        let client = Client::speaking(&authority, version).alpn(&["http/1.1", "h2"]);
        let answer = get_http2(&client, io).await;
        assert_eq!(answer, format!("{word} {suite} alpn=h2 name=localhost resumed=false client=-"));
        assert_eq!(served.await.expect("no panic").expect("a connection").reason, CloseReason::Done);
    }
    server.assert_empty();
}

/// Hyper's client of HTTP/2, which knows nothing of ours.
async fn get_http2(client: &Client, io: tokio::io::DuplexStream) -> String {
    let io = client.connect(io).await.expect("a connection");
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()), "HTTP/2 is the server's first choice");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("a preface");
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/tls").body(http_body_util::Empty::<Bytes>::new());
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    let answer = answer.into_body().collect().await.expect("a body").to_bytes();
    drop(sender);
    let _ = connection.await;
    String::from_utf8(answer.to_vec()).expect("ASCII")
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn tls_1_1_is_refused_with_an_alert() {
    let (_authority, server) = setup();
    // The second as those clients do it, to whom RFC 5246 was not yet known.
    for (signatures, alert) in [(true, 70), (false, 40)] {
        let (mut io, served) = server.connect();
        io.write_all(&old_hello(signatures)).await.expect("the server reads");
        let answer = rest(&mut io).await;
        assert_eq!(answer[0], 21, "an alert: {answer:?}");
        assert_eq!(answer[5..], [2, alert], "fatal: protocol_version, or handshake_failure");
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::NoSharedVersion), "{error:?}");
        assert!(error.is_noise(), "scanners do that all day");
    }
    server.assert_empty();
}

/// The hello of a client that knows TLS 1.1 at most, written by hand: nothing here still speaks it.
fn old_hello(signatures: bool) -> Vec<u8> {
    let mut body = vec![3, 2]; // TLS 1.1
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x09, 0xc0, 0x0a]); // ECDHE-ECDSA with AES-CBC
    body.extend([1, 0]); // no compression
    let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 23]; // P-256
    extensions.extend([0, 11, 0, 2, 1, 0]); // uncompressed
    if signatures {
        extensions.extend([0, 13, 0, 4, 0, 2, 4, 3]); // ECDSA with SHA-256
    }
    body.extend([0, u8::try_from(extensions.len()).expect("few")]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).expect("a short hello");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_without_alpn_may_speak_either() {
    let (authority, server) = setup();
    let client = Client::new(&authority);
    let (io, _served) = server.connect();
    let mut io = client.connect(io).await.expect("a connection");
    let answer = get(&mut io, "/tls").await.expect("an answer");
    assert!(answer.contains("alpn=- "), "{answer}");

    let (io, _served) = server.connect();
    let mut io = client.connect(io).await.expect("a connection");
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("the server reads");
    assert_eq!(&read::<9, _>(&mut io).await[3..5], [4, 0], "the server's SETTINGS");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_just_goes_away_is_no_failure_but_half_a_body_is_no_body() {
    let (authority, server) = setup();
    let client = Client::new(&authority);
    // Nothing was begun: as good an end as any.
    for request in ["", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let (io, served) = server.connect();
        let mut io = client.connect(io).await.expect("a connection");
        io.write_all(request.as_bytes()).await.expect("the server reads");
        tokio::time::sleep(SECOND).await;
        // No `close_notify`: what most clients do.
        drop(io);
        let ended = served.await.expect("no panic").expect("a connection");
        assert_eq!(ended.reason, CloseReason::Done, "{request:?}: {:?}", ended.error);
    }
    let (io, served) = server.connect();
    let mut io = client.connect(io).await.expect("a connection");
    io.write_all(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf ").await.expect("it reads");
    tokio::time::sleep(SECOND).await;
    drop(io);
    let ended = served.await.expect("no panic").expect("a connection");
    assert_eq!(ended.reason, CloseReason::Broken, "whoever cuts a connection must not pass for its end");
    server.assert_empty();
}

async fn read<const N: usize, T: tokio::io::AsyncRead + Unpin>(io: &mut T) -> [u8; N] {
    let mut bytes = [0; N];
    io.read_exact(&mut bytes).await.expect("an answer");
    bytes
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_was_agreed_on_is_binding() {
    let (authority, server) = setup();
    for (agreed, spoken) in
        [("h2", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"), ("http/1.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]
    {
        let (io, served) = server.connect();
        let mut io = Client::new(&authority).alpn(&[agreed]).connect(io).await.expect("a connection");
        io.write_all(spoken.as_bytes()).await.expect("the server reads");
        assert_eq!(rest(&mut io).await, b"", "nothing is answered");
        let ended = served.await.expect("no panic").expect("a connection");
        assert_eq!(ended.reason, CloseReason::BadRequest, "agreed on {agreed}");
    }
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_of_another_protocol_is_refused() {
    let (authority, server) = setup();
    let (io, served) = server.connect();
    let error = Client::new(&authority).alpn(&["imap"]).connect(io).await.expect_err("no connection");
    assert_eq!(*alert(&error), Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::NothingShared(_)), "{error:?}");
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_does_not_like_the_certificate_is_no_noise() {
    let (authority, server) = setup();
    let stranger = Authority::new();
    for (client, name) in [(Client::new(&stranger), "localhost"), (Client::new(&authority), "elsewhere")] {
        let (io, served) = server.connect();
        client.connect_to(name, io).await.expect_err("not to be believed");
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::Refused(_)), "{error:?}");
        assert!(!error.is_noise(), "it may well be the certificate");
    }
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn sessions_are_resumed_also_over_a_reload() {
    async fn resumed(server: &Server, client: &Client) -> bool {
        let (io, _served) = server.connect();
        let mut io = client.connect(io).await.expect("a connection");
        get(&mut io, "/tls").await.expect("an answer").contains("resumed=true")
    }
    let (authority, server) = setup();
    let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    for version in versions {
        let client = Client::speaking(&authority, version);
        assert!(!resumed(&server, &client).await, "there is nothing to resume");
        assert!(resumed(&server, &client).await, "{version:?}");
        server.acceptor.reload().expect("good files");
        assert!(resumed(&server, &client).await, "{version:?}: a reload costs nobody a whole handshake");
    }
}
