//! How many allocations a request costs, and whether that is more than it was. Part of `cargo test`.
//!
//! Each contender serves one connection on one thread, in a process of its own since each has its own log; 2500 requests
//! less 500 are what 2000 cost, without start and end. The count is exact. A reallocation counts as an allocation. What
//! other threads do is not counted: the writers of logs, which allocate nothing for a line.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

use std::{
    env,
    error::Error,
    io,
    net::SocketAddr,
    process::{Command, ExitCode, Stdio},
    thread,
};

use benches::{Contender, KeepAlive, Options};
use tokio::sync::oneshot;

/// How many more allocations a request may cost here than on `axum::serve` without middleware.
///
/// A bound is what was measured. What makes it grow is to be taken out, or written here with its reason.
const BOUNDS: [(Contender, f64); 2] = [
    // A `ConnectionControl` in the extensions is three, the response's headers are two, and the read buffer is none.
    (Contender::Connection, -8.0),
    // Six less than axum without its second read buffer, the box around a body that is empty, and a first, smaller table of
    // extensions. More are the id, the peer, the control, the deadline and the table that they are in. A path with a
    // parameter has three more, for the route layer that tells the access log the route's name.
    (Contender::Graceful, 2.0),
];

/// Which contender a process is to measure.
const ROLE: &str = "GRACEFUL_BENCHES_MEASURE";

const FEW: usize = 500;
const MANY: usize = 2500;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match env::var(ROLE) {
        Ok(contender) => measure(contender.parse()?).map(|()| ExitCode::SUCCESS),
        Err(_) => guard(),
    }
}

fn guard() -> Result<ExitCode, Box<dyn Error>> {
    println!("{:12} {:>12} {:>10} {:>8}", "", "allocations", "over axum", "bound");
    let floor = in_a_process(Contender::Axum)?;
    let mut code = ExitCode::SUCCESS;
    for contender in Contender::ALL {
        let count = in_a_process(contender)?;
        let over = count - floor;
        let bound = BOUNDS.iter().find(|(other, _)| *other == contender).map(|(_, bound)| *bound);
        let text = bound.map_or_else(String::new, |bound| format!("{bound:.1}"));
        println!("{contender:12} {count:12.3} {over:+10.3} {text:>8}");
        // Less than a tenth is not of a request: a buffer that grows now and then.
        if bound.is_some_and(|bound| over > bound + 0.1) {
            println!("TOO MANY: see BOUNDS in {}", file!());
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn in_a_process(contender: Contender) -> Result<f64, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).env(ROLE, contender.name()).stdout(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.trim().parse().map_err(|_| format!("{contender}: {}, {said}", output.status).into())
}

fn measure(contender: Contender) -> Result<(), Box<dyn Error>> {
    contender.init_logging();
    // The first run fills what is filled once: caches of callsites, pools.
    requests(contender, FEW)?;
    let few = requests(contender, FEW)?;
    let many = requests(contender, MANY)?;
    eprintln!("{:.3}", (many as f64 - few as f64) / (MANY - FEW) as f64);
    Ok(())
}

/// How many allocations the serving thread makes, from its start to its end, for so many requests.
fn requests(contender: Contender, requests: usize) -> io::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (address, listening) = oneshot::channel::<SocketAddr>();
    let (done, finished) = oneshot::channel::<()>();
    let client = thread::spawn(move || -> io::Result<()> {
        let address = listening.blocking_recv().map_err(io::Error::other)?;
        let asked = KeepAlive::connect(address).and_then(|mut client| client.ask(requests));
        drop(done);
        asked
    });
    let counted = allocation_counter::measure(|| {
        let ready = |at| {
            let _ = address.send(at);
        };
        runtime.block_on(async {
            tokio::select! {
                ended = contender.serve(([127, 0, 0, 1], 0).into(), Options::default(), ready) => eprintln!("it ended: {ended:?}"),
                _ = finished => {}
            }
        });
    });
    client.join().map_err(|_| io::Error::other("the client panicked"))??;
    Ok(counted.count_total)
}
