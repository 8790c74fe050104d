use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process, and those that it starts, have so many files open, as far as the machine allows.
///
/// # Errors
///
/// If fewer are allowed: it says how many.
pub fn allow_open_files(files: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= files {
        return Ok(());
    }
    if hard < files {
        return Err(io::Error::other(format!("{files} open files are needed, {hard} are allowed: see `ulimit -Hn`")));
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, files, hard)?)
}

/// A contender in a process of its own, which ends when its standard input is closed: also if this process dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts `command`, which is to end in the program `contender` and its arguments. What it logs is thrown away.
    ///
    /// # Errors
    ///
    /// If it does not start, or ends without having listened.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or(ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stderr).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                drop(child.stdin.take());
                let status = child.wait()?;
                Err(io::Error::other(format!("it did not listen but said {line:?} and ended, {status}")))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much CPU it has used, all threads together, user and system. `None` where the kernel does not tell.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()? {
            // A thread may end meanwhile.
            let Ok(line) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
            nanos += line.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(nanos))
    }

    /// How many bytes of it are in memory. `None` where the kernel does not tell.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    }

    /// Ends it, and waits until it has.
    ///
    /// # Errors
    ///
    /// If it did not end well.
    pub fn stop(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
