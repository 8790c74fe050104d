//! Clients with certificates of their own.

use graceful_connection::tls::{
    ClientAuth, HandshakeError,
    rustls::version::{TLS12, TLS13},
};
use rcgen::{DnType, KeyPair, date_time_ymd};
use tokio::io::AsyncReadExt;

use crate::{
    authority::{Authority, Files},
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
            for resumed in [false, true] {
                let (io, _served) = server.connect();
                let mut io = client.connect(io).await.expect("a connection");
                let answer = get(&mut io, "/tls").await.expect("an answer");
                assert!(
                    body(&answer).ends_with(&format!("resumed={resumed} client=O=Example\\, Inc.,CN=billing")),
                    "{answer}"
                );
            }
        }
    }
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
