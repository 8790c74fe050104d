//! How many instructions a request costs, and whether that is more than it was: `cargo bench -p benches --bench instructions`.
//!
//! Each contender runs twice under callgrind, with 500 and with 2500 requests on one connection: the difference is what
//! 2000 requests cost, without start and end. It counts user-side instructions, of all threads, and repeats to 0.2 % on
//! whatever machine, however busy. Without valgrind it says so and checks nothing.
//!
//! `-- by-crate [<contender>]` says where they go, `-- <contender> …` counts only those and checks nothing.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a program for people")]

use std::{env, error::Error, io, process::ExitCode};

use benches::{Ask, Contender, Profile, callgrind};

/// How many more instructions a request may cost here than on `axum::serve` without middleware.
///
/// A difference, so that an update of hyper, tokio or the compiler moves it little. Bounds are what was measured
/// (`BENCHMARKS.md`), and 5 % for another compiler; what makes one of them grow is to be found with `by-crate` and either
/// taken out or written here, with its reason.
const BOUNDS: [(Contender, i64); 2] = [
    // -2,230: as much less than axum's router and its way of driving hyper cost; 2,140 more than hyper's. 5 % of that, and
    // what moves axum.
    (Contender::Connection, -2_050),
    // 9,620, of which: span and line 2,620, the layers around them 2,900, moving requests, responses and futures 830, the
    // entry in the registry of live work 600, the connection, the peer and the route's name 2,190, the deadline in the
    // extensions 270, an answer joined to be sent in one piece 100.
    (Contender::Graceful, 9_900),
];

const CONTENDER: &str = env!("CARGO_BIN_EXE_contender");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // cargo's own flag.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if !callgrind::is_there() {
        println!("instructions: SKIPPED, there is no valgrind here (apt-get install valgrind)");
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // That it runs at all.
        ["--test"] => {
            println!(
                "{:8} instructions",
                callgrind::run(&[CONTENDER, Contender::Hyper.name()], Ask::Bare, 0, 1)?.total
            );
        }
        ["by-crate"] => by_crate(Contender::Graceful)?,
        ["by-crate", contender] => by_crate(contender.parse()?)?,
        [] => return guard(),
        _ => {
            for contender in &arguments {
                let contender = contender.parse()?;
                println!("{contender:12} {:8} instructions a request", a_request(contender)?.total);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn guard() -> Result<ExitCode, Box<dyn Error>> {
    println!("{:12} {:>12} {:>10} {:>10}", "", "instructions", "over axum", "bound");
    let mut floor = None;
    let mut rows = Vec::new();
    for contender in Contender::ALL {
        let count = a_request(contender)?.total;
        if contender == Contender::Axum {
            floor = Some(count);
        }
        rows.push((contender, count));
    }
    let floor = floor.ok_or("axum is a contender")?;
    let mut code = ExitCode::SUCCESS;
    for (contender, count) in rows {
        let over = count - floor;
        let bound = BOUNDS.iter().find(|(other, _)| *other == contender).map(|(_, bound)| *bound);
        let text = bound.map_or_else(String::new, |bound| bound.to_string());
        println!("{contender:12} {count:12} {over:+10} {text:>10}");
        if bound.is_some_and(|bound| over > bound) {
            println!("TOO MANY: find out which with `-- by-crate {contender}`");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn a_request(contender: Contender) -> io::Result<Profile> {
    callgrind::a_request(&[CONTENDER, contender.name()], Ask::Bare, 0)
}

fn by_crate(contender: Contender) -> Result<(), Box<dyn Error>> {
    let cost = a_request(contender)?;
    println!("instructions a request, by the crate whose source they are of: {contender}");
    for (name, count) in cost.by_crate() {
        println!("{count:8}  {name}");
    }
    println!("{:8}  in total", cost.total);
    Ok(())
}
