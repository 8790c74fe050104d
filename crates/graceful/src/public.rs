//! Where the public port listens, and whom it lets in.

use graceful_listener::{
    AnyListener, IpPrefix, Limited, Listener, PerIp, PerIpLimit, Proxied, Several, TcpOptions, inherited,
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
        prefix.trim().parse().map_err(|error| {
            ConfigError::new("proxy_protocol", format!("{prefix:?}: {error}: write an address or a range, 10.0.0.0/8"))
        })
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
    per_ip: &PerIpLimit,
    proxies: &[IpPrefix],
) -> Proxied<Limited<PerIp<L>>> {
    let at_accept = per_ip.clone().exempt(proxies.iter().copied());
    Proxied::new(Limited::new(PerIp::new(listener, at_accept), config.max_connections), proxies.iter().copied())
}
