//! HTTPS, from outside: the template with a certificate, and what is said when that is no good.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, DnType, KeyPair};
use tests::{Client, run_to_end, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::{PLAYGROUND, PRODUCTION, production};

/// A certificate that vouches for itself, in two files of a folder of its own.
pub(crate) struct Files {
    folder: PathBuf,
    chain: String,
    key: String,
}

impl Files {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = format!("graceful-https-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        Self { chain: path("cert.pem"), key: path("key.pem"), folder }
    }

    /// Writes a new certificate, and gives it for a client to trust.
    pub(crate) fn write(&self, common_name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(&self.key, key.serialize_pem()).expect("the file can be written");
        fs::write(&self.chain, certificate.pem()).expect("the file can be written");
        certificate.der().clone()
    }

    pub(crate) fn args(&self) -> [&str; 4] {
        ["--tls-cert", &self.chain, "--tls-key", &self.key]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    shake_hands(within("a connection", TcpStream::connect(address)).await?, trusted).await
}

pub(crate) async fn shake_hands(
    socket: TcpStream,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    shake_hands_with(socket, roots).await
}

async fn shake_hands_with(socket: TcpStream, roots: RootCertStore) -> io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// One request, to the end of the connection.
async fn get(mut io: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    within("an answer", io.read_to_string(&mut answer)).await.expect("a clean end");
    answer
}

#[tokio::test]
async fn with_a_certificate_the_port_speaks_https_and_nothing_else() {
    let files = Files::new();
    let trusted = files.write("one");
    let program = production(&files.args()).await;
    let answer = get(connect(program.address(), &trusted).await.expect("a handshake"), "/api/work").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"ok":true}"#), "{answer}");

    let mut plain = Client::connect(program.address()).await;
    let answer = plain.get("/api/work").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "this port speaks HTTPS\n"));
    assert_eq!(plain.rest().await.expect("no reset"), "");
    drop(plain);
    assert_eq!(
        Client::connect(program.debug_address()).await.get("/livez").await.status,
        200,
        "the internal port is not"
    );

    let ended = program.terminate().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let noise = ended.log.wait_for("noise", 1, |line| line["kind"] == "noise").await;
    assert_eq!(noise[0]["kinds"], "tls_plain_http=1");
    let loaded = ended.log.wait_for("certificates", 1, |line| line["kind"] == "certificates").await;
    assert_eq!(loaded[0]["message"], "certificates loaded");
}

