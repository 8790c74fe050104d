//! What is wrong with the files, in a line each.

use std::{error::Error, fs, path::PathBuf};

use graceful_connection::tls::{Acceptor, ClientAuth, TlsError, TlsSettings};
use rcgen::{KeyPair, date_time_ymd};

use crate::authority::{Authority, Files};

/// What is said of these settings, with the folder left out.
fn said(authority: &Authority, settings: TlsSettings) -> String {
    let error = Acceptor::new(settings).expect_err("bad files");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    assert!(!text.contains('\n'), "one line: {text}");
    text.replace(&format!("{}/", authority.path("").display().to_string().trim_end_matches('/')), "")
}

fn pair(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> TlsSettings {
    TlsSettings::new(chain, key)
}

#[test]
fn each_says_the_file_and_the_way_out() {
    let authority = Authority::new();
    let Files { chain, key } = authority.issue("good", &["localhost"]);
    let other = authority.issue("other", &["localhost"]);
    let pem = fs::read_to_string(&chain).expect("the file");
    let key_pem = fs::read_to_string(&key).expect("the file");
    let missing = || authority.path("none.pem");
    let nonsense = authority.write("nonsense.pem", "nonsense");
    let empty = authority.write("empty.pem", "");
    let der = authority.write("cert.der", authority.root().as_ref());
    let cut = authority.write("cut.pem", &pem[..pem.len() - 40]);
    let garbled = authority.write("garbled.pem", pem.replacen('M', "!", 1));
    let broken = authority
        .write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAAAAAAAAAAAAAAAAAAAAAA\n-----END CERTIFICATE-----\n");
    let broken_key = authority
        .write("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n");
    let encrypted = authority
        .write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let root = fs::read_to_string(authority.root_file()).expect("the file");
    let reversed = authority.write("reversed.pem", root + &pem);

    let cases = [
        (pair(missing(), &key), "none.pem: no such file; the certificate chain should be there"),
        (pair(&chain, missing()), "none.pem: no such file; the private key should be there"),
        (
            pair(&nonsense, &key),
            "nonsense.pem: the certificate chain is not in it; it should have a line -----BEGIN CERTIFICATE-----",
        ),
        (
            pair(&chain, &nonsense),
            "nonsense.pem: the private key is not in it; it should have a line -----BEGIN PRIVATE KEY-----",
        ),
        (pair(&empty, &key), "empty.pem: the certificate chain is not in it; the file is empty"),
        (pair(&chain, &empty), "empty.pem: the private key is not in it; the file is empty"),
        (
            pair(&der, &key),
            "cert.der: the certificate chain is not in it; it is DER: write it as PEM with `openssl x509` or `openssl pkey`",
        ),
        (
            pair(&key, &chain),
            "good.key: the certificate chain is not in it; it holds a private key: are the two files swapped?",
        ),
        (
            pair(&chain, &chain),
            "good.pem: the private key is not in it; it holds a certificate: are the two files swapped?",
        ),
        (
            pair(&chain, &encrypted),
            "encrypted.key: the private key is not in it; it is encrypted: write it in the clear with `openssl pkey`",
        ),
        (
            pair(&chain, &other.key),
            "other.key: this key does not belong to the certificate in good.pem; give the two that were issued together",
        ),
        (
            pair(&reversed, &key),
            "reversed.pem: the certificate of the key is not the first in it; put it before those of its issuers",
        ),
        (pair(&cut, &key), "cut.pem: damaged PEM (*); write the file anew"),
        (pair(&garbled, &key), "garbled.pem: damaged PEM (*); write the file anew"),
        (pair(&broken, &key), "broken.pem: this certificate cannot be served; have it issued anew: *"),
        (
            pair(&chain, &broken_key),
            "broken.key: this private key cannot be used; make one of ECDSA P-256, Ed25519 or RSA from 2048 bits: *",
        ),
        (pair(authority.path(""), &key), "*: cannot read the certificate chain: *"),
        (
            pair(&chain, &key).certificate(missing(), &key),
            "none.pem: no such file; the certificate chain should be there",
        ),
        (
            pair(&chain, &key).client_auth(ClientAuth::Required(missing())),
            "none.pem: no such file; the client CA's certificates should be there",
        ),
        (
            pair(&chain, &key).client_auth(ClientAuth::Optional(key.clone())),
            "good.key: the client CA's certificates is not in it; it holds a private key: are the two files swapped?",
        ),
    ];
    for (settings, expected) in cases {
        let said = said(&authority, settings);
        let (head, tail) = expected.split_once('*').unwrap_or((expected, ""));
        let tail = tail.split_once('*').map_or(tail, |(middle, _)| middle);
        assert!(said.starts_with(head) && said.contains(tail), "{said}\n  expected {expected}");
        if !expected.contains('*') {
            assert_eq!(said, expected);
        }
    }
    // And all of it is good where it is good.
    let both = authority.write("both.pem", pem + &key_pem);
    Acceptor::new(pair(&both, &both)).expect("one file may hold both");
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_says_so() {
    use std::os::unix::fs::PermissionsExt;

    let authority = Authority::new();
    let Files { chain, key } = authority.issue("good", &["localhost"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).expect("it is ours");
    if fs::read(&key).is_ok() {
        // Root may read everything: build what the system would say.
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = TlsError::Read { path: "good.key".into(), what: "the private key", source };
        assert_eq!(
            error.to_string(),
            "good.key: no permission to read the private key; let the server's user read the file"
        );
        return;
    }
    assert_eq!(
        said(&authority, pair(chain, key)),
        "good.key: no permission to read the private key; let the server's user read the file"
    );
}

#[test]
fn a_certificate_out_of_its_time_is_not_served() {
    let authority = Authority::new();
    let expired = authority.issue_with("late", &["localhost"], &KeyPair::generate().expect("a key"), |params| {
        params.not_after = date_time_ymd(2024, 5, 1);
    });
    assert_eq!(
        said(&authority, expired.settings()),
        "late.pem: this certificate expired at 2024-05-01T00:00:00Z; renew it"
    );
    let early = authority.issue_with("early", &["localhost"], &KeyPair::generate().expect("a key"), |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    });
    assert_eq!(
        said(&authority, early.settings()),
        "early.pem: this certificate is not valid before 3000-01-01T00:00:00Z; \
         if that is past, correct the clock of this machine"
    );
}

#[test]
fn the_first_to_expire_is_told() {
    let authority = Authority::new();
    let key = KeyPair::generate().expect("a key");
    let until = |file: &str, year| {
        authority.issue_with(file, &["localhost"], &key, |params| params.not_after = date_time_ymd(year, 1, 1))
    };
    let (late, soon) = (until("late", 3000), until("soon", 2999));
    let acceptor = Acceptor::new(late.settings().certificate(soon.chain, soon.key)).expect("good files");
    assert_eq!(acceptor.expires(), std::time::SystemTime::from(date_time_ymd(2999, 1, 1)));
}

#[test]
fn errors_and_acceptors_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Acceptor>();
    anywhere::<TlsError>();
    anywhere::<TlsSettings>();
    anywhere::<graceful_connection::tls::HandshakeError>();
    anywhere::<graceful_connection::tls::TlsInfo>();
    anywhere::<graceful_connection::tls::TlsStream<tokio::net::TcpStream>>();
}
