//! Ends that must come: before the server is there, with nobody to read the last word, with another server in the process.
//!
//! Each is a process of its own: this test binary again, with `graceful::main` in it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread::sleep,
    time::Duration,
};

use axum::{Router, routing::get};
use graceful::{Config, Error, Phase, Report, Server};
use graceful_json_log::{LogConfig, LogGuard, LogHandle, Output};
use nix::{sys::signal::Signal, unistd::Pid};
use tests::{Client, within};
use tokio::time::Instant;

fn config(shutdown_timeout: Duration) -> Config {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.shutdown_timeout = Some(shutdown_timeout);
    config
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Ok(what) = std::env::var("GRACEFUL_TEST_CHILD") else { return };
    let code = graceful::main(async move {
        match what.as_str() {
            "slow start" => {
                say("starting");
                tokio::time::sleep(2 * SECOND).await;
                let bound = Server::new(Router::new()).config(config(SECOND)).bind().await?;
                say("bound");
                bound.run().await
            }
            "loud" => {
                let loud = async || -> &str {
                    handling().await;
                    loop {
                        let _ = std::io::stderr().lock().write_all(&[b'x'; 10_000]);
                    }
                };
                run(Router::new().route("/", get(loud)), SECOND).await
            }
            "two servers" => {
                let blocks = async || {
                    handling().await;
                    sleep(600 * SECOND);
                };
                let idle = Server::new(Router::new()).config(config(2 * SECOND)).bind();
                let (one, two) = (run(Router::new().route("/", get(blocks)), 2 * SECOND), idle.await?.run());
                let (one, two) = tokio::join!(one, two);
                two.and(one)
            }
            "panic" => {
                tokio::task::spawn_blocking(|| sleep(600 * SECOND));
                tokio::time::sleep(SECOND / 10).await;
                panic!("no database");
            }
            "log file" => {
                let (log, _flush) = log_to_file();
                let reload = move || {
                    log.reopen().expect("a file");
                    say("reopened");
                };
                let router = Router::new().route("/", get(handling));
                let bound = Server::new(router).config(config(30 * SECOND)).on_reload(reload).bind().await?;
                say(&bound.local_addr().expect("TCP").to_string());
                bound.run().await
            }
            "tasks" => {
                let _flush = log_to_file();
                for task in 0..100 {
                    #[expect(clippy::disallowed_methods, reason = "a task that no shutdown knows of")]
                    tokio::spawn(async move {
                        let _last_line = LastLine(task);
                        std::future::pending::<()>().await;
                    });
                }
                run(Router::new(), SECOND).await
            }
            "two logs" => {
                let _log = graceful::logging::init(&config(SECOND))?;
                let error = graceful::logging::init(&config(SECOND)).expect_err("there is one");
                say(&format!("{}: {error:?}", error.exit_code()));
                Err(error)
            }
            other => panic!("no such child: {other}"),
        }
    });
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 3 });
}

fn log_to_file() -> (LogHandle, LogGuard) {
    let file = Output::File(std::env::var_os("GRACEFUL_TEST_LOG").expect("a path").into());
    graceful_json_log::init(LogConfig::new().output(file)).expect("the first")
}

struct LastLine(u32);

impl Drop for LastLine {
    fn drop(&mut self) {
        tracing::info!(task = self.0, "dropped with the runtime");
    }
}

/// All handlers are to begin, and the order to come through, before they block.
async fn handling() {
    say("handling");
    tokio::time::sleep(SECOND).await;
}

async fn run(router: Router, timeout: Duration) -> Result<Report, Error> {
    let bound = Server::new(router).config(config(timeout)).bind().await?;
    say(&bound.local_addr().expect("TCP").to_string());
    bound.run().await
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "\n> {line}").expect("the parent reads");
}

struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(what: &str) -> Self {
        Self::start_with(what, Path::new(""))
    }

    fn start_with(what: &str, log: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "ends::child", "--ignored", "--nocapture"])
            .env("GRACEFUL_TEST_CHILD", what)
            .env("GRACEFUL_TEST_LOG", log)
            .env("TOKIO_WORKER_THREADS", "2")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    fn says(&mut self) -> String {
        let mut lines = (&mut self.stdout).lines().map(|line| line.expect("text"));
        lines.find_map(|line| line.strip_prefix("> ").map(str::to_owned)).expect("it says more")
    }

    /// Requests for `/`, each with its handler.
    fn requests(&mut self, n: usize) -> Vec<TcpStream> {
        let address: SocketAddr = self.says().parse().expect("an address");
        let request = |_| {
            let mut client = TcpStream::connect(address).expect("it listens");
            client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").expect("it reads");
            client
        };
        let clients = (0..n).map(request).collect();
        (0..n).for_each(|_| assert_eq!(self.says(), "handling"));
        clients
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it lives");
    }

    fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        const OFTEN: Duration = Duration::from_millis(20);
        for _ in 0..patience.as_millis() / OFTEN.as_millis() {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return Some(status);
            }
            sleep(OFTEN);
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_before_there_is_a_server_is_not_lost() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = Process::start("slow start");
        assert_eq!(process.says(), "starting");
        // For who might listen before there is a server.
        sleep(SECOND / 4);
        process.signal(signal);
        let ended = process.ends_within(30 * SECOND).expect("it ends, now or as soon as there is a server");
        assert!(ended.signal() == Some(signal as i32) || ended.success(), "{ended}");
    }
}

