//! Out of descriptors, for real: the server warns once, lives on, serves whom it has, and takes in those who waited as
//! soon as there is room.

use std::time::Duration;

use tests::{Client, Program, within};
use tokio::time::sleep;

use crate::PLAYGROUND;

#[tokio::test]
async fn they_are_used_up_and_it_lives_on() {
    let program = Program::start_with_descriptors(PLAYGROUND, 64, &["--idle-timeout", "off"]).await;
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
