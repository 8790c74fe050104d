//! Work that outlives its request: it keeps the request's span, is told and waited for at the end, and named if it is late.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use graceful::{Config, Error, Report, Server, Shutdown};
use tests::{Client, Log, leaves_nothing, within};

/// Serves `router` while `clients` are at it, and ends then.
async fn serve(router: Router, clients: impl AsyncFnOnce(SocketAddr, &Shutdown)) -> Result<Report, Error> {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.shutdown_timeout = Some(Duration::from_secs(3));
    let bound = Server::new(router).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    let clients = async {
        clients(address, &shutdown).await;
        shutdown.trigger();
    };
    let (ended, ()) = within("the server to end", async { tokio::join!(bound.run(), clients) }).await;
    ended
}

#[test]
fn a_task_is_told_and_waited_for_and_keeps_the_span_of_its_request() {
    leaves_nothing(async {
        let (log, _guard) = Log::of_this_thread();
        let router = Router::new().route(
            "/mail",
            get(async || {
                graceful::spawn_named("mail", async {
                    graceful::cancelled().await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    tracing::info!("sent");
                });
                "accepted\n"
            }),
        );
        let mut id = String::new();
        let ended = serve(router, async |address, _| {
            let answer = Client::connect(address).await.get("/mail").await;
            assert_eq!(answer.body, "accepted\n", "before the mail is sent");
            id = answer.request_id().to_owned();
        });
        let report = ended.await.expect("a clean end");
        let tasks = report.steps().iter().find(|step| step.name == "tasks").expect("a step of its own");
        assert_eq!((tasks.finished, tasks.late.len()), (1, 0), "{report}");
        assert_eq!(log.message("sent").await.request_id(), Some(&*id), "in the span of its request");
    });
}

#[test]
fn a_blocking_task_is_told_and_waited_for() {
    leaves_nothing(async {
        let over = Arc::new(AtomicBool::new(false));
        let handler = {
            let over = Arc::clone(&over);
            async move || {
                graceful::spawn_blocking("index", move || {
                    while !graceful::is_cancelled() {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                    over.store(true, SeqCst);
                });
            }
        };
        let ended = serve(Router::new().route("/", get(handler)), async |address, _| {
            assert_eq!(Client::connect(address).await.get("/").await.status, 200);
            assert!(!over.load(SeqCst), "it goes on behind the answer");
        });
        assert!(ended.await.expect("a clean end").is_clean());
        assert!(over.load(SeqCst));
    });
}

#[test]
fn a_task_that_does_not_listen_is_named_with_its_place_and_aborted() {
    leaves_nothing(async {
        let router = Router::new().route(
            "/",
            get(async || {
                graceful::spawn_named("stuck", async { tokio::time::sleep(Duration::from_secs(3600)).await });
            }),
        );
        let ended = serve(router, async |address, _| {
            Client::connect(address).await.get("/").await;
        });
        let Err(Error::Forced(report)) = ended.await else { panic!("it was late") };
        let late: Vec<_> = report.late().collect();
        let [(step, late)] = &late[..] else { panic!("one, and nobody else: {report}") };
        assert_eq!((&*step.name, late.what.as_str(), late.detail("name")), ("tasks", "task", Some("stuck")));
        assert!(late.detail("from").is_some_and(|from| from.contains("spawn.rs:")), "where it was spawned: {late}");
        let place = late.place.as_ref().expect("a place");
        assert!(place.starts_with("sleep at ") && place.contains("spawn.rs:"), "where it waits: {late}");
    });
}

#[test]
fn a_panic_of_a_task_is_logged_with_its_request_and_harms_nobody() {
    leaves_nothing(async {
        let (log, _guard) = Log::of_this_thread();
        let router = Router::new().route(
            "/",
            get(async || {
                graceful::spawn(async { panic!("planted") });
            }),
        );
        let ended = serve(router, async |address, _| {
            let mut client = Client::connect(address).await;
            let answer = client.get("/").await;
            let line = log.message("task panicked").await;
            assert_eq!((&line["panic"], line.request_id()), (&"planted".into(), Some(answer.request_id())), "{line:?}");
            assert!(line["spawned_at"].as_str().is_some_and(|place| place.contains("spawn.rs:")));
            assert_eq!(client.get("/").await.status, 200, "on the same connection");
        });
        assert!(ended.await.expect("a clean end").is_clean(), "what is over is not late");
    });
}

#[test]
fn the_end_of_one_server_is_not_the_end_of_what_another_one_does() {
    leaves_nothing(async {
        let told = Arc::new(AtomicBool::new(false));
        let handler = {
            let told = Arc::clone(&told);
            async move || {
                graceful::spawn(async move {
                    graceful::cancelled().await;
                    told.store(true, SeqCst);
                });
            }
        };
        let one = serve(Router::new(), async |one, _| {
            let two = serve(Router::new().route("/", get(handler)), async |two, _| {
                Client::connect(two).await.get("/").await;
                assert!(!told.load(SeqCst));
            });
            assert!(two.await.expect("a clean end").is_clean());
            assert!(told.load(SeqCst), "the end of its own server");
            // Here the first one still serves, and what it spawns is not told.
            assert_eq!(Client::connect(one).await.get("/nowhere").await.status, 404);
            assert!(!graceful::is_cancelled());
        });
        assert!(one.await.expect("a clean end").is_clean());
    });
}

#[test]
#[should_panic(expected = "1 left behind")]
fn the_harness_sees_what_is_left() {
    leaves_nothing(async {
        graceful::spawn_named("forgotten", pending::<()>());
    });
}
