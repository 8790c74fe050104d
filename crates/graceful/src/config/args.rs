use std::{path::PathBuf, time::Duration};

use clap::builder::{BoolishValueParser, EnumValueParser};

use super::{
    Config, LogFormat, Preset, RequestIdFormat,
    environment::{Named, unset_if_empty},
    setting::{OrOff, Value, or_none},
};

/// The command line of a server, to flatten into a program's own.
///
/// Every flag is also an environment variable, `GRACEFUL_` and its name; the flag wins, and an empty variable counts as one
/// that is not set. What is not given comes from the
/// preset. A limit is switched off with `off`. A bad value ends the program with a message and exit code 2, as clap does.
///
/// ```
/// use clap::Parser;
///
/// #[derive(Parser)]
/// struct Cli {
///     /// Where the database is.
///     #[arg(long, default_value = "postgres://localhost")]
///     database: String,
///     #[command(flatten)]
///     server: graceful::Args,
/// }
///
/// let cli = Cli::parse_from(["app", "--listen", ":3000", "--idle-timeout", "off"]);
/// let config = cli.server.config();
/// assert_eq!(config.listen, ":3000");
/// assert_eq!(config.idle_timeout, None);
/// ```
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Server", mut_args(unset_if_empty))]
#[expect(clippy::doc_markdown, reason = "these lines are read in a terminal, where backticks are noise")]
#[non_exhaustive]
pub struct Args {
    /// Where to listen: 127.0.0.1:8080, localhost:8080, :8080 for every address, unix:/run/app.sock; several
    /// separated by commas [default: 127.0.0.1:8080]
    #[arg(long, env = "GRACEFUL_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// Let another instance listen on the same TCP addresses (SO_REUSEPORT), as the next generation does
    #[arg(
        long,
        env = "GRACEFUL_REUSE_PORT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = Named(BoolishValueParser::new())
    )]
    pub reuse_port: Option<bool>,

    /// Where the internal port listens (/livez, /readyz), or off [default: 127.0.0.1:6060]
    #[arg(long, env = "GRACEFUL_DEBUG_LISTEN", value_name = "ADDRESS")]
    pub debug_listen: Option<OrOff<String>>,

    /// Proxies that send a PROXY protocol header, as addresses or ranges, separated by commas [default: none]
    #[arg(long, env = "GRACEFUL_PROXY_PROTOCOL", value_name = "PREFIX", value_delimiter = ',', value_parser = Named(prefix))]
    pub proxy_protocol: Option<Vec<String>>,

    /// Limits for a kind of service; what is given below wins, and off switches a limit off [default: json-api]
    #[arg(long, env = "GRACEFUL_PRESET", value_parser = Named(EnumValueParser::<Preset>::new()))]
    pub preset: Option<Preset>,

    /// Certificate chain of the public port, a PEM file: it speaks HTTPS then
    #[arg(long, env = "GRACEFUL_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of that certificate, a PEM file
    #[arg(long, env = "GRACEFUL_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// For a TLS handshake [default: 5s]
    #[arg(long, env = "GRACEFUL_TLS_HANDSHAKE_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub tls_handshake_timeout: Option<OrOff<Duration>>,

    /// For a whole request head; then 408 [default: 5s]
    #[arg(long, env = "GRACEFUL_READ_HEADER_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub read_header_timeout: Option<OrOff<Duration>>,

    /// For a whole request body [default: 30s]
    #[arg(long, env = "GRACEFUL_READ_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub read_timeout: Option<OrOff<Duration>>,

    /// From the end of a request to the last byte of its response [default: 60s]
    #[arg(long, env = "GRACEFUL_WRITE_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub write_timeout: Option<OrOff<Duration>>,

    /// For a client that takes no byte of a response at all [default: 30s]
    #[arg(long, env = "GRACEFUL_WRITE_STALL_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub write_stall_timeout: Option<OrOff<Duration>>,

    /// Bytes a second that a client must move, on average after 5s [default: off]
    #[arg(long, env = "GRACEFUL_MIN_RATE", value_name = "BYTES", allow_hyphen_values = true)]
    pub min_rate: Option<OrOff<u64>>,

    /// Between the requests of a connection [default: 120s]
    #[arg(long, env = "GRACEFUL_IDLE_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub idle_timeout: Option<OrOff<Duration>>,

    /// For a handler to answer; then 503 [default: 30s]
    #[arg(long, env = "GRACEFUL_HANDLER_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub handler_timeout: Option<OrOff<Duration>>,

    /// Bytes of a request head; more get 431 [default: 65536]
    #[arg(long, env = "GRACEFUL_MAX_HEADER_BYTES", value_name = "BYTES", allow_hyphen_values = true, value_parser = Named(u32::read))]
    pub max_header_bytes: Option<u32>,

    /// Bytes of a request body; more get 413 [default: off]
    #[arg(long, env = "GRACEFUL_MAX_BODY_BYTES", value_name = "BYTES", allow_hyphen_values = true)]
    pub max_body_bytes: Option<OrOff<usize>>,

    /// Open connections; more wait in the kernel [default: 10000]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTIONS", value_name = "N", allow_hyphen_values = true)]
    pub max_connections: Option<OrOff<usize>>,

    /// Open connections of one address (IPv6: one /64); more are closed [default: off]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTIONS_PER_IP", value_name = "N", allow_hyphen_values = true)]
    pub max_connections_per_ip: Option<OrOff<usize>>,

    /// New connections a second of one address (IPv6: one /64); more are closed [default: off]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTION_RATE_PER_IP", value_name = "N", allow_hyphen_values = true)]
    pub max_connection_rate_per_ip: Option<OrOff<u32>>,

    /// How many of them at once [default: as many as a second's]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTION_BURST_PER_IP", value_name = "N", allow_hyphen_values = true)]
    pub max_connection_burst_per_ip: Option<OrOff<u32>>,

    /// Upgraded sockets (WebSockets, tunnels) at once; one more gets 503 [default: off]
    #[arg(long, env = "GRACEFUL_MAX_UPGRADED", value_name = "N", allow_hyphen_values = true)]
    pub max_upgraded: Option<OrOff<usize>>,

    /// How old a connection may grow, give or take a tenth [default: off]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTION_AGE", value_name = "TIME", allow_hyphen_values = true)]
    pub max_connection_age: Option<OrOff<Duration>>,

    /// How many requests a connection may carry, give or take a tenth [default: off]
    #[arg(long, env = "GRACEFUL_MAX_CONNECTION_REQUESTS", value_name = "N", allow_hyphen_values = true)]
    pub max_connection_requests: Option<OrOff<u64>>,

    /// Requests in flight [default: 1024]
    #[arg(long, env = "GRACEFUL_MAX_IN_FLIGHT", value_name = "N", allow_hyphen_values = true)]
    pub max_in_flight: Option<OrOff<usize>>,

    /// Requests that wait for a place; more get 503 at once [default: 1024]
    #[arg(long, env = "GRACEFUL_MAX_QUEUE", value_name = "N", allow_hyphen_values = true, value_parser = Named(or_none::read::<usize>))]
    pub max_queue: Option<usize>,

    /// How long one of them waits; then 503 [default: 100ms]
    #[arg(long, env = "GRACEFUL_QUEUE_WAIT", value_name = "TIME", allow_hyphen_values = true, value_parser = Named(or_none::read::<Duration>))]
    pub queue_wait: Option<Duration>,

    /// Streams of one HTTP/2 connection [default: 250]
    #[arg(long, env = "GRACEFUL_H2_MAX_STREAMS", value_name = "N", allow_hyphen_values = true, value_parser = Named(u32::read))]
    pub h2_max_streams: Option<u32>,

    /// From the signal to the end of everything; what is left then is closed by force [default: 30s]
    #[arg(long, env = "GRACEFUL_SHUTDOWN_TIMEOUT", value_name = "TIME", allow_hyphen_values = true)]
    pub shutdown_timeout: Option<OrOff<Duration>>,

    /// How long to go on accepting after the signal, while /readyz says 503 [default: off]
    #[arg(long, env = "GRACEFUL_DRAIN_DELAY", value_name = "TIME", allow_hyphen_values = true, value_parser = Named(or_none::read::<Duration>))]
    pub drain_delay: Option<Duration>,

    /// Connections, requests and tasks alive before the log warns [default: 50000]
    #[arg(long, env = "GRACEFUL_HIGH_WATER", value_name = "N", allow_hyphen_values = true)]
    pub high_water: Option<OrOff<usize>>,

    /// How long a poll may keep its worker thread before the log names it [default: 1s]
    #[arg(long, env = "GRACEFUL_STUCK_AFTER", value_name = "TIME", allow_hyphen_values = true)]
    pub stuck_after: Option<OrOff<Duration>>,

    /// How log lines look [default: json]
    #[arg(long, env = "GRACEFUL_LOG_FORMAT", value_parser = Named(EnumValueParser::<LogFormat>::new()))]
    pub log_format: Option<LogFormat>,

    /// What is logged: info, or warn,my_crate=debug [default: info]
    #[arg(long, env = "GRACEFUL_LOG_LEVEL", value_name = "FILTER", value_parser = Named(log_level))]
    pub log_level: Option<String>,

    /// What a request id looks like where the client sent none [default: v4]
    #[arg(long, env = "GRACEFUL_REQUEST_ID", value_parser = Named(EnumValueParser::<RequestIdFormat>::new()))]
    pub request_id: Option<RequestIdFormat>,

    /// Say in the access log which route took a request [default: on]
    #[arg(
        long,
        env = "GRACEFUL_ROUTE_NAMES",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = Named(BoolishValueParser::new())
    )]
    pub route_names: Option<bool>,

    /// Write the server's own errors as problem details (RFC 9457), not as plain text [default: off]
    #[arg(
        long,
        env = "GRACEFUL_PROBLEM_DETAILS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = Named(BoolishValueParser::new())
    )]
    pub problem_details: Option<bool>,
}

