//! What an idle connection holds: `cargo bench -p benches --bench memory`.
//!
//! Each rival serves a request on each of 10,000 connections, or of as many as `--connections` says, which are kept alive
//! and then say nothing. Told is how much its resident memory has grown, divided by their number. What the kernel holds for
//! the sockets is not in it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

use std::{env, error::Error, io};

use benches::{KeepAlive, Process, Rivals, allow_open_files};

/// As many as ours takes by default.
const CONNECTIONS: usize = 10_000;

/// What a process has open beside its connections.
const OTHER_FILES: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut connections = CONNECTIONS;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--test" => connections = 10,
            "--connections" => connections = arguments.next().unwrap_or_default().parse()?,
            _ => return Err("usage: [--connections <number>]".into()),
        }
    }
    allow_open_files((connections + OTHER_FILES) as u64)?;
    let rivals = Rivals::new(env!("CARGO_BIN_EXE_contender"), env!("CARGO_BIN_EXE_actix"), |error| {
        eprintln!("without Go: {error} (install it, or name its program in the variable GO)");
    });
    println!("{connections} idle connections");
    println!("{:12} {:>15} {:>15} {:>15}", "", "before, KiB", "after, KiB", "bytes each");
    for rival in rivals.all() {
        let server = Process::start(&mut rival.command())?;
        // What is made once, not for a connection: threads, pools, tables of routes.
        KeepAlive::connect(server.address())?.ask(100)?;
        let before = resident(&server)?;
        let kept: Vec<_> = (0..connections).map(|_| KeepAlive::connect(server.address())).collect::<io::Result<_>>()?;
        let after = resident(&server)?;
        let each = after.saturating_sub(before) / connections as u64;
        println!("{:12} {:15} {:15} {each:15}", rival.name(), before >> 10, after >> 10);
        drop(kept);
        server.stop()?;
    }
    Ok(())
}

fn resident(server: &Process) -> io::Result<u64> {
    server.resident().ok_or_else(|| io::Error::other("only Linux tells"))
}
