//! The hooks of a shutdown: in order, each exactly once, whoever gives the order and however often.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, routing::get};
use graceful::{BoundServer, Config, Error, Phase, Report, Server, Shutdown, ShutdownSignal};
use nix::sys::signal::Signal;
use tests::{Client, Ended, Program, within};

use crate::{PRODUCTION, production};

/// What happened, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<&'static str>>>);

impl Journal {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn notes(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server with hooks of both phases, registered in the wrong order, one of which panics. `/end` gives the order, and
/// answers when it was given.
async fn bind(journal: &Journal) -> BoundServer {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    let note = |what| {
        let journal = journal.clone();
        async move |_| journal.note(what)
    };
    let answered = journal.clone();
    let end = async move |ShutdownSignal(shutdown): ShutdownSignal| {
        shutdown.trigger_with("a handler");
        shutdown.triggered().await;
        answered.note("answered");
        "going\n"
    };
    Server::new(Router::new().route("/end", get(end)))
        .config(config)
        .on_shutdown(Phase::Resources, "database", note("database"))
        .on_shutdown(Phase::Workers, "broken", async |_| panic!("broken"))
        .on_shutdown(Phase::Workers, "queue", note("queue"))
        .bind()
        .await
        .expect("a free port")
}

fn check(ended: Result<Report, Error>, cause: &str) {
    let Err(Error::Forced(report)) = ended else { panic!("a hook has panicked: {ended:?}") };
    assert_eq!(report.cause().map(ToString::to_string).as_deref(), Some(cause), "the first order counts");
    let late: Vec<_> = report.late().map(|(step, late)| (&*step.name, late.what.as_str())).collect();
    assert_eq!(late, [("workers", "broken")], "it is named, and nobody else");
    let steps: Vec<_> = report.steps().iter().map(|step| (&*step.name, step.finished)).collect();
    assert_eq!(steps[1..], [("workers", 1), ("resources", 1)]);
}

#[tokio::test]
async fn the_order_comes_from_within_a_handler() {
    let journal = Journal::default();
    let bound = bind(&journal).await;
    let address = bound.local_addr().expect("TCP");
    let client = async {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/end").await.body, "going\n");
        assert_eq!(client.rest().await.expect("a plain end"), "");
    };
    let (ended, ()) = within("the end", async { tokio::join!(bound.run(), client) }).await;
    check(ended, "a handler");
    assert_eq!(journal.notes(), ["answered", "queue", "database"], "its own request comes first");
}

#[tokio::test]
async fn the_order_comes_before_the_first_accept() {
    let journal = Journal::default();
    let bound = bind(&journal).await;
    // It is connected by now, and waits in the kernel.
    let mut client = Client::connect(bound.local_addr().expect("TCP")).await;
    client.send("GET /end HTTP/1.1\r\nhost: test\r\n\r\n").await;
    bound.shutdown().trigger_with("too early");
    let (ended, answer) = within("the end", async { tokio::join!(bound.run(), client.answer()) }).await;
    assert_eq!(answer.status, 200, "who waits is served all the same");
    check(ended, "too early");
    assert_eq!(journal.notes(), ["answered", "queue", "database"]);
}

#[tokio::test]
async fn the_order_comes_again_and_again() {
    let journal = Journal::default();
    let bound = bind(&journal).await;
    let shutdown: Shutdown = bound.shutdown();
    let orders = async {
        for _ in 0..100 {
            shutdown.trigger_with("once");
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = within("the end", async { tokio::join!(bound.run(), orders) }).await;
    shutdown.trigger();
    check(ended, "once");
    assert_eq!(journal.notes(), ["queue", "database"]);
}

/// How often the template's two hooks have come to their end.
fn hooks(ended: &Ended) -> [usize; 2] {
    let lines = ended.log.lines();
    ["queue drained", "database closed"].map(|hook| lines.iter().filter(|line| line["message"] == hook).count())
}

#[tokio::test]
async fn a_signal_before_the_first_accept_serves_who_waits() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    // Before there is a process.
    let mut client = Client::connect(socket.local_addr().expect("bound")).await;
    client.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let program = Program::start_on(PRODUCTION, socket, &[]).await;
    program.signal(Signal::SIGTERM);
    assert_eq!(client.answer().await.status, 200);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(hooks(&ended), [1, 1]);
}

#[tokio::test]
async fn two_signals_at_once_run_no_hook_twice() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let program = production(&[]).await;
        // Both are there when it goes on; two of a kind are one to the system.
        program.signal(Signal::SIGSTOP);
        program.signal(Signal::SIGTERM);
        program.signal(second);
        program.signal(Signal::SIGCONT);
        let ended = program.ended().await;
        let [queue, database] = hooks(&ended);
        assert!(queue <= 1, "forced, it may be cut: {queue}");
        assert_eq!(database, 1, "a hook has one poll at least");
        assert!(matches!(ended.code, Some(0 | 3)), "{:?} {}", ended.code, ended.stderr);
    }
}
