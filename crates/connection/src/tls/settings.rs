use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::rustls::crypto::CryptoProvider;

/// What an [`Acceptor`](super::Acceptor) is made from. See the [module docs](super).
#[derive(Clone)]
#[must_use]
pub struct TlsSettings {
    pub(super) certificates: Vec<KeyPair>,
    pub(super) client_auth: ClientAuth,
    pub(super) handshake_timeout: Option<Duration>,
    pub(super) max_handshakes: Option<usize>,
    pub(super) known_names_only: bool,
    pub(super) provider: Option<Arc<CryptoProvider>>,
}

/// A certificate chain and its key, by their files.
#[derive(Clone, Debug)]
pub(super) struct KeyPair {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Whether clients show a certificate of their own (mutual TLS).
///
/// The file holds the certificates of those who may issue them, in PEM. There is no revocation: let client certificates
/// live for a short time, or take the issuer out of the file.
///
/// Where clients are asked, no session is resumed: each connection shows its certificate and is checked, at the price of a
/// whole handshake. A connection that is open when the certificate expires goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    Off,
    /// They are asked. One that shows none is served; one that shows a bad one is not.
    Optional(PathBuf),
    /// One that shows none is not served.
    Required(PathBuf),
}

impl ClientAuth {
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::Optional(file) | Self::Required(file) => Some(file),
        }
    }
}

impl TlsSettings {
    /// Serves the certificate chain in the PEM file `chain`, the server's own certificate first, with the private key in
    /// the PEM file `key` (PKCS #8, PKCS #1 or SEC 1, not encrypted). Both may be the same file.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificates: vec![KeyPair { chain: chain.into(), key: key.into() }],
            client_auth: ClientAuth::Off,
            handshake_timeout: Some(Duration::from_secs(5)),
            max_handshakes: Some(default_max_handshakes()),
            known_names_only: false,
            provider: None,
        }
    }

    /// Adds another certificate, for the names in it: exact ones, and wildcards (`*.example.com`) for one label.
    ///
    /// The client says in the handshake which name it wants (SNI). Where several certificates have that name, it gets
    /// the first whose kind of key it understands, so that an ECDSA certificate can stand before an RSA one; those that
    /// spell the name out come before those with a wildcard for it. A client that names nothing, or nothing that is
    /// known, gets the first certificate of all that it understands.
    pub fn certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificates.push(KeyPair { chain: chain.into(), key: key.into() });
        self
    }

    /// Refuses clients that name nothing, or nothing that is in a certificate. Default no.
    pub fn known_names_only(mut self, known_names_only: bool) -> Self {
        self.known_names_only = known_names_only;
        self
    }

    /// Whether clients show a certificate of their own. Default [`ClientAuth::Off`].
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// From accept to the end of the handshake; then the socket is closed. `None` and zero: no limit. Default 5 s.
    pub fn handshake_timeout(mut self, handshake_timeout: Option<Duration>) -> Self {
        self.handshake_timeout = handshake_timeout;
        self
    }

    /// How many handshakes are worked on at once; more wait, within their own limit. `None` and zero: as many as come.
    /// Default twice the number of cores.
    ///
    /// A handshake is 0.1 to 1 ms of arithmetic, in one go: when many clients reconnect at once, this keeps the requests
    /// that are being served from waiting behind all of them (measured with 1,000 of them, an RSA key and one worker: the median
    /// request took 43 to 87 ms without the limit and 1.5 ms with two places, and the storm was over as soon). What counts is the
    /// arithmetic: a handshake takes a place whenever its client has sent something to work on, be it the hello, a second
    /// one, or its certificates, and none while it waits for the client, so that those that stop half-way cannot keep the
    /// others out.
    pub fn max_handshakes(mut self, max_handshakes: Option<usize>) -> Self {
        self.max_handshakes = max_handshakes.filter(|max| *max > 0);
        self
    }

    /// Other crypto than `ring`, such as `aws-lc-rs`, which has a post-quantum key exchange and a FIPS mode. Sessions
    /// are then kept in memory instead of in tickets, since the tickets' crypto is not the provider's.
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Every file that is read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.certificates.iter().flat_map(|pair| [pair.chain.as_path(), pair.key.as_path()]);
        pairs.chain(self.client_auth.file())
    }
}

fn default_max_handshakes() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificates, client_auth, handshake_timeout, max_handshakes, known_names_only, provider } = self;
        f.debug_struct("TlsSettings")
            .field("certificates", certificates)
            .field("client_auth", client_auth)
            .field("handshake_timeout", handshake_timeout)
            .field("max_handshakes", max_handshakes)
            .field("known_names_only", known_names_only)
            .field("crypto_provider", &provider.as_ref().map_or("ring", |_| "other"))
            .finish()
    }
}
