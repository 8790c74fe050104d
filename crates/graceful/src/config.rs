//! What a server can be told, in one place.

#[cfg(feature = "clap")]
mod args;
mod check;
#[cfg(feature = "clap")]
mod environment;
mod preset;
mod setting;

use std::{path::PathBuf, time::Duration};

use graceful_connection::{MinRate, Settings};
use graceful_shutdown::Budget;
use serde::{Deserialize, Serialize};

#[cfg(feature = "clap")]
pub use self::args::Args;
pub use self::check::ConfigError;
pub use self::preset::Preset;
pub use self::setting::OrOff;
use self::setting::{or_none, or_off, plain};

/// Everything that a [`Server`](crate::Server) can be told.
///
/// The defaults are the production defaults: a server with `Config::default()` is safe to put on the internet. `None`
/// switches a limit off, in a file `"off"`; durations are written as `"5s"` or `"100ms"`. A duration of zero is off as
/// well, except for `queue_wait` and `drain_delay`, where it means that there is no wait.
///
/// ```
/// use graceful::Config;
///
/// let config: Config = serde_json::from_str(r#"{ "listen": ":3000", "idle_timeout": "off", "max_in_flight": 64 }"#)?;
/// assert_eq!(config.idle_timeout, None);
/// assert_eq!(config.max_in_flight, Some(64));
/// assert_eq!(config.read_header_timeout, Config::default().read_header_timeout);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `:8080` for every address, `unix:/run/app.sock`;
    /// several of them, separated by commas. Sockets that systemd hands over stand in the place of all. Default
    /// `127.0.0.1:8080`.
    pub listen: String,
    /// Whether another instance of the same user may listen on the same TCP addresses beside this one (`SO_REUSEPORT`),
    /// as the next generation of a server does before this one ends. Each needs an internal port of its own. Default no, so
    /// that a second instance by mistake is an error.
    pub reuse_port: bool,
    /// Where the internal port listens (`/livez`, `/readyz`), on TCP. Never make it public. Default `127.0.0.1:6060`.
    #[serde(with = "or_off")]
    pub debug_listen: Option<String>,

    /// The proxies, as addresses or ranges (`10.0.0.0/8`), that begin each connection with a PROXY protocol header, version
    /// 1 or 2. From them it is required, from others it is a bad request. Default none.
    pub proxy_protocol: Vec<String>,
    /// The certificate chain of the public port, a PEM file with the server's own certificate first. With it the port
    /// speaks HTTPS only. The file is read again when it changes, and on SIGHUP. Needs the feature `tls`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// From accept, behind a proxy from the end of its PROXY header, to the end of the TLS handshake. Default 5 s.
    #[serde(with = "or_off")]
    pub tls_handshake_timeout: Option<Duration>,

    /// From accept, or from the first byte of a later request, to the end of its head. Default 5 s.
    #[serde(with = "or_off")]
    pub read_header_timeout: Option<Duration>,
    /// From the end of a request's head to the end of its body; then who reads it gets an error, and the extractor
    /// [`InTime`](crate::handler::body::InTime) answers 408. Default 30 s.
    #[serde(with = "or_off")]
    pub read_timeout: Option<Duration>,
    /// From the end of a request to the last byte of its response. Event streams and upgrades lift it. Default 60 s.
    #[serde(with = "or_off")]
    pub write_timeout: Option<Duration>,
    /// How long a client may take no byte of a response at all. Default 30 s.
    #[serde(with = "or_off")]
    pub write_stall_timeout: Option<Duration>,
    /// Bytes a second that a client must send of a body that is waited for, and take of a response, on average after the
    /// first 5 s. Default off; 240 is Kestrel's.
    #[serde(with = "or_off")]
    pub min_rate: Option<u64>,
    /// Between the requests of a connection. Default 120 s.
    #[serde(with = "or_off")]
    pub idle_timeout: Option<Duration>,
    /// From a handler's start to the head of its response; then 503. Default 30 s. The extension `Deadline`
    /// of `graceful-timeout` tells a handler what is left.
    #[serde(with = "or_off")]
    pub handler_timeout: Option<Duration>,

    /// How many bytes a request's head may have; beyond it 431. Default 64 KiB.
    #[serde(with = "plain")]
    pub max_header_bytes: u32,
    /// How many bytes a request's body may have; beyond it 413. Default off. axum's extractors stop at 2 MB all the same, but
    /// where a route has a larger `DefaultBodyLimit`.
    #[serde(with = "or_off")]
    pub max_body_bytes: Option<usize>,
    /// How many connections may be open; more wait in the kernel, and are let in when the server shuts down. Default 10,000.
    #[serde(with = "or_off")]
    pub max_connections: Option<usize>,
    /// How many connections one address (IPv6: one /64) may have open; more are closed. Default off.
    #[serde(with = "or_off")]
    pub max_connections_per_ip: Option<usize>,
    /// How many connections a second one address (IPv6: one /64) may open in the long run; more are closed. Default off.
    #[serde(with = "or_off")]
    pub max_connection_rate_per_ip: Option<u32>,
    /// How many of them at once, after a silence; a browser opens six. Default off, which is as many as a second's.
    #[serde(with = "or_off")]
    pub max_connection_burst_per_ip: Option<u32>,
    /// How many sockets may be upgraded (WebSockets, tunnels) at once; a request for one more gets 503. Default off.
    #[serde(with = "or_off")]
    pub max_upgraded: Option<usize>,
    /// How old a connection may grow, give or take a tenth, before it is closed behind an answer. Default off.
    #[serde(with = "or_off")]
    pub max_connection_age: Option<Duration>,
    /// How many requests a connection may carry, give or take a tenth. Default off.
    #[serde(with = "or_off")]
    pub max_connection_requests: Option<u64>,
    /// How many requests may be in flight. Default 1,024.
    #[serde(with = "or_off")]
    pub max_in_flight: Option<usize>,
    /// How many requests may wait for one of those places; more get 503 at once. Zero, in a file `"off"` as well: nobody waits.
    /// Default 1,024.
    #[serde(with = "or_none")]
    pub max_queue: usize,
    /// How long one of them may wait; then 503. Zero: nobody waits. Default 100 ms.
    #[serde(with = "or_none")]
    pub queue_wait: Duration,
    /// How many streams a client may have open on one HTTP/2 connection. Default 250.
    #[serde(with = "plain")]
    pub h2_max_streams: u32,

    /// From the signal to the end of everything; what is left then is closed by force. Off, it takes as long as it takes,
    /// and only a second signal forces. Default 30 s.
    #[serde(with = "or_off")]
    pub shutdown_timeout: Option<Duration>,
    /// How long to go on accepting after the signal, while `/readyz` says 503, so that a load balancer can look
    /// elsewhere. A part of `shutdown_timeout`. Default 0.
    #[serde(with = "or_none")]
    pub drain_delay: Duration,

    /// How many connections, requests and tasks may be alive before the log warns, once, with the most numerous groups of
    /// them. Something above what the other limits allow: it is to tell of a leak. Default 50,000.
    #[serde(with = "or_off")]
    pub high_water: Option<usize>,
    /// How long one poll of a connection, a request or a task may take before the log names it: meanwhile its worker thread
    /// runs nothing else. Default 1 s.
    #[serde(with = "or_off")]
    pub stuck_after: Option<Duration>,

    /// How log lines look. Default JSON.
    pub log_format: LogFormat,
    /// What is logged, as `tracing_subscriber`'s `EnvFilter` reads it: `info`, `warn,my_crate=debug`. Default `info`.
    pub log_level: String,
    /// What a request id looks like where the client sent none. Default v4.
    pub request_id: RequestIdFormat,
    /// Whether the access log, and a shutdown that names who was late, say which route took a request, as `/users/{id}`.
    /// Only the inside of the router knows; a route layer passes it out, which costs a request 3 allocations and some
    /// 5 % of its instructions. A path that is the name of its route, as `/api/work`, pays that once, and then 1 %, as long
    /// as it has no more than 128 bytes and there are not many hundreds of them. Default yes.
    pub route_names: bool,
    /// Whether the server's own errors are problem details (RFC 9457) instead of plain text. Default no.
    pub problem_details: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            reuse_port: false,
            debug_listen: Some("127.0.0.1:6060".to_owned()),
            proxy_protocol: Vec::new(),
            tls_cert: None,
            tls_key: None,
            tls_handshake_timeout: Some(Duration::from_secs(5)),
            read_header_timeout: Some(Duration::from_secs(5)),
            read_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(60)),
            write_stall_timeout: Some(Duration::from_secs(30)),
            min_rate: None,
            idle_timeout: Some(Duration::from_secs(120)),
            handler_timeout: Some(Duration::from_secs(30)),
            max_header_bytes: 64 << 10,
            max_body_bytes: None,
            max_connections: Some(10_000),
            max_connections_per_ip: None,
            max_connection_rate_per_ip: None,
            max_connection_burst_per_ip: None,
            max_upgraded: None,
            max_connection_age: None,
            max_connection_requests: None,
            max_in_flight: Some(1024),
            max_queue: 1024,
            queue_wait: Duration::from_millis(100),
            h2_max_streams: 250,
            shutdown_timeout: Some(Duration::from_secs(30)),
            drain_delay: Duration::ZERO,
            high_water: Some(50_000),
            stuck_after: Some(Duration::from_secs(1)),
            log_format: LogFormat::Json,
            log_level: "info".to_owned(),
            request_id: RequestIdFormat::V4,
            route_names: true,
            problem_details: false,
        }
    }
}

