//! Which certificate for which name.

use std::{collections::HashMap, sync::Arc};

use super::rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates by the names in them.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// `*.example.com` by `example.com`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    pub(super) fn add(&mut self, certified: CertifiedKey, names: Vec<String>) {
        let certified = Arc::new(certified);
        for name in names {
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()).or_default().push(Arc::clone(&certified)),
                None => self.exact.entry(name).or_default().push(Arc::clone(&certified)),
            }
        }
        self.all.push(certified);
    }

    /// The certificates for a name in lower case: those that spell it out, then those with a wildcard.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        // A wildcard stands for one label (RFC 6125, 6.4.3).
        let wildcard = name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).into_iter().chain(wildcard).flatten()
    }

    pub(super) fn knows(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| self.named(name).next().is_some())
    }

    /// Whether this very certificate is one of them.
    pub(super) fn serve(&self, certified: &CertifiedKey) -> bool {
        self.all.iter().any(|one| one.cert.first() == certified.cert.first())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut named = hello.server_name().into_iter().flat_map(|name| self.named(name)).peekable();
        match named.peek().copied() {
            Some(first) => named.find(understood).or(Some(first)),
            None => self.all.iter().find(understood).or_else(|| self.all.first()),
        }
        .cloned()
    }
}