#[tokio::test]
async fn a_silent_client_leaves_one_line() {
    let files = Files::new();
    files.write("one");
    let program = production(&[&files.args()[..], &["--tls-handshake-timeout", "200ms"]].concat()).await;
    let mut silent = Client::connect(program.address()).await;
    assert_eq!(silent.rest().await.expect("no reset"), "");
    let line = program.log().message("TLS handshake timeout").await;
    assert_eq!((&line["kind"], &line["source"]), (&"tls_timeout".into(), &"http".into()));
    assert_eq!(line["peer"], silent.address().to_string());
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn sighup_reads_the_certificate_again_and_a_bad_one_changes_nothing() {
    let files = Files::new();
    let old = files.write("old");
    let program = production(&files.args()).await;
    let address = program.address();
    let kept = connect(address, &old).await.expect("a handshake");

    fs::write(&files.chain, "nothing of use").expect("the file can be written");
    program.signal(Signal::SIGHUP);
    let bad = program.log().message("certificates not loaded: those from before are still served").await;
    assert_eq!(bad["level"], "ERROR");
    assert!(bad["error"].as_str().is_some_and(|error| error.contains(&files.chain)), "{bad:?}");
    get(connect(address, &old).await.expect("still the old one"), "/healthz").await;

    let new = files.write("new");
    program.signal(Signal::SIGHUP);
    program.log().wait_for("reload", 2, |line| line["message"] == "certificates loaded").await;
    get(connect(address, &new).await.expect("the new one"), "/healthz").await;
    let error = connect(address, &old).await.expect_err("not the old one any more");
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(matches!(error, Some(rustls::Error::InvalidCertificate(_))), "{error:?}");
    assert!(get(kept, "/healthz").await.starts_with("HTTP/1.1 200 "), "what was connected goes on");
    assert_eq!(program.terminate().await.code, Some(0));
}

/// Clients that come and go, and clients that stay, while the certificate changes ten times under them.
#[tokio::test]
async fn swapped_under_load_by_sighup_no_request_fails() {
    let files = Files::new();
    let first = files.write("0");
    let program = production(&files.args()).await;
    let address = program.address();
    // Trusted from the start: a swap may come between a client's look at whom it trusts and the server's certificate.
    let others: Vec<_> = (1..=10).map(|_| Files::new()).collect();
    let mut trusting = RootCertStore::empty();
    trusting.add(first).expect("a root");
    for (swap, other) in (1..).zip(&others) {
        trusting.add(other.write(&swap.to_string())).expect("a root");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    let requests = AtomicU32::new(0);
    let coming = async {
        while !done.load(Relaxed) {
            let socket = TcpStream::connect(address).await.expect("it listens");
            let io = shake_hands_with(socket, trusting.clone()).await.expect("one of the certificates");
            assert!(get(io, "/healthz").await.starts_with("HTTP/1.1 200 "));
            requests.fetch_add(1, Relaxed);
        }
    };
    let staying = async {
        let mut io = shake_hands_with(TcpStream::connect(address).await.expect("it listens"), trusting.clone())
            .await
            .expect("a handshake");
        while !done.load(Relaxed) {
            io.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("the server reads");
            let mut byte = [0; 12];
            within("an answer", io.read_exact(&mut byte)).await.expect("never cut");
            assert_eq!(&byte, b"HTTP/1.1 200");
            // The rest of it.
            while within("an answer", io.read_u8()).await.expect("never cut") != b'\n' {}
            let mut rest = [0; 1024];
            while !String::from_utf8_lossy(&rest).contains("\r\n\r\n") {
                let _ = within("an answer", io.read(&mut rest)).await.expect("never cut");
            }
            requests.fetch_add(1, Relaxed);
        }
    };
    let swapping = async {
        for (swap, other) in (1..).zip(&others) {
            let before = requests.load(Relaxed);
            fs::rename(&other.key, &files.key).expect("replaced");
            fs::rename(&other.chain, &files.chain).expect("replaced");
            program.signal(Signal::SIGHUP);
            let loaded = |line: &tests::Line| line["message"] == "certificates loaded";
            program.log().wait_for("reload", swap + 1, loaded).await;
            while requests.load(Relaxed) < before + 5 {
                tokio::task::yield_now().await;
            }
        }
        done.store(true, Relaxed);
    };
    tokio::join!(coming, staying, swapping);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_client_in_the_middle_of_its_handshake_does_not_hold_up_the_end() {
    let files = Files::new();
    files.write("one");
    let program = production(&[&files.args()[..], &["--tls-handshake-timeout", "off"]].concat()).await;
    let mut silent = Client::connect(program.address()).await;
    let mut half = Client::connect(program.address()).await;
    half.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "a clean end: {}", ended.stderr);
    assert!(ended.took.as_secs() < 10, "{:?}", ended.took);
    let _ = (silent.rest().await, half.rest().await);
}

#[tokio::test]
async fn files_that_are_no_good_are_1_and_one_line() {
    let files = Files::new();
    files.write("one");
    let other = Files::new();
    other.write("two");
    let missing = files.folder.join("none.pem");
    let missing = missing.to_str().expect("text");
    for (chain, key, bad, says) in [
        (missing, files.key.as_str(), missing, "no such file; the certificate chain should be there"),
        (&files.chain, missing, missing, "no such file; the private key should be there"),
        (&files.key, &files.chain, &files.key, "are the two files swapped?"),
        (&files.chain, &other.key, &other.key, "this key does not belong to the certificate"),
    ] {
        let ended = run_to_end(PRODUCTION, &["--listen", "127.0.0.1:0", "--tls-cert", chain, "--tls-key", key]).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("error: {bad}: ")), "it names the file: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        assert!(ended.log.lines().is_empty(), "it never said that it listens");
    }
}

#[tokio::test]
async fn one_file_without_the_other_is_2() {
    for (flag, missing) in [("--tls-cert", "tls_key: missing"), ("--tls-key", "tls_cert: missing")] {
        let ended = run_to_end(PLAYGROUND, &["--listen", "127.0.0.1:0", flag, "file.pem"]).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(missing), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_proxy_names_the_client_in_front_of_the_handshake() {
    let files = Files::new();
    let trusted = files.write("behind a proxy");
    let args = [&files.args()[..], &["--proxy-protocol", "127.0.0.1"]].concat();
    let program = production(&args).await;
    let mut socket = TcpStream::connect(program.address()).await.expect("it listens");
    socket.write_all(b"PROXY TCP4 192.0.2.9 198.51.100.1 5000 443\r\n").await.expect("the server reads");
    let io = shake_hands(socket, &trusted).await.expect("a handshake behind the header");
    assert!(get(io, "/healthz").await.starts_with("HTTP/1.1 200 "));
    let record = program.log().access("/healthz", 1).await.swap_remove(0);
    assert_eq!(record["peer"], "192.0.2.9:5000");
    assert_eq!(program.terminate().await.code, Some(0));
}
