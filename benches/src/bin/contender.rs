//! `contender <name>`: one of the servers that are compared, until standard input is closed.
//!
//! It has one worker, logs to standard output as it does in production, and says on standard error where it listens.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    io::{Read, stdin},
    net::SocketAddr,
    process, thread,
};

use benches::{Contender, Options};
use clap::Parser;

/// A server to be measured.
#[derive(Parser)]
struct Arguments {
    /// Which.
    contender: Contender,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { contender, listen, options } = Arguments::parse();
    thread::spawn(|| {
        // Nothing is ever written there.
        let _ = stdin().read(&mut [0]);
        process::exit(0);
    });
    contender.init_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()?;
    #[expect(clippy::print_stderr, reason = "standard output is for the log")]
    let listening = |address| eprintln!("{address}");
    runtime.block_on(contender.serve(listen, options, listening))?;
    Ok(())
}
