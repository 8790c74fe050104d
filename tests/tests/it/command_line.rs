//! What is asked for on the command line and cannot be: one clear line on standard error, and an exit code.

use tests::{Client, run_to_end, run_to_end_in};
use tokio::process::Command;

use crate::{PLAYGROUND, PRODUCTION, playground};

#[tokio::test]
async fn a_clean_end_is_0() {
    let program = playground(&[]).await;
    assert_eq!(Client::connect(program.address()).await.get("/api/work").await.body, r#"{"ok":true}"#);
    let ended = program.terminate().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_port_in_use_is_1() {
    let first = playground(&[]).await;
    let (public, internal) = (first.address().to_string(), first.debug_address().to_string());
    for args in [
        ["--listen", public.as_str(), "--debug-listen", "off"],
        ["--listen", "127.0.0.1:0", "--debug-listen", internal.as_str()],
    ] {
        let ended = run_to_end(PRODUCTION, &args).await;
        let address = if args[3] == "off" { &public } else { &internal };
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "one line: {}", ended.stderr);
        let clear = ended.stderr.contains(address.as_str()) && ended.stderr.contains("in use");
        assert!(clear, "it names the address and what is wrong: {}", ended.stderr);
        let internal = ended.stderr.contains("debug_listen");
        assert_eq!(internal, args[3] != "off", "who never asked for a second port is told of it: {}", ended.stderr);
        assert!(ended.log.lines().is_empty(), "it never said that it listens");
    }
    assert_eq!(Client::connect(first.address()).await.get("/healthz").await.status, 200, "the first is unharmed");
}

#[tokio::test]
async fn a_bad_address_is_2() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:-1", ":", ""] {
        for flag in ["--listen", "--debug-listen"] {
            // The later flag wins, and the other port is one that is free.
            let other = if flag == "--listen" { "--debug-listen" } else { "--listen" };
            let ended = run_to_end(PLAYGROUND, &[other, "127.0.0.1:0", flag, address]).await;
            assert_eq!(ended.code, Some(2), "{flag} {address:?}: {}", ended.stderr);
            let clear = ended.stderr.starts_with("error: ") && ended.stderr.contains(address);
            assert!(clear, "{flag} {address:?}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn nonsense_is_2_and_the_message_names_the_flag_and_the_value() {
    for (flag, value) in [
        ("--read-header-timeout", "-5s"),
        ("--read-timeout", "5"),
        ("--write-timeout", "99999999999999999999s"),
        ("--idle-timeout", "soon"),
        ("--handler-timeout", "1.5"),
        ("--max-header-bytes", "99999999999"),
        ("--max-header-bytes", "-1"),
        ("--max-connections", "0"),
        ("--max-in-flight", "-1"),
        ("--max-in-flight", "18446744073709551616"),
        ("--max-queue", "many"),
        ("--queue-wait", "-100ms"),
        ("--shutdown-timeout", "-1s"),
        ("--h2-max-streams", "4294967296"),
        ("--log-format", "xml"),
        ("--log-level", "loud"),
        ("--preset", "fast"),
        ("--request-id", "v5"),
    ] {
        let ended = run_to_end(PLAYGROUND, &["--listen", "127.0.0.1:0", flag, value]).await;
        assert_eq!(ended.code, Some(2), "{flag} {value}: {}", ended.stderr);
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: ") && first.contains(flag) && first.contains(value), "{}", ended.stderr);
        assert!(ended.log.lines().is_empty(), "nothing was started");
    }
}

#[tokio::test]
async fn nonsense_in_the_environment_names_the_variable_and_the_flag() {
    for (variable, flag, value) in [
        ("GRACEFUL_IDLE_TIMEOUT", "--idle-timeout", "soon"),
        ("GRACEFUL_MAX_QUEUE", "--max-queue", "-1"),
        ("GRACEFUL_MAX_HEADER_BYTES", "--max-header-bytes", "0"),
        ("GRACEFUL_REUSE_PORT", "--reuse-port", "perhaps"),
        ("GRACEFUL_PRESET", "--preset", "fast"),
        ("GRACEFUL_LOG_LEVEL", "--log-level", "loud"),
    ] {
        let ended = run_to_end_in(&[(variable, value)], PRODUCTION, &["--listen", "127.0.0.1:0"]).await;
        assert_eq!(ended.code, Some(2), "{variable}={value}: {}", ended.stderr);
        let first = ended.stderr.lines().next().unwrap_or_default();
        let named = [variable, flag, value].iter().all(|part| first.contains(part));
        assert!(first.starts_with("error: ") && named, "{}", ended.stderr);
        // What was written on the command line has nothing to do with it.
        let ended = run_to_end_in(&[], PRODUCTION, &[flag, "\u{1}"]).await;
        assert!(!ended.stderr.contains(variable), "{}", ended.stderr);
    }
}

/// As most programs take it that are told by their environment: compose files and charts write `NAME=` for "nothing".
#[tokio::test]
async fn an_empty_variable_is_one_that_is_not_set() {
    let help = Command::new(PRODUCTION).arg("--help").output().await.expect("it runs").stdout;
    let help = String::from_utf8_lossy(&help);
    let variables: Vec<_> = help.split("[env: ").skip(1).filter_map(|rest| rest.split_once('=')).collect();
    let ours = variables.iter().map(|(name, _)| *name).filter(|name| name.starts_with("GRACEFUL_"));
    let empty: Vec<_> = ours.map(|name| (name, "")).collect();
    assert!(empty.len() > 30, "{empty:?}");
    // It comes to what is looked at last.
    let args = ["--listen", "127.0.0.1:0", "--drain-delay", "30s", "--shutdown-timeout", "10s"];
    let ended = run_to_end_in(&empty, PRODUCTION, &args).await;
    assert!(ended.stderr.starts_with("error: drain_delay: "), "{}", ended.stderr);
}

#[tokio::test]
async fn what_cannot_work_together_is_2() {
    let args = ["--listen", "127.0.0.1:0", "--drain-delay", "30s", "--shutdown-timeout", "10s"];
    let ended = run_to_end(PLAYGROUND, &args).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("drain_delay") && ended.stderr.contains("10s"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_unknown_flag_is_2() {
    let ended = run_to_end(PRODUCTION, &["--listne", "127.0.0.1:0"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--listne") && ended.stderr.contains("--listen"), "{}", ended.stderr);
}

#[tokio::test]
async fn limits_that_are_off_or_as_large_as_can_be_start_and_serve() {
    let most = u32::MAX.to_string();
    for value in ["off", "0s", "1ns", "1000000y"] {
        let program = playground(&["--idle-timeout", value, "--write-timeout", value, "--read-timeout", value]).await;
        let mut client = Client::connect(program.address()).await;
        if value != "1ns" {
            assert_eq!(client.get("/healthz").await.status, 200, "{value}");
        }
        assert_eq!(program.terminate().await.code, Some(0), "{value}");
    }
    let program = playground(&["--max-header-bytes", &most, "--h2-max-streams", &most, "--max-in-flight", "off"]).await;
    assert_eq!(Client::connect(program.address()).await.get("/healthz").await.status, 200);
    assert_eq!(program.terminate().await.code, Some(0));
}
