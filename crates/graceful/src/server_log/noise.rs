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
    /// How many of each kind had a line of their own.
    lines: BTreeMap<&'static str, u32>,
    kinds: BTreeMap<&'static str, u64>,
    /// At most [`MOST`]: a flood from forged addresses must not fill the memory.
    addresses: HashSet<IpAddr>,
    more: bool,
}

const MOST: usize = 4096;

/// How many of a kind may have a line each.
const FEW: u32 = 10;

impl Noise {
    /// Whether one of this kind may have a line of its own, as the first few may.
    pub(super) fn spare(&mut self, kind: &'static str) -> bool {
        let lines = self.lines.entry(kind).or_default();
        *lines += u32::from(*lines <= FEW);
        *lines <= FEW
    }

    /// Whether this is the first that is heard of.
    pub(super) fn begin(&mut self) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        first
    }

    pub(super) fn add(&mut self, kind: &'static str, address: Option<IpAddr>) {
        *self.kinds.entry(kind).or_default() += 1;
        if let Some(address) = address {
            if self.addresses.len() < MOST {
                self.addresses.insert(address);
            } else if !self.addresses.contains(&address) {
                self.more = true;
            }
        }
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
        assert!(noise.begin(), "the first");
        noise.add("bad_request", Some(Ipv4Addr::LOCALHOST.into()));
        assert!(!noise.begin());
        noise.add("header_timeout", Some(Ipv4Addr::LOCALHOST.into()));
        noise.add("header_timeout", Some(Ipv4Addr::BROADCAST.into()));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(noise.to_string(), "3 connections without a request from 2 addresses in 60 s");
        assert_eq!(noise.kinds().to_string(), "bad_request=1 header_timeout=2");
    }

    #[test]
    fn the_first_few_of_a_kind_have_a_line_each() {
        let mut noise = Noise::default();
        for kind in ["tls_refused", "tls_timeout"] {
            assert_eq!((0..1000).filter(|_| noise.spare(kind)).count(), 10, "{kind}");
        }
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
