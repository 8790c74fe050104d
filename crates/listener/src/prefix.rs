use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of IP addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address, `::1`.
///
/// IPv4 ranges in IPv6 clothes (`::ffff:10.0.0.0/104`, of 96 bits at least) are taken as IPv4, and so is an address that is looked up: an IPv6
/// range never contains an IPv4 address.
///
/// ```
/// use graceful_listener::IpPrefix;
///
/// let private: IpPrefix = "10.0.0.0/8".parse()?;
/// assert!(private.contains("10.1.2.3".parse()?));
/// assert!(private.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!private.contains("11.0.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IpPrefix {
    /// Its first address.
    network: IpAddr,
    bits: u8,
}

impl IpPrefix {
    /// The addresses that share their first `bits` bits with `addr`; whatever follows in `addr` is ignored. More bits
    /// than an address has (32 or 128) mean all of them.
    #[must_use]
    pub const fn new(addr: IpAddr, bits: u8) -> Self {
        match addr {
            IpAddr::V4(v4) => {
                let bits = if bits > 32 { 32 } else { bits };
                Self { network: IpAddr::V4(mask_v4(v4, bits)), bits }
            }
            IpAddr::V6(v6) => {
                let bits = if bits > 128 { 128 } else { bits };
                match v6.to_ipv4_mapped() {
                    Some(v4) if bits >= 96 => Self::new(IpAddr::V4(v4), bits - 96),
                    _ => Self { network: IpAddr::V6(mask_v6(v6, bits)), bits },
                }
            }
        }
    }

    /// Whether `addr` is in the range.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.network, addr.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(addr)) => mask_v4(addr, self.bits) == network,
            (IpAddr::V6(network), IpAddr::V6(addr)) => mask_v6(addr, self.bits) == network,
            _ => false,
        }
    }
}

/// The first `bits` bits of an address.
pub(crate) const fn mask_v6(addr: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(addr.to_bits() & ones(bits, 128))
}

const fn mask_v4(addr: Ipv4Addr, bits: u8) -> Ipv4Addr {
    #[expect(clippy::cast_possible_truncation, reason = "the mask of 32 bits fits in 32")]
    let mask = ones(bits, 32) as u32;
    Ipv4Addr::from_bits(addr.to_bits() & mask)
}

/// A number of `width` bits whose first `bits` are ones.
const fn ones(bits: u8, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    // A shift by the whole width, for no bit at all, would overflow.
    match all.checked_shl(width.saturating_sub(bits as u32)) {
        Some(ones) => ones & all,
        None => 0,
    }
}

impl From<IpAddr> for IpPrefix {
    /// That one address.
    fn from(addr: IpAddr) -> Self {
        Self::new(addr, 128)
    }
}

impl FromStr for IpPrefix {
    type Err = ParseIpPrefixError;

    fn from_str(text: &str) -> Result<Self, ParseIpPrefixError> {
        let error = || ParseIpPrefixError { text: text.to_owned() };
        let Some((addr, bits)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| error());
        };
        let addr: IpAddr = addr.parse().map_err(|_| error())?;
        // `u8::from_str` would also take "+8".
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let (least, most) = match addr {
            IpAddr::V4(_) => (0, 32),
            // What is shorter is a slip: of `::ffff:10.0.0.0/8` eight bits of zeros would count.
            IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some() => (96, 128),
            IpAddr::V6(_) => (0, 128),
        };
        match bits.parse() {
            Ok(bits) if digits && (least..=most).contains(&bits) => Ok(Self::new(addr, bits)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, bits } = self;
        write!(f, "{network}/{bits}")
    }
}

/// The text is not a range of IP addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParseIpPrefixError {
    text: String,
}

impl fmt::Display for ParseIpPrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a range of IP addresses; give one as 10.0.0.0/8, 2001:db8::/32 or ::1", self.text)
    }
}

impl Error for ParseIpPrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_addresses_and_no_others() {
        for (prefix, shown, inside, outside) in [
            ("10.0.0.0/8", "10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0/8", "10.0.0.0", "9.255.255.255"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.1.2.3", "::1"),
            ("192.0.2.1", "192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.128/25", "192.0.2.128/25", "::ffff:192.0.2.200", "192.0.2.127"),
            ("::1", "::1/128", "::1", "::2"),
            ("::/0", "::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::/33", "2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.9.9.9", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
        ] {
            let parsed: IpPrefix = prefix.parse().expect(prefix);
            assert_eq!(parsed.to_string(), shown);
            assert!(parsed.contains(inside.parse().expect(inside)), "{prefix} contains {inside}");
            assert!(!parsed.contains(outside.parse().expect(outside)), "{prefix} does not contain {outside}");
        }
    }

    #[test]
    fn what_is_not_a_range() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.0/+8",
            "10/8",
            "a",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
        ] {
            let error = text.parse::<IpPrefix>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "the message names what was given: {error}");
        }
    }
}
