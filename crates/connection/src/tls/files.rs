//! Certificates and keys out of PEM files.

use std::{fs, path::Path};

use super::{
    TlsError,
    rustls::pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject, SectionKind},
    },
};

const CHAIN: &str = "the certificate chain";
const KEY: &str = "the private key";
const ROOTS: &str = "the client CA's certificates";

/// The certificates of a file, at least one.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, CHAIN)
}

/// The same, of those whom clients are believed.
pub(super) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, ROOTS)
}

/// The first private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path, KEY)?;
    let mut certificate = false;
    for section in sections(&text) {
        match section.map_err(|error| damaged(path, &error))? {
            (SectionKind::Certificate, _) => certificate = true,
            (kind, der) => {
                if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
                    return Ok(key);
                }
            }
        }
    }
    let hint = if contains(&text, b"ENCRYPTED") {
        "it is encrypted: write it in the clear with `openssl pkey`"
    } else if certificate {
        "it holds a certificate: are the two files swapped?"
    } else {
        hint(&text, "it should have a line -----BEGIN PRIVATE KEY-----")
    };
    Err(TlsError::Missing { path: path.to_owned(), what: KEY, hint })
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, what)?;
    let mut certificates = Vec::new();
    let mut key = false;
    for section in sections(&text) {
        match section.map_err(|error| damaged(path, &error))? {
            (SectionKind::Certificate, der) => certificates.push(CertificateDer::from(der)),
            (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => key = true,
            _ => {}
        }
    }
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let hint = if key {
        "it holds a private key: are the two files swapped?"
    } else {
        hint(&text, "it should have a line -----BEGIN CERTIFICATE-----")
    };
    Err(TlsError::Missing { path: path.to_owned(), what, hint })
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), what, source })
}

fn sections(text: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), pem::Error>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
}

fn damaged(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Damaged { path: path.to_owned(), reason: error.to_string() }
}

fn hint(text: &[u8], otherwise: &'static str) -> &'static str {
    match text {
        [] => "the file is empty",
        // The tag of an ASN.1 SEQUENCE, which no text begins with.
        [0x30, ..] if !text.is_ascii() => "it is DER: write it as PEM with `openssl x509` or `openssl pkey`",
        _ => otherwise,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
