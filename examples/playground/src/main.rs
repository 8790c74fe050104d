//! Routes that break things: to see what a server does about it. The README walks through them.

mod bodies;
mod echo;
mod events;
mod leak;
mod log;
mod number;
mod panics;
mod routes;
mod time;
mod websocket;

use std::process::ExitCode;

use clap::Parser;
use graceful::{Error, Report, Server};

/// A server to break: slow, blocking, panicking, endless and huge answers, behind the stack of a production server.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    server: graceful::Args,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    graceful::main(run(cli))
}

async fn run(cli: Cli) -> Result<Report, Error> {
    let config = cli.server.config();
    let _log = graceful::logging::init(&config)?;
    Server::new(routes::routes()).config(config).run().await
}
