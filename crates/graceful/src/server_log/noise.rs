use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
};

use tokio::time::Instant;

/// Connections that never became a request, added up.
#[derive(Debug, Default)]
pub(super) struct Noise {
    since: Option<Instant>,
    kinds: BTreeMap<&'static str, u64>,
    /// At most [`MOST`]: a flood from forged addresses must not fill the memory.
    addresses: HashSet<IpAddr>,
    more: bool,
}

const MOST: usize = 4096;

impl Noise {
    /// Says whether it is the first.
    pub(super) fn add(&mut self, kind: &'static str, address: Option<IpAddr>) -> bool {
        *self.kinds.entry(kind).or_default() += 1;
        if let Some(address) = address {
            if self.addresses.len() < MOST {
                self.addresses.insert(address);
            } else if !self.addresses.contains(&address) {
                self.more = true;
            }
        }
        let first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        first
    }

    pub(super) fn count(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// `9`, or `more than 4096`.
    pub(super) fn addresses(&self) -> impl fmt::Display {
        let more = if self.more { "more than " } else { "" };
        format!("{more}{}", self.addresses.len())
    }

    /// `bad_request=3 header_timeout=9`.
    pub(super) fn kinds(&self) -> impl fmt::Display {
        let kinds: Vec<_> = self.kinds.iter().map(|(kind, count)| format!("{kind}={count}")).collect();
        kinds.join(" ")
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.since.map_or(0, |since| since.elapsed().as_secs());
        let (count, addresses) = (self.count(), self.addresses());
        let connections = if count == 1 { "connection" } else { "connections" };
        let from = if self.addresses.len() == 1 { "address" } else { "addresses" };
        write!(f, "{count} {connections} without a request from {addresses} {from} in {seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_added_up() {
        let mut noise = Noise::default();
        assert!(noise.add("bad_request", Some(Ipv4Addr::LOCALHOST.into())), "the first");
        assert!(!noise.add("header_timeout", Some(Ipv4Addr::LOCALHOST.into())));
        assert!(!noise.add("header_timeout", Some(Ipv4Addr::BROADCAST.into())));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(noise.to_string(), "3 connections without a request from 2 addresses in 60 s");
        assert_eq!(noise.kinds().to_string(), "bad_request=1 header_timeout=2");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded() {
        let mut noise = Noise::default();
        for address in 0..10_000_u32 {
            noise.add("bad_request", Some(Ipv4Addr::from_bits(address).into()));
        }
        assert_eq!(noise.addresses.len(), MOST);
        assert_eq!(noise.addresses().to_string(), "more than 4096");
        assert_eq!(noise.count(), 10_000, "the connections are all counted");
    }
}
