//! Four times as many clients as places: `cargo bench -p benches --bench overload`.
//!
//! 256 clients ask one after the other for something that takes 50 ms, of a server that does 64 at once: 1280 answers a
//! second are possible. Told are how many of them came, how long the 503 took that the others got, and how much of a core
//! the server used. With a bounded wait of 100 ms a client that is refused has waited for a place first, and does not come
//! back at once.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

use std::{env, error::Error, io, net::SocketAddr, time::Duration};

use benches::{Process, Rivals};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
    time::Instant,
};

const PLACES: usize = 64;
const CLIENTS: usize = 4 * PLACES;
const HANDLER: Duration = Duration::from_millis(50);
const TIME: Duration = Duration::from_secs(4);

/// How long each answer took, by what it was.
#[derive(Default)]
struct Answers {
    served: Vec<Duration>,
    refused: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let time = if env::args().any(|argument| argument == "--test") { TIME / 20 } else { TIME };
    let ideal = PLACES as f64 / HANDLER.as_secs_f64();
    let rivals = Rivals::new(env!("CARGO_BIN_EXE_contender"), env!("CARGO_BIN_EXE_actix"), |error| {
        eprintln!("without Go: {error} (install it, or name its program in the variable GO)");
    });
    println!("{CLIENTS} clients, {PLACES} places, a handler of {HANDLER:?}: {ideal:.0} answers/s are possible");
    println!(
        "{:12} {:>10} {:>9} {:>12} {:>12} {:>9} {:>12} {:>11}",
        "", "answers/s", "of those", "median", "99 %", "503s/s", "503 at 99 %", "core used"
    );
    // Floors have no limit.
    for rival in rivals.all().iter().filter(|rival| !["hyper", "connection", "axum"].contains(&rival.name())) {
        let server = Process::start(rival.command().args(["--max-in-flight", &PLACES.to_string()]))?;
        ask(server.address(), time / 4)?;
        let (before, begin) = (server.cpu(), Instant::now());
        let mut answers = ask(server.address(), time)?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = server.cpu().zip(before).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
        let rate = answers.served.len() as f64 / seconds;
        println!(
            "{:12} {rate:10.0} {:8.1}% {:>12.1?} {:>12.1?} {:9.0} {:>12.1?} {:11.3}",
            rival.name(),
            100.0 * rate / ideal,
            at(&mut answers.served, 50),
            at(&mut answers.served, 99),
            answers.refused.len() as f64 / seconds,
            at(&mut answers.refused, 99),
            cpu / seconds,
        );
        server.stop()?;
    }
    Ok(())
}

fn ask(address: SocketAddr, time: Duration) -> io::Result<Answers> {
    let end = Instant::now() + time;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(one_after_the_other(address, end));
        }
        let mut all = Answers::default();
        while let Some(answers) = clients.join_next().await {
            let answers = answers??;
            all.served.extend(answers.served);
            all.refused.extend(answers.refused);
        }
        Ok(all)
    })
}

async fn one_after_the_other(address: SocketAddr, end: Instant) -> io::Result<Answers> {
    let mut answers = Answers::default();
    let request = format!("GET /slow?ms={} HTTP/1.1\r\nHost: {address}\r\n\r\n", HANDLER.as_millis());
    let mut socket = BufReader::new(TcpStream::connect(address).await?);
    socket.get_mut().set_nodelay(true)?;
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(answers);
        }
        socket.write_all(request.as_bytes()).await?;
        let (status, closes) = response(&mut socket).await?;
        match status {
            200 => answers.served.push(begin.elapsed()),
            503 => answers.refused.push(begin.elapsed()),
            other => return Err(io::Error::other(format!("it answered {other}"))),
        }
        if closes {
            socket = BufReader::new(TcpStream::connect(address).await?);
        }
    }
}

/// Reads a response whose length is told; gives its status, and whether it is the connection's last.
async fn response(socket: &mut BufReader<TcpStream>) -> io::Result<(u16, bool)> {
    use tokio::io::AsyncBufReadExt;
    let (mut status, mut length, mut closes) = (0, 0, false);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if socket.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if status == 0 {
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(u16::MAX);
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        closes |= lower.starts_with("connection:") && lower.contains("close");
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok((status, closes))
}

/// The time within which so many of a hundred came.
fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}
