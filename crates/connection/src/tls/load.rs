//! From files to what handshakes are made with.

use std::{sync::Arc, time::SystemTime};

use super::{
    ClientAuth, TlsError, TlsSettings,
    certificate::Certificate,
    files,
    names::Certificates,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::CertificateDer,
        server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier},
        sign::CertifiedKey,
        version::{TLS12, TLS13},
    },
    settings::KeyPair,
    stamp::Stamps,
};

/// One reading of the files.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificates: Arc<Certificates>,
    /// When the first of the certificates expires.
    pub(super) expires: SystemTime,
    /// What the files looked like just before.
    pub(super) stamps: Stamps,
}

impl Loaded {
    /// Reads everything, or says what is wrong. `before` is what is served until then.
    pub(super) fn read(settings: &TlsSettings, before: Option<&Self>) -> Result<Self, TlsError> {
        let stamps = Stamps::of(settings);
        let provider = settings.provider.clone().unwrap_or_else(|| Arc::new(ring::default_provider()));
        let now = SystemTime::now();
        let mut certificates = Certificates::default();
        let mut expires = None;
        for pair in &settings.certificates {
            let (certified, certificate) = pair.read(&provider, now, before)?;
            let names = certificate.dns_names().map_err(|error| unusable(pair, error))?;
            certificates.add(certified, names);
            let not_after = certificate.not_after();
            expires = Some(expires.map_or(not_after, |earlier: SystemTime| earlier.min(not_after)));
        }
        let certificates = Arc::new(certificates);

        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Provider)?;
        let builder = match verifier(&settings.client_auth, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if settings.client_auth != ClientAuth::Off {
            // A session that is resumed brings its client certificate along, unchecked: it may have expired since, or its
            // issuer be no longer in the file. To refuse it then would lock the client out, who resumes what it has
            // though its certificate is a new one by now; and a server cannot look into a session before it takes it.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else if settings.provider.is_none() {
            config.ticketer = match before {
                // So that a reload costs nobody a whole handshake.
                Some(before) => Arc::clone(&before.config.ticketer),
                None => tickets()?,
            };
        }
        Ok(Self { config: Arc::new(config), certificates, expires: expires.unwrap_or(SystemTime::UNIX_EPOCH), stamps })
    }
}

impl KeyPair {
    fn read(
        &self,
        provider: &CryptoProvider,
        now: SystemTime,
        before: Option<&Loaded>,
    ) -> Result<(CertifiedKey, Certificate), TlsError> {
        let Self { chain: chain_path, key: key_path } = self;
        let chain = files::chain(chain_path)?;
        let key = files::key(key_path)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|source| TlsError::Key { path: key_path.clone(), source })?;
        // The rest of the chain is the client's to judge: an expired root at its end is served on purpose at times, for
        // old clients (as Let's Encrypt did for Android).
        let certificate = match chain.first() {
            Some(own) => Certificate::from_der(own).map_err(|error| unusable(self, error))?,
            None => return Err(unusable(self, rustls::Error::NoCertificatesPresented)),
        };

        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key of somebody else's provider may not tell.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(if certified.cert[1..].iter().any(|other| belongs(&certified, other)) {
                    TlsError::Order { chain: chain_path.clone() }
                } else {
                    TlsError::Mismatch { key: key_path.clone(), chain: chain_path.clone() }
                });
            }
            Err(error) => return Err(unusable(self, error)),
        }

        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if not_after < now {
            let expired = TlsError::Expired { path: chain_path.clone(), not_after };
            // One that is served already gets no worse by it, and must not keep the others from being renewed.
            if !before.is_some_and(|before| before.certificates.serve(&certified)) {
                return Err(expired);
            }
            tracing::warn!(
                target: "graceful::server", kind = "certificates", source = "http", error = %expired,
                "a certificate that has expired is still served"
            );
        }
        if now < not_before {
            return Err(TlsError::NotYetValid { path: chain_path.clone(), not_before });
        }
        Ok((certified, certificate))
    }
}

fn belongs(certified: &CertifiedKey, other: &CertificateDer<'static>) -> bool {
    CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key)).keys_match().is_ok()
}

fn unusable(pair: &KeyPair, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Certificate { path: pair.chain.clone(), source: source.into() }
}

fn verifier(auth: &ClientAuth, provider: Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = auth.file() else { return Ok(None) };
    let unusable = |source| TlsError::Certificate { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for root in files::roots(path)? {
        roots.add(root).map_err(|error| unusable(error.into()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth {
        ClientAuth::Optional(_) => builder.allow_unauthenticated(),
        _ => builder,
    };
    builder.build().map(Some).map_err(|error| unusable(error.into()))
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    ring::Ticketer::new().map_err(TlsError::Provider)
}
