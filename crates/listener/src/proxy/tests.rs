use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::SocketAddr,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_test::{assert_pending, io::Builder, task};

use super::{header::CRC32C, *};
use crate::{
    Peer,
    mock::{Scripted, accept_now},
};

const MAX: usize = 4096;

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn client(text: &str) -> Option<Peer> {
    Some(Peer::Tcp(addr(text)))
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).expect("short").to_be_bytes();
    [&[kind, high, low], value].concat()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).expect("short").to_be_bytes();
    [v2::SIGNATURE, &[command, family, high, low], body].concat()
}

/// 192.0.2.1:56324 to 198.51.100.1:443.
const ADDRESSES_V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

fn v2_tcp4(tlvs: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[&ADDRESSES_V4[..], &tlvs.concat()].concat())
}

fn v2_tcp6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    let destination: std::net::Ipv6Addr = "2001:db8::2".parse().unwrap();
    v2(0x21, 0x21, &[&source.octets()[..], &destination.octets(), &[0xdc, 0x04, 0x01, 0xbb]].concat())
}

/// Each kind of header that there is, with the client that it names.
fn valid() -> Vec<(Vec<u8>, Option<Peer>)> {
    let checked = |crc: [u8; 4]| v2_tcp4(&[tlv(0xea, b"\x01vpce-1"), tlv(CRC32C, &crc), tlv(0x04, &[0; 9])]);
    vec![
        (V1.to_vec(), client("192.0.2.1:56324")),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), client("0.0.0.0:0")),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), client("[2001:db8::1]:56324")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n".to_vec(), client("192.0.2.1:1")),
        (
            [
                &b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "[..],
                b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ]
            .concat(),
            client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ::1 what ever 0  x\r\n".to_vec(), None),
        (
            // "The worst case" of the specification: 107 bytes.
            [
                &b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "[..],
                b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ]
            .concat(),
            None,
        ),
        (v2_tcp4(&[]), client("192.0.2.1:56324")),
        (v2_tcp6(), client("[2001:db8::1]:56324")),
        (v2(0x21, 0x12, &ADDRESSES_V4), client("192.0.2.1:56324")),
        (v2(0x21, 0x31, &[b'/'; 216]), Some(Peer::Unix)),
        (v2(0x21, 0x31, &[&[0; 216][..], &tlv(0x02, b"a")].concat()), Some(Peer::Unix)),
        (v2_tcp4(&[tlv(0x04, &[0; 3000])]), client("192.0.2.1:56324")),
        (v2_tcp4(&[tlv(0x05, b"")]), client("192.0.2.1:56324")),
        (checked(sum_of(&checked([0; 4]))), client("192.0.2.1:56324")),
        // The proxy for itself, or a client that it cannot name: what follows is passed over.
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &ADDRESSES_V4), None),
        (v2(0x20, 0xff, b"anything"), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, &ADDRESSES_V4), None),
        (v2(0x21, 0x01, b"anything"), None),
        (v2(0x21, 0x10, &ADDRESSES_V4), None),
    ]
}

/// CRC-32C by the polynomial, written another way than the parser's.
fn sum_of(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
        let carry = (crc & 1) ^ bit;
        crc = (crc >> 1) ^ (0x82f6_3b78 * carry);
    }
    (!crc).to_be_bytes()
}

fn parsed(bytes: &[u8]) -> (ProxyHeader, usize) {
    match parse(bytes, MAX) {
        Ok(Parsed::Header(header, taken)) => (header, taken),
        other => panic!("{:?}: {other:?}", bytes.escape_ascii().to_string()),
    }
}

