//! Out of descriptors, for real: the server warns once, lives on, serves whom it has, and takes in those who waited as
//! soon as there is room.

use std::time::Duration;

use tests::{Client, Program, within};
use tokio::time::sleep;

use crate::PLAYGROUND;

#[tokio::test]
async fn they_are_used_up_and_it_lives_on() {
    let program = Program::start_limited(PLAYGROUND, "-n 64", &["--idle-timeout", "off"]).await;
    let mut kept = Client::connect(program.address()).await;
    assert_eq!(kept.get("/healthz").await.status, 200);
    // More than it can take; the kernel takes them for it.
    let mut hoard = Vec::new();
    for _ in 0..120 {
        hoard.push(Client::connect(program.address()).await);
    }
    let warning = program.log().message("cannot accept: waiting, then trying again").await;
    assert_eq!((&warning["kind"], &warning["target"]), (&"accept".into(), &"graceful::server".into()));
    for _ in 0..20 {
        assert_eq!(kept.get("/healthz").await.status, 200, "whom it has, it serves");
        sleep(Duration::from_millis(50)).await;
    }
    // One who comes now waits with the others, and is served when there is room.
    let mut waiting = Client::connect(program.address()).await;
    waiting.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await;
    drop(hoard);
    assert_eq!(within("room", waiting.answer()).await.status, 200);
    // That it is over is said once it has been for a while, and somebody comes.
    within("the end of it to be told", async {
        while !program.log().lines().iter().any(|line| line["message"] == "accepting again" && line["kind"] == "accept")
        {
            assert_eq!(Client::connect(program.address()).await.get("/healthz").await.status, 200);
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let warnings = ended.log.lines().iter().filter(|line| line["kind"] == "accept" && line["level"] == "WARN").count();
    assert!(warnings <= 3, "one a burst, not one a failure: {warnings}");
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_what_the_connections_need() {
    let program = Program::start_limited(PLAYGROUND, "-Sn 64", &["--max-connections", "200"]).await;
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(Client::connect(program.address()).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/healthz").await.status, 200);
    }
    let ended = program.terminate().await;
    assert!(!ended.log.lines().iter().any(|line| line["kind"] == "descriptors" || line["kind"] == "accept"));
}

#[tokio::test]
async fn a_hard_limit_that_is_too_low_is_told_at_the_start() {
    let program = Program::start_limited(PLAYGROUND, "-n 256", &["--max-connections", "200"]).await;
    let warning =
        program.log().lines().into_iter().find(|line| line["kind"] == "descriptors").expect("before it listens");
    assert_eq!(
        (&warning["level"], &warning["files"], &warning["connections"]),
        (&"WARN".into(), &256.into(), &200.into())
    );
}
