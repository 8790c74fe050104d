//! HTTP/2 frames by the thousand: the CVEs of the last years, from a client that knows no manners. Whatever they do to the
//! connection that they come on, the process does not grow, and the next client is served.

use std::time::Duration;

use tests::{Client, Frame, Http2, Program};
use tokio::{net::TcpStream, time::timeout};

use crate::playground;

type Raw = Http2<TcpStream>;

const PROTOCOL_ERROR: u32 = 0x1;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// How much the process may grow by it, in KiB: its own buffers, a few thousand streams, and no more.
const MOST: u64 = 24 << 10;

async fn begin(program: &Program) -> Raw {
    Http2::begin(TcpStream::connect(program.address()).await.expect("somebody listens")).await
}

/// Sends `pieces` until the server does not take them any more. Gives the error code of its GOAWAY, if it sent one; `None`
/// if the connection is still there, or was closed without a word.
async fn flood(client: &mut Raw, pieces: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    for piece in pieces {
        if client.try_send_bytes(&piece).await.is_err() {
            break;
        }
    }
    goaway(client).await
}

/// Reads what there is, and gives the error code of a GOAWAY among it.
async fn goaway(client: &mut Raw) -> Option<u32> {
    while let Ok(Ok(frame)) = timeout(Duration::from_millis(500), client.frame()).await {
        if frame.kind == Frame::GOAWAY {
            return Some(u32::from_be_bytes(frame.payload[4..8].try_into().expect("four bytes")));
        }
    }
    None
}

/// Another client is served, and the process has not grown by more than it may.
async fn assert_well(program: &Program, before: u64, what: &str) {
    let answer = timeout(Duration::from_secs(5), async {
        Client::connect(program.address()).await.get("/healthz").await.status
    });
    assert_eq!(answer.await, Ok(200), "{what}: another client is served");
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < MOST, "{what}: the process grew by {grown} KiB");
}

fn head(stream: u32, flags: u8, path: &str) -> Vec<u8> {
    Frame::bytes(Frame::HEADERS, flags, stream, &Raw::head(path))
}

const WHOLE: u8 = Frame::END_STREAM | Frame::END_HEADERS;

/// Streams 1, 3, 5, …
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

#[tokio::test]
async fn rapid_reset_cve_2023_44487() {
    let program = playground(&[]).await;
    let before = program.resident_kib();
    for _ in 0..10 {
        let mut client = begin(&program).await;
        let all: Vec<u8> = streams(5000)
            .flat_map(|stream| {
                let reset = Frame::bytes(Frame::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
                [head(stream, WHOLE, "/slow?ms=600000"), reset].concat()
            })
            .collect();
        let code = flood(&mut client, all.chunks(16 << 10).map(<[u8]>::to_vec)).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "told, and ended");
    }
    assert_well(&program, before, "rapid reset").await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "nothing of it is left in flight: {}", ended.stderr);
}

