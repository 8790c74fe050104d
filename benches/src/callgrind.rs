//! A server under callgrind: user-side instructions, of all threads, which no noise changes.

use std::{
    env, fs, io,
    net::SocketAddr,
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Ask, KeepAlive, Process, Profile};

const FEW: usize = 500;
const MANY: usize = 2500;

/// Whether valgrind is installed.
#[must_use]
pub fn is_there() -> bool {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What such a request costs the server that `command` starts, on one connection while `idle` others are open: 2500
/// requests less 500, so without start and end.
///
/// # Errors
///
/// If the server, the client or valgrind fails.
pub fn a_request(command: &[&str], request: Ask, idle: usize) -> io::Result<Profile> {
    let few = run(command, request, idle, FEW)?;
    Ok(run(command, request, idle, MANY)?.less(&few, i64::try_from(MANY - FEW).unwrap_or(i64::MAX)))
}

/// What a whole run costs.
///
/// # Errors
///
/// If the server, the client or valgrind fails.
pub fn run(command: &[&str], request: Ask, idle: usize, requests: usize) -> io::Result<Profile> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = env::temp_dir().join(format!("graceful-{}-{run}.callgrind", process::id()));
    let server = Process::start(
        Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .args(command),
    )?;
    // They stay open until the server has ended: how many ends it would still see is different each time.
    let mut clients = Vec::new();
    let asked = ask(server.address(), &mut clients, request, idle, requests);
    let stopped = server.stop();
    let profile = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    asked.and(stopped)?;
    Profile::parse(&profile?).ok_or_else(|| io::Error::other("callgrind wrote something else"))
}

fn ask(
    address: SocketAddr,
    clients: &mut Vec<KeepAlive>,
    request: Ask,
    idle: usize,
    requests: usize,
) -> io::Result<()> {
    for _ in 0..idle {
        clients.push(KeepAlive::connect(address)?);
    }
    let mut one = KeepAlive::connect_to(address, request)?;
    one.ask(requests)?;
    clients.push(one);
    Ok(())
}
