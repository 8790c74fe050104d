//! Servers side by side, each in a process of its own with one worker, over the loopback:
//! `cargo bench -p benches --bench peers`.
//!
//! In each round every one of them gets the same load for the same time, one after the other, so that a machine that is
//! busy with something else is so for all. A ratio is the median over the rounds, each of the same round. What counts is
//! CPU a request; requests a second depend on what else the machine does, this program included.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a program for people")]

use std::{env, error::Error, io, process::Command, time::Duration};

use benches::{Contender, KeepAlive, Process};
use tokio::time::Instant;

/// So that all of it takes less than a minute.
const ROUNDS: usize = 11;
const TURN: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 32;

struct Server {
    contender: Contender,
    process: Process,
    clients: Vec<KeepAlive>,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    /// Requests a second.
    rate: f64,
    /// CPU a request, in microseconds.
    cpu: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (rounds, turn) = if env::args().any(|argument| argument == "--test") { (1, TURN / 10) } else { (ROUNDS, TURN) };
    let mut servers = Vec::new();
    for contender in Contender::ALL {
        let mut server = Server::start(contender)?;
        server.load(turn / 2)?;
        servers.push(server);
    }
    for _ in 0..rounds {
        for server in &mut servers {
            let round = server.load(turn)?;
            server.rounds.push(round);
        }
    }
    print(&servers);
    for server in servers {
        drop(server.clients);
        server.process.stop()?;
    }
    Ok(())
}

impl Server {
    fn start(contender: Contender) -> io::Result<Self> {
        let process = Process::start(Command::new(env!("CARGO_BIN_EXE_contender")).arg(contender.name()))?;
        let clients = (0..CONNECTIONS).map(|_| KeepAlive::connect(process.address())).collect::<Result<_, _>>()?;
        Ok(Self { contender, process, clients, rounds: Vec::new() })
    }

    /// A request on every connection, then all the responses, over and over.
    fn load(&mut self, time: Duration) -> io::Result<Round> {
        let cpu = self.process.cpu();
        let begin = Instant::now();
        let mut requests = 0.0;
        while begin.elapsed() < time {
            self.clients.iter_mut().try_for_each(KeepAlive::send)?;
            self.clients.iter_mut().try_for_each(KeepAlive::receive)?;
            requests += CONNECTIONS as f64;
        }
        let took = begin.elapsed();
        let cpu = self.process.cpu().zip(cpu).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
        Ok(Round { rate: requests / took.as_secs_f64(), cpu: cpu * 1e6 / requests })
    }
}

fn print(servers: &[Server]) {
    let Some(axum) = servers.iter().find(|server| server.contender == Contender::Axum) else { return };
    let rounds = axum.rounds.len();
    println!("one worker each, {CONNECTIONS} connections, {rounds} rounds; medians; ratios to axum in the same round");
    println!("{:12} {:>12} {:>8} {:>14} {:>8}", "", "requests/s", "ratio", "CPU µs/request", "ratio");
    for server in servers {
        let of = |figure: fn(&Round) -> f64| median(server.rounds.iter().map(figure).collect());
        let over = |figure: fn(&Round) -> f64| {
            median(server.rounds.iter().zip(&axum.rounds).map(|(one, axum)| figure(one) / figure(axum)).collect())
        };
        println!(
            "{:12} {:12.0} {:8.2} {:14.2} {:8.2}",
            server.contender,
            of(|round| round.rate),
            over(|round| round.rate),
            of(|round| round.cpu),
            over(|round| round.cpu),
        );
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
