use std::{iter, net::SocketAddr, str};

use crate::Peer;

/// What a proxy says of the connection that it makes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyHeader {
    client: Option<Peer>,
    destination: Option<SocketAddr>,
    /// As they came; found whole.
    tlvs: Box<[u8]>,
}

impl ProxyHeader {
    /// The client. `None` if the proxy speaks for itself, as in a health check (`LOCAL`), or does not know (`UNKNOWN`):
    /// then the proxy's own address counts.
    ///
    /// [`Peer::Unix`] is a process on the proxy's machine.
    #[must_use]
    pub const fn client(&self) -> Option<Peer> {
        self.client
    }

    /// The address that the client had connected to.
    #[must_use]
    pub const fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    /// The host that the client asked for, as a rule by the SNI of TLS (`PP2_TYPE_AUTHORITY`), if it is valid UTF-8.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        str::from_utf8(self.tlv(0x02)?).ok()
    }

    /// The protocol that the client and the proxy agreed on: `h2`, `http/1.1` (`PP2_TYPE_ALPN`).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tlv(0x01)
    }

    /// What the proxy knows of the client's TLS (`PP2_TYPE_SSL`); `None` if the client came without.
    #[must_use]
    pub fn tls(&self) -> Option<ProxyTls<'_>> {
        let (&[client, verify @ ..], inner) = self.tlv(0x20)?.split_first_chunk::<5>()?;
        let inner = if are_whole(inner) { inner } else { &[] };
        let text = |kind| str::from_utf8(tlvs(inner).find(|tlv| tlv.0 == kind)?.1).ok();
        // Bits of `client`: 1 over TLS, 2 a certificate on this connection, 4 or on another of the same session.
        (client & 1 != 0).then(|| ProxyTls {
            version: text(0x21),
            verified: client & 6 != 0 && u32::from_be_bytes(verify) == 0,
            common_name: text(0x22),
        })
    }

    /// The first value of a type, for those without a method of their own: 0x05 is a connection's unique id, 0xEA belongs
    /// to AWS, 0xE0 to Google, 0xEE to Azure.
    #[must_use]
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        tlvs(&self.tlvs).find(|tlv| tlv.0 == kind).map(|tlv| tlv.1)
    }

    pub(super) fn without_addresses() -> Self {
        Self { client: None, destination: None, tlvs: Box::default() }
    }

    pub(super) fn from_client(client: Peer) -> Self {
        Self { client: Some(client), ..Self::without_addresses() }
    }

    pub(super) fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { destination: Some(destination), ..Self::from_client(source.into()) }
    }

    pub(super) fn with_tlvs(self, tlvs: &[u8]) -> Self {
        Self { tlvs: tlvs.into(), ..self }
    }
}

/// The client's TLS, as the proxy saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ProxyTls<'a> {
    /// As `TLSv1.3`.
    pub version: Option<&'a str>,
    /// Whether the client has shown a certificate *and* the proxy found it valid.
    pub verified: bool,
    /// The name in the certificate's subject. Means something only if `verified`.
    pub common_name: Option<&'a str>,
}

pub(super) const CRC32C: u8 = 0x03;

/// Each type and value, to the first that is not whole.
pub(super) fn tlvs(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    iter::from_fn(move || {
        let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
        let value;
        (value, bytes) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        Some((kind, value))
    })
}

/// Whether nothing but whole types and values is in `bytes`.
pub(super) fn are_whole(bytes: &[u8]) -> bool {
    tlvs(bytes).map(|(_, value)| 3 + value.len()).sum::<usize>() == bytes.len()
}
