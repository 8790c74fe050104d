//! The production template. Copy this folder, say in its Cargo.toml where `graceful` is, put your routes into `routes.rs` and
//! your work into `worker.rs`.

mod routes;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use graceful::{Error, Phase, Report, Server};

/// A production server: JSON logs on standard output, every limit on, an orderly end on SIGTERM.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// How many jobs may wait for the background worker; more are refused with 503.
    #[arg(long, env = "JOBS", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,

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

    let jobs = worker::start(cli.jobs.into());
    // What outlives the requests is opened here: the pool of the database.
    Server::new(routes::routes(jobs))
        .config(config)
        // Requests and jobs have ended when this begins: `pool.close().await` belongs here.
        .on_shutdown(Phase::Resources, "database", async |_| tracing::info!("database closed"))
        .run()
        .await
}
