//! A client whose handshake the kernel has finished believes that it is connected. SIGTERM must not take that back.

use nix::sys::signal::Signal;
use tests::Client;

use crate::playground;

#[tokio::test]
async fn who_waits_in_the_kernel_at_sigterm_is_served() {
    const EACH: usize = 100;
    let program = playground(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..EACH {
        let mut idle = Client::connect(program.address()).await;
        idle.get("/healthz").await;
        clients.push(idle);
    }
    // From here on the process sees nothing, so that all of it is there at once when it goes on: the signal, a request on
    // each idle connection, and connections that nobody has accepted.
    program.signal(Signal::SIGSTOP);
    for _ in 0..EACH {
        clients.push(Client::connect(program.address()).await);
    }
    for client in &mut clients {
        client.send("GET /api/work HTTP/1.1\r\nhost: test\r\n\r\n").await;
    }
    program.signal(Signal::SIGTERM);
    program.signal(Signal::SIGCONT);

    let mut lost = [0, 0];
    for (i, client) in clients.iter_mut().enumerate() {
        match client.try_answer().await {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(_) => lost[i / EACH] += 1,
        }
    }
    assert_eq!(lost, [0, 0], "of {EACH} idle and {EACH} queued clients");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
