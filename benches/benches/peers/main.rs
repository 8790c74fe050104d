//! Servers side by side, each in a process of its own with one worker, over the loopback:
//! `cargo bench -p benches --bench peers`.
//!
//! In each round every one of them gets the same load for the same time, one after the other, so that a machine that is
//! busy with something else is so for all. A ratio is the median over the rounds, each of the same round. What counts is
//! CPU a request; requests a second depend on what else the machine does, this program included.
//!
//! Go takes part where its toolchain is found: `go` on the `PATH`, or the program that `GO` names.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod http1;
mod http2;
mod table;

use std::{
    env,
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
    time::Duration,
};

use benches::{Process, Rivals};
use tokio::time::Instant;

use self::{
    http1::Http1,
    http2::Http2,
    table::{Round, Row},
};

/// So that all of it takes about two minutes.
const ROUNDS: usize = 11;
const TURN: Duration = Duration::from_secs(1);

/// A client that keeps one server busy.
trait Load: Sized {
    /// What it does, for the heading.
    const WHAT: &str;

    /// Connects.
    fn connect(address: SocketAddr) -> io::Result<Self>;

    /// Asks for so long, and says how many requests were answered.
    fn ask(&mut self, time: Duration) -> io::Result<usize>;
}

fn main() -> Result<(), Box<dyn Error>> {
    let (rounds, turn) = if env::args().any(|argument| argument == "--test") { (1, TURN / 10) } else { (ROUNDS, TURN) };
    let rivals = Rivals::new(env!("CARGO_BIN_EXE_contender"), env!("CARGO_BIN_EXE_actix"), |error| {
        eprintln!("without Go: {error} (install it, or name its program in the variable GO)");
    });
    let mut servers = Vec::new();
    for rival in rivals.all() {
        servers.push((rival.name(), Process::start(&mut rival.command())?));
    }
    compare::<Http1>(&servers, rounds, turn)?;
    compare::<Http2>(&servers, rounds, turn)?;
    for (_, server) in servers {
        server.stop()?;
    }
    Ok(())
}

fn compare<L: Load>(servers: &[(&'static str, Process)], rounds: usize, turn: Duration) -> io::Result<()> {
    let mut loads = servers.iter().map(|(_, server)| L::connect(server.address())).collect::<io::Result<Vec<_>>>()?;
    let mut rows: Vec<_> = servers.iter().map(|(name, _)| Row::new(name)).collect();
    for ((_, server), load) in servers.iter().zip(&mut loads) {
        round(server, load, turn / 2)?;
    }
    for count in 1..=rounds {
        for (((name, server), load), row) in servers.iter().zip(&mut loads).zip(&mut rows) {
            row.rounds.push(round(server, load, turn).map_err(|error| io::Error::other(format!("{name}: {error}")))?);
        }
        if io::stderr().is_terminal() {
            eprint!("\r{}: round {count} of {rounds}", L::WHAT);
        }
    }
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    println!("{}, one worker each, {rounds} rounds; medians; ratios within a round", L::WHAT);
    table::print(&rows);
    Ok(())
}

fn round<L: Load>(server: &Process, load: &mut L, time: Duration) -> io::Result<Round> {
    let cpu = server.cpu();
    let begin = Instant::now();
    let requests = load.ask(time)? as f64;
    let took = begin.elapsed();
    let cpu = server.cpu().zip(cpu).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
    Ok(Round { rate: requests / took.as_secs_f64(), cpu: cpu * 1e6 / requests })
}
