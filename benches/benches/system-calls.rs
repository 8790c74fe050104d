//! How many system calls a request makes on one connection: `cargo bench -p benches --bench system-calls`.
//!
//! Counted by strace, of all threads: 2500 requests less 500. A read, a write and a wait are three; what is more than that
//! is other threads' or a timer's.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs, io,
    process::{self, Command, Stdio},
};

use benches::{Contender, KeepAlive, Process};

const FEW: u32 = 500;
const MANY: u32 = 2500;

fn main() -> Result<(), Box<dyn Error>> {
    if !Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("system calls: SKIPPED, there is no strace here (apt-get install strace)");
        return Ok(());
    }
    if env::args().any(|argument| argument == "--test") {
        count(Contender::Hyper, 1)?;
        return Ok(());
    }
    println!("system calls a request, on one connection");
    for contender in Contender::ALL {
        let few = count(contender, FEW)?;
        let mut all = 0.0;
        let mut by_name = String::new();
        for (name, calls) in count(contender, MANY)? {
            let calls = f64::from(calls - few.get(&name).copied().unwrap_or_default()) / f64::from(MANY - FEW);
            all += calls;
            if calls > 0.01 {
                by_name += &format!("  {name} {calls:.2}");
            }
        }
        println!("{contender:12} {all:6.2} {by_name}");
    }
    Ok(())
}

/// How often each was called for so many requests.
fn count(contender: Contender, requests: u32) -> io::Result<BTreeMap<String, i32>> {
    let file = env::temp_dir().join(format!("graceful-{}.strace", process::id()));
    let server = Process::start(
        Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&file)
            .args([env!("CARGO_BIN_EXE_contender"), contender.name()]),
    )?;
    let asked = KeepAlive::connect(server.address()).and_then(|mut client| client.ask(requests as usize));
    let stopped = server.stop();
    let table = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    asked.and(stopped)?;
    // `% time  seconds  usecs/call  calls  [errors]  syscall`
    Ok(table?
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let calls = words.nth(3)?.parse().ok()?;
            Some((words.next_back()?.to_owned(), calls))
        })
        .filter(|(name, _)| name != "total")
        .collect())
}
