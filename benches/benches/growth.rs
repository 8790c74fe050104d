//! Whether a request costs more where there are more connections, routes or threads, and what more is asked with it:
//! `cargo bench -p benches --bench growth`.
//!
//! All but threads in instructions, under callgrind, which no noise changes; threads in CPU a request, which it does,
//! so that only their ratio says something.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

use std::{env, error::Error, fmt, io, process::Command, thread, time::Duration};

use benches::{Ask, Contender, KeepAlive, Process, allow_open_files, callgrind};
use tokio::time::Instant;

const CONTENDER: &str = env!("CARGO_BIN_EXE_contender");
const PROGRAMS: [Contender; 2] = [Contender::Axum, Contender::Graceful];
const CONNECTIONS: [usize; 3] = [1, 100, 10_000];
const ROUTES: [usize; 3] = [1, 10, 100];
const WORKERS: [usize; 3] = [1, 2, 4];

fn main() -> Result<(), Box<dyn Error>> {
    let is_test = env::args().any(|argument| argument == "--test");
    if is_test {
        let server = Process::start(Command::new(CONTENDER).args(["graceful", "--routes", "10", "--workers", "2"]))?;
        Ask::ALL.into_iter().try_for_each(|ask| KeepAlive::connect_to(server.address(), ask)?.ask(1))?;
        return Ok(server.stop()?);
    }
    if callgrind::is_there() {
        most_connections()?;
        table("a request with so many idle connections beside it", CONNECTIONS, |contender, connections| {
            // Valgrind has files of its own open, and its limit is below that of the process.
            Ok(callgrind::a_request(&[CONTENDER, contender.name()], Ask::Bare, connections - 1)?.total as f64)
        })?;
        table("a request with so many routes", ROUTES, |contender, routes| {
            let routes = routes.to_string();
            Ok(callgrind::a_request(&[CONTENDER, contender.name(), "--routes", &routes], Ask::Bare, 0)?.total as f64)
        })?;
        table("a request that is", Ask::ALL, |contender, request| {
            Ok(callgrind::a_request(&[CONTENDER, contender.name()], request, 0)?.total as f64)
        })?;
    } else {
        println!("connections, routes and requests: SKIPPED, there is no valgrind here (apt-get install valgrind)");
    }
    table("a request with so many threads, in ns of CPU", WORKERS, cpu)
}

/// Room for all connections on both sides.
fn most_connections() -> io::Result<()> {
    allow_open_files(CONNECTIONS[CONNECTIONS.len() - 1] as u64 + 100)
}

fn table<const N: usize, S: Copy + fmt::Display>(
    what: &str,
    steps: [S; N],
    measure: impl Fn(Contender, S) -> io::Result<f64>,
) -> Result<(), Box<dyn Error>> {
    println!("{what}");
    print!("{:12}", "");
    steps.iter().for_each(|step| print!(" {step:>10}"));
    println!(" {:>10}", "last/first");
    for contender in PROGRAMS {
        print!("{contender:12}");
        let mut figures = Vec::new();
        for step in steps {
            let figure = measure(contender, step)?;
            print!(" {figure:10.0}");
            io::Write::flush(&mut io::stdout())?;
            figures.push(figure);
        }
        println!(" {:10.3}", figures[N - 1] / figures[0]);
    }
    println!();
    Ok(())
}

/// CPU a request with so many workers, each with clients enough to keep it busy.
fn cpu(contender: Contender, workers: usize) -> io::Result<f64> {
    const CLIENTS: usize = 2;
    const TIME: Duration = Duration::from_secs(4);
    let server =
        Process::start(Command::new(CONTENDER).arg(contender.name()).args(["--workers", &workers.to_string()]))?;
    let address = server.address();
    let load = |time: Duration| -> io::Result<usize> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(move || {
                        let mut connections: Vec<_> =
                            (0..16).map(|_| KeepAlive::connect(address)).collect::<io::Result<_>>()?;
                        let begin = Instant::now();
                        let mut requests = 0;
                        while begin.elapsed() < time {
                            connections.iter_mut().try_for_each(KeepAlive::send)?;
                            connections.iter_mut().try_for_each(KeepAlive::receive)?;
                            requests += connections.len();
                        }
                        Ok(requests)
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))).sum()
        })
    };
    load(TIME / 8)?;
    let before = server.cpu();
    let requests = load(TIME)?;
    let cpu = server.cpu().zip(before).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
    server.stop()?;
    if cpu.is_nan() {
        eprintln!("this kernel does not tell what a process used");
    }
    Ok(cpu * 1e9 / requests as f64)
}