#[test]
fn every_kind_of_header_and_nothing_behind_it_is_taken() {
    for (bytes, expected) in valid() {
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", V1, b"\r\n", &[0; 600]] {
            let (header, taken) = parsed(&[&bytes[..], behind].concat());
            assert_eq!((header.client(), taken), (expected, bytes.len()), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_prefix_of_a_header_asks_for_more_and_not_for_too_much() {
    for (bytes, _) in valid() {
        for len in 0..bytes.len() {
            match parse(&bytes[..len], MAX) {
                Ok(Parsed::More(needed)) => {
                    assert!(needed > len, "or the reader would read nothing for ever");
                    assert!(needed <= bytes.len().max(v2::HEAD), "or it would wait for what never comes");
                }
                other => panic!("{len} bytes of {}: {other:?}", bytes.escape_ascii()),
            }
        }
    }
}

#[test]
fn what_is_no_header() {
    let missing = Broken::Missing;
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], missing),
        (b"G", missing),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", missing),
        (b"PROPFIND / HTTP/1.1\r\n", missing),
        (b"proxy TCP4", missing),
        (b"PROXY\t", missing),
        (b"\r\n\r\nGET / HTTP/1.1", missing),
        (b"\x16\x03\x01\x02\x00", missing),
        (b"\r\n\r\n\0\r\nQUIT\r", missing),
        (&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(), Broken::TooLong),
        (&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat(), Broken::TooLong),
        (&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(), Broken::TooLong),
    ] {
        assert_eq!(parse(bytes, MAX), Err(expected), "{}", bytes.escape_ascii());
    }
    for line in [
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 00\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 256.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%2 ::2 1 2\r\n",
        "PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        "PROXY UNKNOWN\rx",
        "PROXY UNKNOWN x\ty\r\n",
        "PROXY UNKNOWN \nGET / HTTP/1.1\r\n",
        "PROXY UNKNOWN é\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes(), MAX), Err(Broken::Malformed(_))), "{line:?}");
    }
    let sum = tlv(CRC32C, &[0; 4]);
    for bytes in [
        v2(0x11, 0x11, &ADDRESSES_V4),
        v2(0x31, 0x11, &ADDRESSES_V4),
        v2(0x22, 0x11, &ADDRESSES_V4),
        v2(0x21, 0x13, &ADDRESSES_V4),
        v2(0x21, 0x41, &ADDRESSES_V4),
        v2(0x21, 0x03, &ADDRESSES_V4),
        v2(0x21, 0x11, &[]),
        v2(0x21, 0x11, &ADDRESSES_V4[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x31, &[0; 215]),
        v2_tcp4(&[vec![0x01]]),
        v2_tcp4(&[vec![0x01, 0, 1]]),
        v2_tcp4(&[tlv(0x05, b"id"), vec![0x01, 0, 2, b'h']]),
        v2_tcp4(&[sum]),
        v2_tcp4(&[tlv(CRC32C, &[0; 3])]),
    ] {
        assert!(matches!(parse(&bytes, MAX), Err(Broken::Malformed(_))), "{}", bytes.escape_ascii());
    }
}

#[test]
fn too_long_is_known_from_the_length_alone() {
    let header = v2_tcp4(&[tlv(0x04, &vec![0; MAX - 16 - 12 - 3])]);
    assert_eq!(header.len(), MAX);
    assert_eq!(parsed(&header).1, MAX, "the limit itself is allowed");
    let longer = v2_tcp4(&[tlv(0x04, &vec![0; MAX - 16 - 12 - 2])]);
    assert_eq!(parse(&longer[..16], MAX), Err(Broken::TooLong), "before anything is kept for it");
    let local = v2(0x20, 0, &vec![0; MAX]);
    assert_eq!(parse(&local[..16], MAX), Err(Broken::TooLong), "whatever it says");
    assert_eq!(parsed(&valid().pop().expect("one").0).1, 28);
}

/// What is random, or a header with random damage, is never taken for more than it is.
#[test]
fn garbage_neither_panics_nor_asks_for_more_than_there_may_be() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let valid = valid();
    let mut taken_in_all = 0;
    for round in 0..50_000 {
        let mut bytes: Vec<u8> = if round % 4 == 0 {
            let start: &[u8] = [&b""[..], v1::START, b"PROXY TCP4 ", v2::SIGNATURE][next(4)];
            start.iter().copied().chain((0..next(300)).map(|_| u8::try_from(next(256)).unwrap())).collect()
        } else {
            valid[next(valid.len())].0.clone()
        };
        for _ in 0..next(4) {
            if !bytes.is_empty() {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, u8::try_from(next(256)).unwrap()),
                }
            }
        }
        match parse(&bytes, MAX) {
            Ok(Parsed::More(needed)) => assert!(needed > bytes.len() && needed <= MAX, "{}", bytes.escape_ascii()),
            Ok(Parsed::Header(header, taken)) => {
                taken_in_all += 1;
                assert!(taken <= bytes.len() && taken <= MAX, "{}", bytes.escape_ascii());
                // What reads its values does not panic either.
                let _ = (header.tls(), header.authority(), header.alpn());
                assert_eq!(parse(&bytes[..taken], MAX), Ok(Parsed::Header(header, taken)), "no byte more was needed");
                assert!(matches!(parse(&bytes[..taken - 1], MAX), Ok(Parsed::More(_))), "nor would one less do");
            }
            Err(broken) => {
                let longer = [&bytes[..], b"\r\n\r\n and more"].concat();
                assert_eq!(parse(&longer, MAX), Err(broken), "an error is final: {}", bytes.escape_ascii());
            }
        }
    }
    assert!(taken_in_all > 5_000, "some are whole: {taken_in_all}");
}

