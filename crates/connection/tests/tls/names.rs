//! Several certificates, and which of them a client gets.

use graceful_connection::tls::{
    HandshakeError, TlsSettings,
    rustls::{AlertDescription, ClientConfig, Error, RootCertStore, SignatureScheme, crypto::ring},
};
use rcgen::{KeyPair, PKCS_ED25519};

use crate::{
    authority::Authority,
    client::{Client, alert, get, shown},
    server::Server,
};

fn three(authority: &Authority) -> TlsSettings {
    let one = authority.issue("one", &["localhost", "one.example"]);
    let two = authority.issue("two", &["two.example", "Deep.Two.Example"]);
    let wild = authority.issue("wild", &["*.wild.example", "*.two.example"]);
    one.settings().certificate(two.chain, two.key).certificate(wild.chain, wild.key)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_name_selects_the_certificate() {
    let authority = Authority::new();
    let server = Server::new(three(&authority));
    let client = Client::new(&authority);
    for (name, certificate) in [
        ("one.example", "one"),
        ("two.example", "two"),
        ("TWO.example", "two"),
        ("deep.two.example", "two"),
        ("other.wild.example", "wild"),
        ("other.two.example", "wild"),
    ] {
        let (io, _served) = server.connect();
        let mut io = client.connect_to(name, io).await.expect(name);
        assert_eq!(shown(&io), certificate, "{name}");
        let answer = get(&mut io, "/tls").await.expect("an answer");
        assert!(answer.contains(&format!("name={} ", name.to_lowercase())), "{answer}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn who_names_nothing_that_is_known_gets_the_first() {
    let authority = Authority::new();
    let server = Server::new(three(&authority));
    let mut client = Client::new(&authority);
    for name in ["elsewhere", "a.b.wild.example", "wild.example"] {
        let (io, served) = server.connect();
        client.connect_to(name, io).await.expect_err("it is the client that does not like it");
        assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::Refused(_))), "{name}");
    }
    client.config.enable_sni = false;
    let (io, _served) = server.connect();
    let io = client.connect_to("localhost", io).await.expect("a connection");
    assert_eq!(shown(&io), "one");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn strangers_can_be_refused() {
    let authority = Authority::new();
    let server = Server::new(three(&authority).known_names_only(true));
    let mut client = Client::new(&authority);
    let (io, _served) = server.connect();
    client.connect_to("other.wild.example", io).await.expect("a known name");

    let (io, served) = server.connect();
    let error = client.connect_to("elsewhere", io).await.expect_err("no connection");
    assert_eq!(*alert(&error), Error::AlertReceived(AlertDescription::UnrecognisedName));
    let error = served.await.expect("no panic").expect_err("no connection");
    assert_eq!(error.to_string(), "no certificate for the name \"elsewhere\"");

    client.config.enable_sni = false;
    let (io, served) = server.connect();
    client.connect_to("localhost", io).await.expect_err("no connection");
    assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::UnknownName(None))));
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_wildcard_is_there_for_who_does_not_understand_the_name_itself() {
    let authority = Authority::new();
    let exact = authority.issue_with(
        "exact",
        &["one.wild.example"],
        &KeyPair::generate_for(&PKCS_ED25519).expect("a key"),
        |_| (),
    );
    let wild = authority.issue("wild", &["*.wild.example"]);
    let server = Server::new(wild.settings().certificate(exact.chain, exact.key));
    let (io, _served) = server.connect();
    let io = Client::new(&authority).connect_to("one.wild.example", io).await.expect("a connection");
    assert_eq!(shown(&io), "exact", "the name itself comes first, where both would do");
    let (io, _served) = server.connect();
    let io = without_ed25519(&authority).connect_to("one.wild.example", io).await.expect("a connection");
    assert_eq!(shown(&io), "wild");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_gets_a_key_that_it_understands() {
    let authority = Authority::new();
    let modern =
        authority.issue_with("modern", &["localhost"], &KeyPair::generate_for(&PKCS_ED25519).expect("a key"), |_| ());
    let common = authority.issue("common", &["localhost"]);
    let server = Server::new(modern.settings().certificate(common.chain, common.key));

    let (io, _served) = server.connect();
    let io = Client::new(&authority).connect(io).await.expect("a connection");
    assert_eq!(shown(&io), "modern", "the first, where both would do");

    let (io, _served) = server.connect();
    let io = without_ed25519(&authority).connect(io).await.expect("a connection");
    assert_eq!(shown(&io), "common");
}

fn without_ed25519(authority: &Authority) -> Client {
    let mut provider = ring::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let known: Vec<_> = known.iter().filter(|(scheme, _)| *scheme != SignatureScheme::ED25519).copied().collect();
    provider.signature_verification_algorithms.mapping = known.leak();
    let mut roots = RootCertStore::empty();
    roots.add(authority.root()).expect("a root");
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client { config }
}
