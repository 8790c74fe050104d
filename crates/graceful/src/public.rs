//! Where the public port listens, and whom it lets in.

use std::time::Duration;

use graceful_listener::{
    AnyListener, ConnectionRate, IpPrefix, Limited, Listener, ParseIpPrefixError, Peer, PerIp, PerIpLimit, PerIpPlace,
    Proxied, Rate, Several, TcpOptions, inherited,
};

use crate::{Config, ConfigError, Error};

/// Listens on the sockets that systemd hands over, if it does; else on every address of [`Config::listen`].
pub(crate) async fn bind(config: &Config) -> Result<Several<AnyListener>, Error> {
    let inherited = inherited().map_err(Error::Inherited)?;
    if !inherited.is_empty() {
        return Ok(Several::new(inherited.into_iter().map(|socket| socket.listener)));
    }
    let tcp = TcpOptions::new().reuse_port(config.reuse_port);
    let mut listeners = Vec::new();
    for address in config.listen.split(',') {
        listeners.push(AnyListener::bind_with(address.trim(), &tcp).await?);
    }
    Ok(Several::new(listeners))
}

/// The proxies that are trusted to say who their client is.
pub(crate) fn proxies(config: &Config) -> Result<Vec<IpPrefix>, ConfigError> {
    let parse = |prefix: &String| {
        let parsed = prefix.trim().parse();
        parsed.map_err(|error: ParseIpPrefixError| ConfigError::new("proxy_protocol", error.to_string()))
    };
    config.proxy_protocol.iter().map(parse).collect()
}

/// Puts the limits around `listener`, one type whatever is configured.
///
/// The total limit stands outside: its place is taken before anything is accepted, so that more clients wait in the
/// kernel instead of being refused. A proxy is not counted as a client; the clients that it names are.
pub(crate) fn limited<L: Listener>(
    listener: L,
    config: &Config,
    per_address: &PerAddress,
    proxies: &[IpPrefix],
) -> Proxied<Limited<Rate<PerIp<L>>>> {
    let PerAddress { open, rate } = per_address.clone();
    let open = open.exempt(proxies.iter().copied());
    let rate = rate.exempt(proxies.iter().copied());
    let listener = Rate::new(PerIp::new(listener, open), rate);
    Proxied::new(Limited::new(listener, config.max_connections), proxies.iter().copied())
}

/// What one address may do: hold so many connections, and open them so fast. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct PerAddress {
    open: PerIpLimit,
    rate: ConnectionRate,
}

impl PerAddress {
    pub(crate) fn of(config: &Config) -> Self {
        let rate = config.max_connection_rate_per_ip.map(|rate| {
            let burst = config.max_connection_burst_per_ip.unwrap_or(rate);
            ConnectionRate::new(rate, Duration::from_secs(1)).burst(burst)
        });
        Self { open: PerIpLimit::new(config.max_connections_per_ip), rate: rate.into() }
    }

    pub(crate) fn unlimited() -> Self {
        Self { open: PerIpLimit::new(None), rate: ConnectionRate::unlimited() }
    }

    /// Counts a client that a proxy has named; those that connect themselves are counted when they are accepted. `None` if
    /// it is one too many, which the limit counts as well.
    pub(crate) fn admit(&self, client: Peer) -> Option<PerIpPlace> {
        // As at accept: what is refused for the one costs no token of the other.
        self.open.admit(client).filter(|_| self.rate.admit(client))
    }
}
