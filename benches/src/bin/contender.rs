//! `contender <name> [<address>]`: one of the servers that are compared, until standard input is closed.
//!
//! It has one worker, logs to standard output as it does in production, and says on standard error where it listens.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    io::{Read, stdin},
    net::SocketAddr,
    process, thread,
};

use benches::Contender;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let contender: Contender = arguments.next().ok_or("usage: contender <name> [<address>]")?.parse()?;
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;

    thread::spawn(|| {
        // Nothing is ever written there.
        let _ = stdin().read(&mut [0]);
        process::exit(0);
    });
    contender.init_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    #[expect(clippy::print_stderr, reason = "standard output is for the log")]
    let listening = |address| eprintln!("{address}");
    runtime.block_on(contender.serve(address, listening))?;
    Ok(())
}