impl Config {
    fn end_within(&self) -> Option<Duration> {
        self.shutdown_timeout.filter(|total| !total.is_zero())
    }

    /// The time that there is for the end, from now on.
    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.end_within()).after(self.drain_delay)
    }

    pub(crate) fn connection(&self) -> Settings {
        let mut settings = Settings::default();
        settings.read_header = self.read_header_timeout;
        settings.read_body = self.read_timeout;
        settings.write = self.write_timeout;
        settings.write_stall = self.write_stall_timeout;
        let min_rate = self.min_rate.and_then(|rate| MinRate::new(rate, RATE_GRACE));
        settings.min_body_rate = min_rate;
        settings.min_write_rate = min_rate;
        settings.idle = self.idle_timeout;
        settings.max_upgraded = self.max_upgraded;
        settings.max_age = self.max_connection_age;
        settings.max_requests = self.max_connection_requests;
        settings.max_header_bytes = self.max_header_bytes;
        settings.h2_max_streams = self.h2_max_streams;
        settings
    }
}

/// Kestrel's.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// A JSON object a line, for machines.
    #[default]
    Json,
    /// Lines for people; coloured on a terminal.
    Pretty,
}

/// What a request id looks like where the client sent none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RequestIdFormat {
    /// A random UUID (RFC 9562, 5.4).
    #[default]
    V4,
    /// A UUID that sorts by time (RFC 9562, 5.7).
    V7,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones_and_check() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        let json = serde_json::to_value(&config).expect("a config is plain data");
        for (field, value) in [
            ("tls_handshake_timeout", "5s"),
            ("read_header_timeout", "5s"),
            ("read_timeout", "30s"),
            ("write_timeout", "1m"),
            ("idle_timeout", "2m"),
            ("handler_timeout", "30s"),
            ("queue_wait", "100ms"),
            ("shutdown_timeout", "30s"),
            ("max_connections", "10000"),
            ("max_connections_per_ip", "off"),
            ("max_connection_rate_per_ip", "off"),
            ("max_in_flight", "1024"),
            ("max_header_bytes", "65536"),
            ("h2_max_streams", "250"),
            ("high_water", "50000"),
            ("stuck_after", "1s"),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
        let back: Config = serde_json::from_value(json).expect("what is written can be read");
        assert_eq!(back, config);
    }

    #[test]
    fn a_wrong_file_names_the_value() {
        for (json, says) in [
            (r#"{"idle_timeout": "soon"}"#, "invalid value \"soon\": expected a duration"),
            (r#"{"max_in_flight": -1}"#, "invalid value \"-1\": expected a whole number"),
            (r#"{"max_in_flight": 0}"#, "expected a whole number from 1, or off"),
            (r#"{"max_queue": -1}"#, "expected a whole number, or off"),
            (r#"{"idel_timeout": "5s"}"#, "unknown field `idel_timeout`"),
            (r#"{"log_format": "xml"}"#, "unknown variant `xml`"),
        ] {
            let error = serde_json::from_str::<Config>(json).expect_err(json).to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn a_file_takes_what_a_flag_takes() {
        for (json, expected) in [
            (r#"{"queue_wait": "off"}"#, Config { queue_wait: Duration::ZERO, ..Config::default() }),
            (r#"{"queue_wait": 0}"#, Config { queue_wait: Duration::ZERO, ..Config::default() }),
            (r#"{"drain_delay": "off"}"#, Config::default()),
            (r#"{"max_queue": "OFF"}"#, Config { max_queue: 0, ..Config::default() }),
            (r#"{"max_queue": 0}"#, Config { max_queue: 0, ..Config::default() }),
            (r#"{"max_queue": "8"}"#, Config { max_queue: 8, ..Config::default() }),
            (r#"{"max_queue": 8}"#, Config { max_queue: 8, ..Config::default() }),
        ] {
            let read: Config = serde_json::from_str(json).expect(json);
            assert_eq!(read, expected, "{json}");
            let again = serde_json::to_string(&read).expect("a config is plain data");
            assert_eq!(serde_json::from_str::<Config>(&again).expect(&again), expected);
        }
    }
}
