//! Each test starts this binary anew, with sockets in hand, to run one of the ignored tests here.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Output, Stdio},
};

use graceful_listener::{AnyListener, ListenAddr, Listener, inherited};

use crate::unix::Dir;

/// Starts this binary as systemd does: two sockets from descriptor 3 on, a third beside them that is no listener, and
/// their number and names in the environment.
fn start(test: &str, sockets: [OwnedFd; 2], environment: &str) -> Output {
    // The shell moves them from where std can put them. `$$` stays the same over exec.
    let script = format!(
        r#"exec 3<&0 4<&1 5</dev/null 1>&2 0</dev/null; {environment} exec "$0" "$@" --exact --ignored --nocapture"#
    );
    let [three, four] = sockets;
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().expect("this binary"))
        .arg(test)
        .stdin(Stdio::from(three))
        .stdout(Stdio::from(four))
        .stderr(Stdio::piped())
        .output()
        .expect("a shell")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tcp() -> (SocketAddr, OwnedFd) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    (listener.local_addr().expect("bound"), listener.into())
}

#[test]
fn sockets_of_both_kinds_with_their_names_once() {
    let dir = Dir::new();
    let path = dir.join("app.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let (addr, tcp) = tcp();
    // They wait in the kernel, as clients do while a server is restarted.
    let _waiting = (TcpStream::connect(addr).expect("connect"), UnixStream::connect(&path).expect("connect"));
    let environment = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:local;";
    let output = start("inherited::child_takes_both", [tcp, unix.into()], environment);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 passed"), "the child's test ran: {}", said(&output));
    assert!(path.exists(), "the file is systemd's");
}

#[tokio::test]
#[ignore = "run by another test, with sockets in hand"]
async fn child_takes_both() {
    if std::env::var_os("LISTEN_FDS").is_none() {
        return; // run by hand, with nothing in hand
    }
    let taken = inherited().expect("two listeners");
    let names: Vec<_> = taken.iter().map(|inherited| inherited.name.as_deref()).collect();
    assert_eq!(names, [Some("web"), Some("local")]);
    assert!(inherited().expect("no error").is_empty(), "there is only one of each");
    assert!(std::env::var_os("LISTEN_FDS").is_none(), "a child process must not believe that they are for it");
    for inherited in taken {
        let mut listener = inherited.listener;
        let accepted = listener.accept().await.expect("who had been waiting");
        match listener.local_addr().expect("bound") {
            ListenAddr::Tcp(_) => assert!(matches!(listener, AnyListener::Tcp(_)) && accepted.peer.ip().is_some()),
            ListenAddr::Unix(_) => assert!(matches!(listener, AnyListener::Unix(_)) && accepted.peer.ip().is_none()),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn sockets_for_another_process_are_not_taken_and_a_wrong_list_is_an_error() {
    let sockets = || [tcp().1, tcp().1];
    for (environment, expected) in [
        ("export LISTEN_FDS=2 LISTEN_PID=1;", "taken: 0"),
        ("export LISTEN_FDS=0 LISTEN_PID=$$;", "taken: 0"),
        ("", "taken: 0"),
        ("export LISTEN_FDS=2;", "taken: 2 unnamed"),
        ("export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=one;", "error: 2 sockets were inherited"),
        ("export LISTEN_FDS=3 LISTEN_PID=$$;", "error: descriptor 5, handed over, is not a listening"),
        (
            "export LISTEN_FDS=3 LISTEN_PID=$$ LISTEN_FDNAMES=a:b:c;",
            r#"error: descriptor 5 ("c"), handed over, is not a listening"#,
        ),
    ] {
        let output = start("inherited::child_says_what_it_takes", sockets(), environment);
        assert!(said(&output).contains(expected), "{environment}: {}", said(&output));
    }
    // Right in kind, but connected: what `Accept=yes` hands over.
    let connected = TcpStream::connect(tcp_that_listens()).expect("connect");
    let output =
        start("inherited::child_says_what_it_takes", [connected.into(), tcp().1], "export LISTEN_FDS=2 LISTEN_PID=$$;");
    assert!(said(&output).contains("error: descriptor 3, handed over, is not a listening"), "{}", said(&output));
}

/// One that stays for as long as the test binary.
fn tcp_that_listens() -> SocketAddr {
    let (addr, listener) = tcp();
    std::mem::forget(listener);
    addr
}

#[tokio::test]
#[ignore = "run by another test, with sockets in hand"]
#[expect(clippy::print_stderr, reason = "what the other test reads")]
async fn child_says_what_it_takes() {
    match inherited() {
        Ok(taken) if taken.iter().all(|inherited| inherited.name.is_none()) => {
            eprintln!("taken: {} unnamed", taken.len());
        }
        Ok(taken) => eprintln!("taken: {}", taken.len()),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            eprintln!("error: {error}");
        }
    }
}
