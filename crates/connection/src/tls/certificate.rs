//! What a certificate says, as far as anybody here asks.

use std::time::SystemTime;

use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::{self, Decode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// `Raw`: private authorities issue serial numbers that RFC 5280 forbids.
pub(super) struct Certificate(CertificateInner<Raw>);

impl Certificate {
    pub(super) fn from_der(der: &[u8]) -> der::Result<Self> {
        CertificateInner::from_der(der).map(Self)
    }

    pub(super) fn not_before(&self) -> SystemTime {
        self.0.tbs_certificate().validity().not_before.to_system_time()
    }

    pub(super) fn not_after(&self) -> SystemTime {
        self.0.tbs_certificate().validity().not_after.to_system_time()
    }

    /// As RFC 4514 writes it.
    pub(super) fn subject(&self) -> String {
        self.0.tbs_certificate().subject().to_string()
    }

    pub(super) fn common_name(&self) -> Option<String> {
        let name = self.0.tbs_certificate().subject().common_name().ok()??;
        Some(name.value().into_owned())
    }

    /// The DNS names of the subject, wildcards included, in lower case. The common name is none (RFC 6125, 6.4.4).
    pub(super) fn dns_names(&self) -> der::Result<Vec<String>> {
        let Some((_, SubjectAltName(names))) = self.0.tbs_certificate().get_extension()? else {
            return Ok(Vec::new());
        };
        let dns = names.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        });
        Ok(dns.collect())
    }
}