#[test]
fn what_else_the_proxy_says() {
    let tls = [&[0x07, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"client.example")].concat();
    let bytes = v2_tcp4(&[
        tlv(0x04, b"padding"),
        tlv(0x01, b"h2"),
        tlv(0x02, b"example.org"),
        tlv(0x02, b"a second is not the first"),
        tlv(0x20, &tls),
        tlv(0xea, b"\x01vpce-1"),
    ]);
    let (header, _) = parsed(&bytes);
    assert_eq!(header.destination(), Some(addr("198.51.100.1:443")));
    assert_eq!((header.alpn(), header.authority()), (Some(&b"h2"[..]), Some("example.org")));
    assert_eq!((header.tlv(0xea), header.tlv(0x05)), (Some(&b"\x01vpce-1"[..]), None));
    let seen = header.tls().expect("over TLS");
    assert_eq!((seen.version, seen.verified, seen.common_name), (Some("TLSv1.3"), true, Some("client.example")));

    for (value, expected) in [
        (&[0x00, 0, 0, 0, 0][..], None),
        (&[0x01, 0, 0, 0], None),
        (&[0x01, 0, 0, 0, 0], Some(false)), // no certificate: zero says nothing
        (&[0x03, 0, 0, 0, 1], Some(false)), // one that is not valid
        (&[0x03, 0, 0, 0, 0], Some(true)),
        (&[0x05, 0, 0, 0, 0], Some(true)), // shown on another connection of the session
        (&[0x03, 0, 0, 0, 0, 0x22, 0, 9, b'x'], Some(true)), // the rest is damaged
    ] {
        let (header, _) = parsed(&v2_tcp4(&[tlv(0x20, value)]));
        assert_eq!(header.tls().map(|tls| tls.verified), expected, "{value:?}");
        assert_eq!(header.tls().and_then(|tls| tls.common_name), None);
    }
    assert_eq!(parsed(&v2_tcp4(&[tlv(0x02, b"\xff")])).0.authority(), None, "not UTF-8");
}

fn io(script: &[&[u8]]) -> ProxyIo<tokio_test::io::Mock> {
    let mut builder = Builder::new();
    for &piece in script {
        builder.read(piece);
    }
    ProxyIo::expecting(builder.build(), Peer::Tcp(addr("10.0.0.1:9999")), MAX)
}

#[tokio::test]
async fn at_every_split_the_header_is_read_and_the_rest_is_left() {
    for (bytes, expected) in valid() {
        let all = [&bytes[..], b"GET /"].concat();
        for at in 1..all.len() {
            let mut io = io(&[&all[..at], &all[at..]]);
            let header = io.header().await.expect("a header").expect("expected one").clone();
            assert_eq!(header.client(), expected, "split at {at}: {}", bytes.escape_ascii());
            assert_eq!(io.peer(), expected.unwrap_or(Peer::Tcp(addr("10.0.0.1:9999"))), "else the socket's");
            let mut rest = String::new();
            io.read_to_string(&mut rest).await.expect("read");
            assert_eq!(rest, "GET /", "split at {at}: {}", bytes.escape_ascii());
            assert_eq!(io.proxy_header(), Some(&header), "it stays there");
        }
    }
}

#[tokio::test]
async fn byte_by_byte_too() {
    for (bytes, expected) in valid() {
        let all = [&bytes[..], b"GET /"].concat();
        let pieces: Vec<_> = all.chunks(1).collect();
        let mut io = io(&pieces);
        assert_eq!(io.header().await.expect("a header").and_then(ProxyHeader::client), expected);
        let mut rest = [0; 5];
        for byte in &mut rest {
            *byte = io.read_u8().await.expect("read");
        }
        assert_eq!(&rest, b"GET /");
    }
}

#[tokio::test]
async fn what_was_read_ahead_is_read_first_in_pieces_of_any_size() {
    let all = [V1, b"0123456789"].concat();
    for size in 1..=12 {
        let mut io = io(&[&all, b"abc"]);
        io.header().await.expect("a header");
        let mut seen = Vec::new();
        let mut piece = vec![0; size];
        loop {
            match io.read(&mut piece).await.expect("read") {
                0 => break,
                n => seen.extend_from_slice(&piece[..n]),
            }
        }
        assert_eq!(seen, b"0123456789abc", "in pieces of {size}");
    }
}

