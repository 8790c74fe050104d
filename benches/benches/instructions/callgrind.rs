//! A contender under callgrind.

use std::{
    env, fs, io,
    process::{self, Command, Stdio},
};

use benches::{Contender, KeepAlive, Process};

use crate::profile::Profile;

const FEW: usize = 500;
const MANY: usize = 2500;

pub(crate) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a request costs.
pub(crate) fn a_request(contender: Contender) -> io::Result<Profile> {
    let few = run(contender, FEW)?;
    Ok(run(contender, MANY)?.less(&few, i64::try_from(MANY - FEW).unwrap_or(i64::MAX)))
}

/// What a whole run costs.
pub(crate) fn run(contender: Contender, requests: usize) -> io::Result<Profile> {
    let file = env::temp_dir().join(format!("graceful-{}-{contender}-{requests}.callgrind", process::id()));
    let server = Process::start(
        Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(env!("CARGO_BIN_EXE_contender"))
            .arg(contender.name()),
    )?;
    let asked = KeepAlive::connect(server.address()).and_then(|mut client| client.ask(requests));
    let stopped = server.stop();
    let profile = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    asked.and(stopped)?;
    Profile::parse(&profile?).ok_or_else(|| io::Error::other("callgrind wrote something else"))
}
