use std::{net::SocketAddr, os::fd::OwnedFd, process::Stdio, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::Instant,
};

use crate::{Client, Line, Log, within};

/// One of the examples, as a process of its own on ports of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: Log,
    /// Ends with the process.
    stdout: JoinHandle<()>,
    stderr: JoinHandle<String>,
    address: SocketAddr,
    debug_address: SocketAddr,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// What it logged on standard output.
    pub log: Log,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it was waited for.
    pub took: Duration,
}

impl Program {
    /// Starts the program, and waits until it listens.
    pub async fn start(path: &str, args: &[&str]) -> Self {
        Self::start_with(path, args, &[]).await
    }

    /// Starts the program in an environment with additions.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_with(path: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command(path);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(["--debug-listen", "127.0.0.1:0"]).args(args).envs(env.iter().copied());
        Self::listening(&mut command).await
    }

    /// Starts the program with a socket in hand, as systemd does (`sd_listen_fds(3)`).
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_on(path: &str, socket: std::net::TcpListener, args: &[&str]) -> Self {
        // std gives a child its first three descriptors; the shell moves one to where it is looked for, and makes way.
        let mut command = command("sh");
        command.args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 exec "$0" "$@""#, path]);
        command.args(["--debug-listen", "127.0.0.1:0"]).args(args).stdin(Stdio::from(OwnedFd::from(socket)));
        Self::listening(&mut command).await
    }

    /// Starts the program under a limit, as `ulimit` takes it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_limited(path: &str, limit: &str, args: &[&str]) -> Self {
        let mut command = command("sh");
        command.args(["-c", &format!(r#"ulimit {limit}; exec "$0" "$@""#), path]);
        command.args(["--listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0"]).args(args);
        Self::listening(&mut command).await
    }

    async fn listening(command: &mut Command) -> Self {
        let (child, log, stdout, stderr) = spawn(command);
        let listening = log.message("listening").await;
        let address = |field: &str| {
            listening[field].as_str().and_then(|text| text.parse().ok()).expect("the address that it listens on")
        };
        let (address, debug_address) = (address("address"), address("debug_address"));
        Self { child, log, stdout, stderr, address, debug_address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its internal port is.
    #[must_use]
    pub const fn debug_address(&self) -> SocketAddr {
        self.debug_address
    }

    /// What it has logged so far.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// How much memory it has, in KiB.
    ///
    /// # Panics
    ///
    /// If it has ended, or the system is not Linux.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let id = self.child.id().expect("it has not ended");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Whether it has not ended yet.
    ///
    /// # Panics
    ///
    /// If the system does not know it.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// A client whose request is with its handler, for certain: one of `/slow` or `/block`, which say so in the log.
    pub async fn in_flight(&self, path: &str) -> Client {
        let mut client = Client::connect(self.address).await;
        let id = client.address().port().to_string();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n")).await;
        let begun = |line: &Line| line["level"] == "DEBUG" && line.request_id() == Some(&id);
        self.log.wait_for(&format!("handler of {path}"), 1, begun).await;
        client
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it has not ended");
        let id = Pid::from_raw(id.try_into().expect("the id of a process is positive"));
        nix::sys::signal::kill(id, signal).expect("it may be sent signals");
    }

    /// Waits for its end.
    pub async fn ended(self) -> Ended {
        let Self { child, log, stdout, stderr, .. } = self;
        end(child, log, stdout, stderr).await
    }

    /// Tells it to end, and waits for that.
    pub async fn terminate(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }
}

/// Runs a program that is expected to end by itself.
pub async fn run_to_end(path: &str, args: &[&str]) -> Ended {
    run_to_end_in(&[], path, args).await
}

/// The same in an environment that has these variables too.
pub async fn run_to_end_in(variables: &[(&str, &str)], path: &str, args: &[&str]) -> Ended {
    let (child, log, stdout, stderr) = spawn(command(path).envs(variables.iter().copied()).args(args));
    end(child, log, stdout, stderr).await
}

fn command(path: &str) -> Command {
    let mut command = Command::new(path);
    // Nothing of the environment of whoever runs the tests.
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("GRACEFUL_") || known.starts_with("RUST_") || known.starts_with("TOKIO_") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[expect(clippy::disallowed_methods, reason = "they end with the process")]
fn spawn(command: &mut Command) -> (Child, Log, JoinHandle<()>, JoinHandle<String>) {
    let mut child = command.spawn().expect("the program is there: Cargo has built it");
    let stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let log = Log::new();
    let lines = log.clone();
    let stdout = tokio::spawn(async move {
        let mut stdout = BufReader::new(stdout).lines();
        while let Some(line) = stdout.next_line().await.expect("standard output is text") {
            lines.push(&line);
        }
    });
    let stderr = tokio::spawn(async move {
        let mut text = String::new();
        stderr.read_to_string(&mut text).await.expect("standard error is text");
        text
    });
    (child, log, stdout, stderr)
}

async fn end(mut child: Child, log: Log, stdout: JoinHandle<()>, stderr: JoinHandle<String>) -> Ended {
    let begin = Instant::now();
    let status = within("the process to end", child.wait()).await.expect("a child of ours");
    let took = begin.elapsed();
    within("standard output to end", stdout).await.expect("every line is a JSON object");
    let stderr = within("standard error to end", stderr).await.expect("it is text");
    Ended { code: status.code(), log, stderr, took }
}
