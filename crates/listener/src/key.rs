use std::{net::IpAddr, sync::Arc};

use crate::{IpPrefix, Peer, prefix::mask_v6};

/// Which peers count as one, and which do not count.
#[derive(Clone, Debug)]
pub(crate) struct AddressKey {
    v6_prefix: u8,
    exempt: Arc<[IpPrefix]>,
}

impl AddressKey {
    pub(crate) fn new() -> Self {
        Self { v6_prefix: 64, exempt: Arc::default() }
    }

    pub(crate) fn v6_prefix(self, bits: u8) -> Self {
        Self { v6_prefix: bits.min(128), ..self }
    }

    pub(crate) fn exempt(self, prefixes: impl IntoIterator<Item = IpPrefix>) -> Self {
        Self { exempt: prefixes.into_iter().collect(), ..self }
    }

    /// What `peer` is counted as; `None` if it is not.
    pub(crate) fn of(&self, peer: Peer) -> Option<IpAddr> {
        self.of_addr(peer.ip()?)
    }

    /// What `addr` is counted as; `None` if it is not.
    pub(crate) fn of_addr(&self, addr: IpAddr) -> Option<IpAddr> {
        let addr = addr.to_canonical();
        if self.exempt.iter().any(|prefix| prefix.contains(addr)) {
            return None;
        }
        Some(match addr {
            IpAddr::V4(_) => addr,
            IpAddr::V6(v6) => mask_v6(v6, self.v6_prefix).into(),
        })
    }
}