fn prefix(text: &str) -> Result<String, String> {
    let text = text.trim();
    let parsed = text.parse::<graceful_listener::IpPrefix>();
    parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn log_level(text: &str) -> Result<String, String> {
    crate::logging::check(text).map(|()| text.to_owned())
}

impl Args {
    /// The configuration that was asked for: the preset, and over it what was given.
    #[must_use]
    pub fn config(self) -> Config {
        let Self {
            listen,
            reuse_port,
            debug_listen,
            proxy_protocol,
            preset,
            tls_cert,
            tls_key,
            tls_handshake_timeout,
            read_header_timeout,
            read_timeout,
            write_timeout,
            write_stall_timeout,
            min_rate,
            idle_timeout,
            handler_timeout,
            max_header_bytes,
            max_body_bytes,
            max_connections,
            max_connections_per_ip,
            max_connection_rate_per_ip,
            max_connection_burst_per_ip,
            max_upgraded,
            max_connection_age,
            max_connection_requests,
            max_in_flight,
            max_queue,
            queue_wait,
            h2_max_streams,
            shutdown_timeout,
            drain_delay,
            high_water,
            stuck_after,
            log_format,
            log_level,
            request_id,
            route_names,
            problem_details,
        } = self;
        let mut config = Config::preset(preset.unwrap_or_default());
        set(&mut config.listen, listen);
        set(&mut config.reuse_port, reuse_port);
        set(&mut config.debug_listen, debug_listen.map(|or_off| or_off.0));
        set(&mut config.proxy_protocol, proxy_protocol);
        set(&mut config.tls_cert, tls_cert.map(Some));
        set(&mut config.tls_key, tls_key.map(Some));
        set(&mut config.tls_handshake_timeout, tls_handshake_timeout.map(|or_off| or_off.0));
        set(&mut config.read_header_timeout, read_header_timeout.map(|or_off| or_off.0));
        set(&mut config.read_timeout, read_timeout.map(|or_off| or_off.0));
        set(&mut config.write_timeout, write_timeout.map(|or_off| or_off.0));
        set(&mut config.write_stall_timeout, write_stall_timeout.map(|or_off| or_off.0));
        set(&mut config.min_rate, min_rate.map(|or_off| or_off.0));
        set(&mut config.idle_timeout, idle_timeout.map(|or_off| or_off.0));
        set(&mut config.handler_timeout, handler_timeout.map(|or_off| or_off.0));
        set(&mut config.max_header_bytes, max_header_bytes);
        set(&mut config.max_body_bytes, max_body_bytes.map(|or_off| or_off.0));
        set(&mut config.max_connections, max_connections.map(|or_off| or_off.0));
        set(&mut config.max_connections_per_ip, max_connections_per_ip.map(|or_off| or_off.0));
        set(&mut config.max_connection_rate_per_ip, max_connection_rate_per_ip.map(|or_off| or_off.0));
        set(&mut config.max_connection_burst_per_ip, max_connection_burst_per_ip.map(|or_off| or_off.0));
        set(&mut config.max_upgraded, max_upgraded.map(|or_off| or_off.0));
        set(&mut config.max_connection_age, max_connection_age.map(|or_off| or_off.0));
        set(&mut config.max_connection_requests, max_connection_requests.map(|or_off| or_off.0));
        set(&mut config.max_in_flight, max_in_flight.map(|or_off| or_off.0));
        set(&mut config.max_queue, max_queue);
        set(&mut config.queue_wait, queue_wait);
        set(&mut config.h2_max_streams, h2_max_streams);
        set(&mut config.shutdown_timeout, shutdown_timeout.map(|or_off| or_off.0));
        set(&mut config.drain_delay, drain_delay);
        set(&mut config.high_water, high_water.map(|or_off| or_off.0));
        set(&mut config.stuck_after, stuck_after.map(|or_off| or_off.0));
        set(&mut config.log_format, log_format);
        set(&mut config.log_level, log_level);
        set(&mut config.request_id, request_id);
        set(&mut config.route_names, route_names);
        set(&mut config.problem_details, problem_details);
        config
    }
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        server: Args,
    }

    fn parse(args: &[&str]) -> Result<Config, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"app").chain(args)).map(|cli| cli.server.config())
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        assert_eq!(parse(&[]).expect("no arguments are fine"), Config::default());
    }

    #[test]
    fn a_flag_wins_over_the_preset() {
        let config = parse(&["--preset", "upload", "--idle-timeout", "7s"]).expect("good values");
        assert_eq!(config.idle_timeout, Some(Duration::from_secs(7)));
        assert_eq!(config.read_timeout, None, "the preset's");
    }

    #[test]
    fn a_switch_is_on_where_it_stands_alone() {
        for (args, on) in
            [(&[][..], false), (&["--reuse-port"], true), (&["--reuse-port=off"], false), (&["--reuse-port=1"], true)]
        {
            assert_eq!(parse(args).expect("good values").reuse_port, on, "{args:?}");
        }
        let config = parse(&["--route-names=off", "--problem-details"]).expect("good values");
        assert_eq!((config.route_names, config.problem_details), (false, true));
    }

    #[test]
    fn blanks_between_ranges_are_as_good_as_between_addresses() {
        let config = parse(&["--proxy-protocol", "10.0.0.0/8, ::1"]).expect("good values");
        assert_eq!(config.proxy_protocol, ["10.0.0.0/8", "::1"]);
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn off_is_off() {
        for flag in [
            "--tls-handshake-timeout",
            "--read-header-timeout",
            "--read-timeout",
            "--write-timeout",
            "--idle-timeout",
            "--handler-timeout",
        ] {
            for value in ["off", "0s"] {
                assert!(parse(&[flag, value]).is_ok(), "{flag} {value}");
            }
        }
        let config = parse(&["--max-connections", "off", "--debug-listen", "off", "--queue-wait", "off"]);
        let config = config.expect("good values");
        assert_eq!((config.max_connections, config.debug_listen), (None, None));
        assert_eq!(config.queue_wait, Duration::ZERO);
    }

    #[test]
    fn off_is_offered_where_it_is_taken() {
        let command = <Cli as clap::CommandFactory>::command();
        let flags: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert!(flags.len() > 30, "{flags:?}");
        for flag in flags {
            let off = parse(&[&format!("--{flag}"), "off"]).is_ok();
            // What is a name or a switch takes any word, or none.
            let Err(error) = parse(&[&format!("--{flag}=-1")]) else { continue };
            let says = error.to_string();
            if says.contains("expected a ") {
                assert_eq!(says.contains("or off"), off, "{says}");
            }
        }
    }

    #[test]
    fn a_bad_value_is_exit_code_2_and_names_the_flag_and_the_way_out() {
        for (args, says) in [
            (["--idle-timeout", "-5s"], "expected a duration such as 5s or 100ms, or off"),
            (["--idle-timeout", "5"], "expected a duration such as 5s or 100ms, or off"),
            (["--idle-timeout", "99999999999999999999s"], "longer than can be counted"),
            (["--max-in-flight", "-1"], "expected a whole number from 1, or off"),
            (["--max-in-flight", "0"], "expected a whole number from 1, or off"),
            (["--min-rate", "0"], "expected a whole number from 1, or off"),
            (["--max-queue", "-1"], "expected a whole number, or off"),
            (["--queue-wait", "-1s"], "expected a duration such as 5s or 100ms, or off"),
            (["--max-header-bytes", "99999999999"], "the most is 4294967295"),
            (["--proxy-protocol", "10.0.0.0/99"], "is not a range of IP addresses; give one as 10.0.0.0/8"),
            (["--preset", "fast"], "possible values: json-api, upload, streaming"),
            (["--log-level", "loud"], "write a level such as info"),
        ] {
            let error = parse(&args).expect_err("a bad value");
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(text.contains(says) && text.contains(args[0]) && text.contains(args[1]), "{text}");
        }
    }
}