#[test]
fn a_last_word_that_nobody_reads_does_not_keep_the_process() {
    let mut process = Process::start("loud");
    let _clients = process.requests(4);
    process.signal(Signal::SIGTERM);
    let ended = process.ends_within(30 * SECOND).expect("a second after its deadline");
    assert_eq!(ended.code(), Some(3));
}

#[test]
fn the_end_of_one_server_leaves_the_other_its_last_resort() {
    let mut process = Process::start("two servers");
    let _clients = process.requests(4);
    process.signal(Signal::SIGTERM);
    let ended = process.ends_within(30 * SECOND).expect("a second after its deadline");
    assert_eq!(ended.code(), Some(3));
}

#[test]
fn a_panic_ends_the_process_though_a_thread_is_blocked() {
    let mut process = Process::start("panic");
    let ended = process.ends_within(30 * SECOND).expect("it does not wait for the thread");
    assert!(!ended.success());
    let mut said = String::new();
    process.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("no database"), "{said}");
}

#[test]
fn a_log_that_was_moved_away_is_opened_again_on_sighup() {
    let folder = std::env::temp_dir().join(format!("graceful-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (log, moved) = (folder.join("shop.log"), folder.join("shop.log.1"));
    let mut process = Process::start_with("log file", &log);
    let _client = process.requests(1);
    let read = |path| std::fs::read_to_string(path).expect("it is there");
    // What is not written by then goes into the new one.
    let began = Instant::now();
    while !read(&log).contains("listening") {
        assert!(began.elapsed() < 30 * SECOND, "the log's thread writes");
        sleep(SECOND / 100);
    }
    std::fs::rename(&log, &moved).expect("it is there");
    process.signal(Signal::SIGHUP);
    assert_eq!(process.says(), "reopened");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ends_within(30 * SECOND).and_then(|ended| ended.code()), Some(0));
    assert!(read(&moved).contains("listening") && !read(&moved).contains("server stopped"));
    assert!(read(&log).contains("server stopped") && !read(&log).contains("listening"));
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn what_tasks_log_that_end_with_the_runtime_is_written() {
    let log = std::env::temp_dir().join(format!("graceful-tasks-{}.log", std::process::id()));
    let mut process = Process::start_with("tasks", &log);
    process.says();
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ends_within(30 * SECOND).and_then(|ended| ended.code()), Some(0));
    let text = std::fs::read_to_string(&log).expect("it is there");
    let _ = std::fs::remove_file(&log);
    assert_eq!(text.matches("dropped with the runtime").count(), 100, "behind what the guard waited for: {text}");
}

#[test]
fn a_second_log_is_not_the_fault_of_the_level() {
    let mut process = Process::start("two logs");
    assert_eq!(process.says(), "1: the log could not be set up: there is a global tracing subscriber already");
}

#[tokio::test]
async fn a_long_drain_delay_leaves_the_requests_their_time() {
    let slow = async || {
        tokio::time::sleep(SECOND / 2).await;
        "done\n"
    };
    let mut config = config(6 * SECOND);
    // 6 s, a slice of 1 s for each phase: what is left for the connections is over when the delay is.
    config.drain_delay = 4 * SECOND;
    let bound = Server::new(Router::new().route("/", get(slow)))
        .config(config)
        .on_shutdown(Phase::Workers, "queue", async |_| ())
        .on_shutdown(Phase::Resources, "database", async |_| ())
        .bind()
        .await
        .expect("a free port");
    let address = bound.local_addr().expect("TCP");
    bound.shutdown().trigger();
    let client = async {
        tokio::time::sleep(4 * SECOND - SECOND / 4).await;
        Client::connect(address).await.get("/").await.body
    };
    let (ended, answer) = within("the end", async { tokio::join!(bound.run(), client) }).await;
    assert_eq!(answer, "done\n", "it was accepted");
    assert!(ended.is_ok_and(|report| report.is_clean()));
}

#[tokio::test]
async fn no_time_to_end_is_no_limit_as_everywhere_else() {
    let server = Server::new(Router::new()).config(config(Duration::ZERO)).on_shutdown(
        Phase::Resources,
        "database",
        async |_| tokio::time::sleep(SECOND / 20).await,
    );
    server.shutdown().trigger();
    let ended = within("the end", server.run()).await;
    assert!(ended.is_ok(), "zero never means at once: {ended:?}");
}
