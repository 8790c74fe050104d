//! Real signals, sent to a process of its own: handlers are the whole process', and so is the death without them.
//!
//! Parent and child go step by step: the child writes a line when it has seen something, and the parent sends the next
//! signal when it has read the line.
#![cfg(unix)]

use std::{
    io::{self, BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use graceful_shutdown::{Shutdown, Signals};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader};

/// The child: says what it sees until its standard input ends.
#[tokio::test]
#[ignore = "run by the other tests, as a process of its own"]
async fn child() {
    static RELOADS: AtomicUsize = AtomicUsize::new(0);
    let mut signals = Signals::install()
        .expect("a runtime")
        .on_reload(|| panic!("logged, and no more"))
        .on_reload(|| say(&format!("reload {}", RELOADS.fetch_add(1, Ordering::Relaxed) + 1)));
    let shutdown = Shutdown::new();
    let program = async {
        say("installed");
        let mut orders = AsyncBufReader::new(tokio::io::stdin()).lines();
        let orders = async {
            while let Some(order) = orders.next_line().await.expect("a line") {
                match order.as_str() {
                    "trigger" => shutdown.trigger_with("the program"),
                    "alive?" => say("alive"),
                    other => panic!("no such order: {other}"),
                }
            }
        };
        let states = async {
            shutdown.triggered().await;
            say(&format!("triggered by {}", shutdown.cause().expect("triggered")));
            shutdown.forced().await;
            say("forced");
        };
        tokio::join!(orders, states);
    };
    // In short turns: dropped and called again, the watch forgets nothing.
    let watch = async {
        loop {
            let turn = Duration::from_millis(1);
            let _ = tokio::time::timeout(turn, signals.watch(&shutdown)).await;
        }
    };
    tokio::select! {
        () = program => {}
        () = watch => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the parent has gone"),
    }
}

fn say(line: &str) {
    writeln!(io::stdout(), "\n> {line}").expect("the parent reads");
}

struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut server = Self { process, lines };
        server.says("installed");
        server
    }

    fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it lives");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{order}").expect("it reads");
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let line = self.lines.find_map(|line| line.expect("text").strip_prefix("> ").map(str::to_owned));
        assert_eq!(line.as_deref(), Some(expected), "what the process says next");
    }

    /// It says nothing more, and ends well when it is let go.
    #[track_caller]
    fn ends(mut self) {
        self.order("alive?");
        self.says("alive");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // The program's states wait for the force, which may not have come.
        let _ = self.process.kill();
        self.process.wait().expect("it ends");
    }
}

#[test]
fn the_first_triggers_and_the_second_forces_in_any_order() {
    use Signal::{SIGINT, SIGTERM};
    for (first, second) in [(SIGTERM, SIGINT), (SIGINT, SIGTERM), (SIGTERM, SIGTERM), (SIGINT, SIGINT)] {
        let mut server = Server::start();
        server.send(first);
        server.says(&format!("triggered by {first}"));
        server.send(second);
        server.says("forced");
        // The handlers stay: a third and a fourth kill nobody.
        server.send(first);
        server.send(second);
        server.ends();
    }
}

#[test]
fn the_first_signal_after_the_programs_own_decision_does_not_force() {
    let mut server = Server::start();
    server.order("trigger");
    server.says("triggered by the program");
    server.send(Signal::SIGTERM);
    // A reload later on tells that the signal was seen, for they are seen in order.
    server.send(Signal::SIGHUP);
    server.says("reload 1");
    server.order("alive?");
    server.says("alive");
    server.send(Signal::SIGTERM);
    server.says("forced");
    server.ends();
}

#[test]
fn sighup_reloads_and_kills_nobody() {
    let mut server = Server::start();
    for n in 1..=3 {
        server.send(Signal::SIGHUP);
        server.says(&format!("reload {n}"));
    }
    server.send(Signal::SIGTERM);
    server.says("triggered by SIGTERM");
    server.send(Signal::SIGHUP);
    server.says("reload 4");
    server.send(Signal::SIGINT);
    server.says("forced");
    server.send(Signal::SIGHUP);
    server.says("reload 5");
    server.ends();
}

#[test]
fn outside_of_a_runtime_installing_is_an_error() {
    Signals::install().expect_err("no runtime");
}