#[tokio::test]
async fn made_you_reset_cve_2025_8671() {
    // The client breaks a rule of the stream, so that it is the server that resets it.
    let window = |stream| Frame::bytes(Frame::WINDOW_UPDATE, 0, stream, &[0; 4]);
    let data = |stream| Frame::bytes(Frame::DATA, 0, stream, b"behind the end");
    for (what, breach) in [("WINDOW_UPDATE of 0", &window as &dyn Fn(u32) -> Vec<u8>), ("DATA behind the end", &data)] {
        let program = playground(&[]).await;
        let before = program.resident_kib();
        let mut client = begin(&program).await;
        let all: Vec<u8> = streams(5000)
            .flat_map(|stream| [head(stream, WHOLE, "/slow?ms=600000"), breach(stream)].concat())
            .collect();
        // h2 takes the first for an error of the connection, and counts the second.
        let code = flood(&mut client, all.chunks(16 << 10).map(<[u8]>::to_vec)).await;
        assert!(matches!(code, Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{what}: told, and ended: {code:?}");
        assert_well(&program, before, what).await;
        assert_eq!(program.terminate().await.code, Some(0), "{what}");
    }
}

#[tokio::test]
async fn continuation_without_end_cve_2024_27316_and_its_kin() {
    let program = playground(&[]).await;
    let before = program.resident_kib();
    // A literal field that is not indexed, `x: xxx…`, of so many bytes.
    let field = |length: u8| [&[0x00, 1, b'x', length][..], &vec![b'x'; usize::from(length)]].concat();
    for (what, payload) in [("big", field(120).repeat(130)), ("small", field(1)), ("empty", Vec::new())] {
        let mut client = begin(&program).await;
        let first = head(1, Frame::END_STREAM, "/healthz");
        let more = Frame::bytes(Frame::CONTINUATION, 0, 1, &payload).repeat(100);
        let pieces = std::iter::once(first).chain(std::iter::repeat_n(more, 1000));
        let code = flood(&mut client, pieces).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}: told, and ended");
        assert_well(&program, before, what).await;
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_header_list_that_is_much_larger_than_its_frames() {
    // One field of 4,000 bytes goes into the table, and is then named by one byte, 15,000 times: 60 MB of fields.
    let program = playground(&[]).await;
    let before = program.resident_kib();
    let mut client = begin(&program).await;
    let value = vec![b'x'; 4000];
    // A length of 4,000 in seven bits and more (RFC 7541, 5.1).
    let indexed = [&[0x40, 1, b'x', 127, 0xa1, 0x1e][..], &value].concat();
    let block = [Raw::head("/healthz"), indexed, vec![0xbe; 12_000]].concat();
    assert!(block.len() <= 16 << 10, "in one frame");
    client.send(Frame::HEADERS, WHOLE, 1, &block).await;
    // 431 with the stream, or the end of the connection; never the handler's answer.
    let refused = loop {
        match timeout(Duration::from_secs(5), client.frame()).await.expect("an answer") {
            Ok(frame) if frame.kind == Frame::HEADERS => break frame.payload,
            Ok(frame) if frame.kind == Frame::GOAWAY || frame.kind == Frame::RST_STREAM => break Vec::new(),
            Ok(_) => {}
            Err(_) => break Vec::new(),
        }
    };
    assert!(refused.first() != Some(&0x88), "not 200: {refused:?}");
    assert_well(&program, before, "an HPACK bomb").await;
    assert!(!program.log().lines().iter().any(|line| line["version"] == "HTTP/2" && line["status"] == 200));
    assert_eq!(program.terminate().await.code, Some(0));
}

/// h2 answers them all, without a limit of their number; what must hold is that nothing piles up, whether the client reads
/// the answers or not.
#[tokio::test]
async fn pings_settings_and_frames_that_mean_nothing() {
    let program = playground(&["--write-stall-timeout", "2s"]).await;
    let before = program.resident_kib();
    for (what, frame) in [
        ("PING", Frame::bytes(Frame::PING, 0, 0, &[0; 8])),
        ("SETTINGS", Frame::bytes(Frame::SETTINGS, 0, 0, &[])),
        ("PRIORITY", Frame::bytes(Frame::PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("WINDOW_UPDATE", Frame::bytes(Frame::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown type", Frame::bytes(0x42, 0, 0, b"whatever")),
    ] {
        let mut client = begin(&program).await;
        let piece = frame.repeat(1000);
        // Nothing of what comes back is read. A server that stops to read is as good as one that goes on.
        let sending = async {
            for _ in 0..200 {
                if client.try_send_bytes(&piece).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(Duration::from_secs(3), sending).await;
        assert_well(&program, before, what).await;
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn empty_data_cve_2019_9518() {
    let program = playground(&[]).await;
    let before = program.resident_kib();
    let mut client = begin(&program).await;
    let post = [&[0x83, 0x86, 0x01, 4][..], b"test", &[0x04, 5], b"/echo"].concat();
    let first = Frame::bytes(Frame::HEADERS, Frame::END_HEADERS, 1, &post);
    let empty = Frame::bytes(Frame::DATA, 0, 1, &[]).repeat(1000);
    let code = flood(&mut client, std::iter::once(first).chain(std::iter::repeat_n(empty, 1000))).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    assert_well(&program, before, "empty DATA").await;
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_frame_that_is_too_large_and_a_preface_that_is_none() {
    const FRAME_SIZE_ERROR: u32 = 0x6;
    let program = playground(&[]).await;
    let mut client = begin(&program).await;
    let large = Frame::bytes(Frame::DATA, 0, 1, &vec![0; (16 << 10) + 1]);
    assert_eq!(flood(&mut client, std::iter::once(large)).await, Some(FRAME_SIZE_ERROR));
    // What begins like the preface and goes on otherwise is bad HTTP/1.
    let mut client = Client::connect(program.address()).await;
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(program.terminate().await.code, Some(0));
}
