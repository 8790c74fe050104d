//! Clients with certificates of their own.

use std::{
    io,
    sync::{Arc, Mutex},
};

use graceful_connection::tls::{
    ClientAuth, HandshakeError,
    rustls::{
        SignatureScheme,
        client::ResolvesClientCert,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        sign::CertifiedKey,
        version::{TLS12, TLS13},
    },
};
use rcgen::{DnType, KeyPair, date_time_ymd};
use tokio::io::AsyncReadExt;

use crate::{
    authority::{Authority, Files, pass},
    client::{Client, alert, body, get},
    server::Server,
};

fn client_files(authority: &Authority) -> Files {
    authority.issue_with("billing", &[], &KeyPair::generate().expect("a key"), |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
    })
}

fn setup(auth: impl FnOnce(std::path::PathBuf) -> ClientAuth) -> (Authority, Server) {
    let authority = Authority::new();
    let settings = authority.issue("one", &["localhost"]).settings();
    let server = Server::new(settings.client_auth(auth(authority.root_file())));
    (authority, server)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_handler_can_read_whose_it_is() {
    for auth in [ClientAuth::Optional as fn(_) -> _, ClientAuth::Required] {
        let (authority, server) = setup(auth);
        for version in [&TLS12, &TLS13] {
            let client = Client::build(&authority, &[version], Some(&client_files(&authority)));
            for _again in 0..2 {
                let answer = answer(&server, &client).await.expect("an answer");
                assert!(body(&answer).ends_with("client=O=Example\\, Inc.,CN=billing"), "{answer}");
            }
        }
    }
}

/// What a handler reads of a new connection.
async fn answer(server: &Server, client: &Client) -> io::Result<String> {
    let (io, _served) = server.connect();
    get(&mut client.connect(io).await?, "/tls").await
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_shows_none_is_served_where_it_is_optional_only() {
    let (authority, server) = setup(ClientAuth::Optional);
    let (io, _served) = server.connect();
    let mut io = Client::new(&authority).connect(io).await.expect("a connection");
    let answer = get(&mut io, "/tls").await.expect("an answer");
    assert!(answer.ends_with("client=-"), "{answer}");

    let (authority, server) = setup(ClientAuth::Required);
    refused(&authority, &server, Client::new(&authority), "CertificateRequired").await;
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_bad_one_is_refused_also_where_it_is_optional() {
    for auth in [ClientAuth::Optional as fn(_) -> _, ClientAuth::Required] {
        let (authority, server) = setup(auth);
        let stranger = Client::with_certificate(&authority, &client_files(&Authority::new()));
        refused(&authority, &server, stranger, "UnknownCA").await;
        let expired = authority.issue_with("late", &[], &KeyPair::generate().expect("a key"), |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        });
        refused(&authority, &server, Client::with_certificate(&authority, &expired), "CertificateExpired").await;
    }
}

async fn refused(_authority: &Authority, server: &Server, client: Client, because: &str) {
    let (io, served) = server.connect();
    // In TLS 1.3 the client is done before the server has seen its certificate.
    let error = match client.connect(io).await {
        Ok(mut io) => io.read_u8().await.expect_err("no connection"),
        Err(error) => error,
    };
    assert!(format!("{:?}", alert(&error)).contains(because), "the client is told why: {error:?}");
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::ClientCertificate(_)), "{error:?}");
    assert!(!error.is_noise(), "it is logged");
    server.assert_empty();
}

/// A client that renews its certificate while it runs.
#[derive(Debug)]
struct Renewable(Mutex<Arc<CertifiedKey>>);

impl Renewable {
    fn renew(&self, files: &Files) {
        *self.0.lock().expect("no panic") = certified(files);
    }
}

impl ResolvesClientCert for Renewable {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().expect("no panic")))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(files: &Files) -> Arc<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(&files.chain).expect("a file").collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    Arc::new(CertifiedKey::from_der(chain.expect("a chain"), key, &ring::default_provider()).expect("a pair"))
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_renewed_its_certificate_is_let_in() {
    for version in [&TLS12, &TLS13] {
        let (authority, server) = setup(ClientAuth::Required);
        let (short, expires) = authority.issue_short("short", &[]);
        let shown = Arc::new(Renewable(Mutex::new(certified(&short))));
        let mut client = Client::speaking(&authority, version);
        client.config.client_auth_cert_resolver = Arc::<Renewable>::clone(&shown);
        let before = answer(&server, &client).await.expect("it has not expired");
        assert!(before.ends_with("client=CN=short"), "{before}");
        pass(expires);
        shown.renew(&authority.issue("fresh", &[]));
        for _again in 0..2 {
            let after = answer(&server, &client).await.expect("a good certificate");
            assert!(after.ends_with("client=CN=fresh"), "{after}");
        }
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn every_connection_shows_its_certificate() {
    for auth in [ClientAuth::Optional as fn(_) -> _, ClientAuth::Required] {
        let (authority, server) = setup(auth);
        for version in [&TLS12, &TLS13] {
            let client = Client::build(&authority, &[version], Some(&client_files(&authority)));
            for _again in 0..2 {
                let answer = answer(&server, &client).await.expect("an answer");
                assert!(answer.contains("resumed=false"), "{version:?}: {answer}");
            }
        }
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_session_of_an_issuer_that_was_taken_out_is_not_resumed() {
    let (authority, server) = setup(ClientAuth::Optional);
    let client = Client::with_certificate(&authority, &client_files(&authority));
    let (io, served) = server.connect();
    let mut io = client.connect(io).await.expect("a connection");
    get(&mut io, "/").await.expect("an answer");
    drop(io);
    served.await.expect("no panic").expect("a connection");

    let other = Authority::new();
    std::fs::copy(other.root_file(), authority.root_file()).expect("another issuer");
    server.acceptor.reload().expect("good files");
    refused(&authority, &server, client, "UnknownCA").await;
}