#[tokio::test]
async fn who_only_reads_is_right_too() {
    let mut good = io(&[V1, b"GET /"]);
    let mut rest = String::new();
    good.read_to_string(&mut rest).await.expect("read");
    assert_eq!((rest.as_str(), good.peer()), ("GET /", Peer::Tcp(addr("192.0.2.1:56324"))));

    let mut bad = io(&[b"GET / HTTP/1.1\r\n"]);
    for _ in 0..2 {
        let error =
            bad.read(&mut [0; 100]).await.expect_err("what a trusted peer sends without a header is not served");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.get_ref().expect("a cause").is::<ProxyError>());
    }
    let error = io(&[]).read(&mut [0; 100]).await.expect_err("no header is no clean end");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn each_error_is_final_and_says_what_it_is() {
    for (script, expected) in [
        (vec![&b"GET / HTTP/1.1\r\n"[..]], "a trusted peer sent no PROXY header"),
        (vec![b"PROXY ", b"NO\r\n"], "the PROXY header is malformed: it is neither TCP4, TCP6 nor UNKNOWN"),
        (vec![v2::SIGNATURE, b"\x21\x11\xff\xff"], "the PROXY header is too long"),
        (vec![], "the peer closed after 0 bytes of the PROXY header"),
        (vec![b"PROXY TC"], "the peer closed after 8 bytes of the PROXY header"),
    ] {
        let mut io = io(&script);
        for _ in 0..2 {
            assert_eq!(io.header().await.expect_err("no header").to_string(), expected);
        }
        assert_eq!(io.proxy_header(), None);
        assert_eq!(io.peer(), io.socket_peer());
    }
    let broken = Builder::new().read(b"PROXY").read_error(ErrorKind::ConnectionReset.into()).build();
    let mut io = ProxyIo::expecting(broken, Peer::Unix, MAX);
    let error = io.header().await.expect_err("reset");
    assert!(matches!(&error, ProxyError::Io(error) if error.kind() == ErrorKind::ConnectionReset), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::ConnectionReset, "as it came");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_header_is_gone_on_with() {
    let script = Scripted::new();
    let mut listener = Proxied::new(script.listener(), ["127.0.0.1".parse().unwrap()]);
    let mut sender = script.connect();
    let mut accepted = accept_now(&mut listener).expect("accept does not wait for the header");
    assert_eq!(accepted.peer, accepted.io.socket_peer());
    for piece in V1.chunks(7) {
        let deadline = Duration::from_secs(1);
        assert!(timeout(deadline, accepted.io.header()).await.is_err(), "a slow one meets its owner's deadline");
        sender.send(piece).await;
    }
    let header = accepted.io.header().await.expect("nothing was lost").expect("expected one");
    assert_eq!(header.client(), client("192.0.2.1:56324"));
    sender.send(b"x").await;
    assert_eq!(accepted.io.read_u8().await.expect("read"), b'x');
}

#[tokio::test]
async fn a_step_at_a_time() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut io = ProxyIo::expecting(server, Peer::Unix, MAX);
    let mut step = task::spawn(poll_fn(|cx| io.poll_header(cx).map(|header| header.map(Option::<&_>::cloned))));
    assert_pending!(step.poll());
    client.write_all(V1).await.expect("write");
    assert!(step.is_woken(), "what comes wakes");
    assert!(matches!(step.poll(), Poll::Ready(Ok(Some(_)))));
}

#[tokio::test]
async fn only_trusted_peers_are_believed() {
    let script = Scripted::new();
    let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let mut listener = Proxied::new(script.listener(), trusted);
    for (peer, believed) in [
        (Peer::Tcp(addr("10.1.2.3:1")), true),
        (Peer::Tcp(addr("[::ffff:10.1.2.3]:1")), true),
        (Peer::Tcp(addr("[2001:db8::5]:1")), true),
        (Peer::Tcp(addr("192.0.2.9:1")), false),
        (Peer::Unix, false),
    ] {
        let mut sender = script.connect_from(peer);
        let mut io = accept_now(&mut listener).expect("accept").io;
        assert_eq!(io.is_trusted(), believed, "{peer}");
        sender.send(V1).await;
        let header = io.header().await.expect("a header, or none is expected");
        assert_eq!(header.is_some(), believed, "{peer}");
        if !believed {
            let mut first = [0; 5];
            io.read_exact(&mut first).await.expect("read");
            assert_eq!(&first, b"PROXY", "it is not even looked at: a bad request like any other");
            assert_eq!(io.peer(), peer);
        }
    }
    let listener = listener.trust_unix(true);
    assert!(listener.trusts(Peer::Unix), "if one says so");
}

#[tokio::test]
async fn an_untrusted_peer_that_says_nothing_holds_up_nobody() {
    let (_silent, server) = tokio::io::duplex(64);
    let mut io = ProxyIo::direct(server, Peer::Unix);
    assert!(io.header().await.expect("nothing is waited for").is_none());
    io.write_all(b"hello").await.expect("writes go through");
}

#[test]
fn the_limit_of_a_header_has_bounds_of_its_own() {
    let listener = |bytes| Proxied::new((), []).max_header(bytes).max_header;
    assert_eq!((listener(0), listener(1000), listener(usize::MAX)), (232, 1000, 65_551));
}
