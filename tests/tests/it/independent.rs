//! Clients that other people wrote, as programs: curl, nghttp, and `openssl s_client`. Where one is not installed, its tests say so
//! and pass.

use std::{fs, path::PathBuf, process::Stdio};

use axum::{Router, http::StatusCode, routing::get};
use graceful::{Config, Server};
use tests::within;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{playground, tls};

/// What a program wrote, on both its outputs; `None` if it is not installed.
async fn run(program: &str, args: &[&str], input: &str) -> Option<String> {
    let spawned = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!("{program} is not installed: nothing is shown");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("piped");
    // It may end before it has read all.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = within(program, child.wait_with_output()).await.expect("it ran");
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

async fn curl(args: &[&str]) -> Option<String> {
    const SHOW: &str = "\n%{http_version} %{http_code} %{num_connects}\n";
    run("curl", &[&["-sS", "--max-time", "20", "-w", SHOW], args].concat(), "").await
}

#[tokio::test]
async fn curl_in_the_clear() {
    let program = playground(&[]).await;
    let base = format!("http://{}", program.address());
    let url = |path: &str| format!("{base}{path}");
    for (version, word) in
        [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http2", "1.1")]
    {
        let Some(text) = curl(&[version, &url("/api/work")]).await else { return };
        assert!(text.contains(r#"{"ok":true}"#) && text.contains(&format!("\n{word} 200 1\n")), "{version}: {text}");
    }
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        // A body that is announced, waited for and sent; and one that is not wanted.
        let body = format!("@{}", env!("CARGO_MANIFEST_DIR").to_owned() + "/../Cargo.lock");
        let Some(text) = curl(&[version, "-H", "expect: 100-continue", "--data-binary", &body, &url("/echo")]).await
        else {
            return;
        };
        assert!(text.contains("[[package]]") && text.contains(" 200 1\n"), "{version}");
    }
    // curl 7.88 takes the `RST_STREAM` with `NO_ERROR` behind an early answer (RFC 9113, 8.1) for a failure.
    let upload = ["--http1.1", "-T", env!("CARGO_BIN_EXE_tested-playground"), &url("/nowhere")];
    let Some(text) = curl(&upload).await else { return };
    assert!(text.contains(" 404 1\n"), "an upload that nobody wants has an answer: {text}");
    let Some(text) = curl(&["--http1.1", &url("/healthz"), &url("/api/work"), &url("/stream?n=3&ms=1")]).await else {
        return;
    };
    assert!(text.contains("line 3"), "{text}");
    assert!(text.ends_with(" 200 0\n"), "the last of three came over the first one's connection: {text}");
    let Some(text) = curl(&["-I", &url("/big?bytes=1000")]).await else { return };
    assert!(text.to_lowercase().contains("content-length: 1000") && text.contains("1.1 200 1\n"), "{text}");
    assert_eq!(program.terminate().await.code, Some(0));
}

/// A handler of axum's may well say something together with a status that has no content.
#[tokio::test]
async fn curl_takes_an_answer_that_has_no_content() {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    let app = Router::new()
        .route("/gone", get(async || (StatusCode::NO_CONTENT, "gone")))
        .route("/same", get(async || (StatusCode::NOT_MODIFIED, "same")));
    let bound = Server::new(app).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    let client = async {
        for (version, word) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
            for (path, status) in [("gone", "204"), ("same", "304")] {
                let Some(text) = curl(&["-i", version, &format!("http://{address}/{path}")]).await else { continue };
                assert!(text.ends_with(&format!("\n{word} {status} 1\n")), "{text}");
                assert!(!text.contains("content-length") && !text.contains(path), "{version} {path}: {text}");
            }
        }
        shutdown.trigger();
    };
    let (report, ()) = tokio::join!(bound.run(), client);
    assert!(report.expect("a clean end").is_clean());
}

#[tokio::test]
async fn nghttp_with_streams_side_by_side() {
    let program = playground(&[]).await;
    let base = format!("http://{}", program.address());
    let urls: Vec<_> = (1..=20).map(|n| format!("{base}/stream?n={n}&ms=1")).collect();
    let args: Vec<_> = ["-n", "-s"].into_iter().chain(urls.iter().map(String::as_str)).collect();
    let Some(text) = run("nghttp", &args, "").await else { return };
    let served = text.lines().filter(|line| line.contains(" 200 ")).count();
    assert_eq!(served, 20, "{text}");
    assert_eq!(program.log().access("/stream", 20).await.len(), 20);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn curl_over_tls() {
    let files = tls::Files::new();
    let certificate = files.write("curl");
    let trusted: PathBuf = std::env::temp_dir().join(format!("graceful-curl-{}.pem", std::process::id()));
    // The file is the certificate that vouches for itself.
    fs::copy(files.args()[1], &trusted).expect("a copy");
    drop(certificate);
    let program = playground(&files.args()).await;
    let port = program.address().port();
    let url = format!("https://localhost:{port}/api/work");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let trusted_text = trusted.to_str().expect("text");
    for (args, word) in [
        (&["--http1.1"][..], "\n1.1 200 1\n"),
        (&["--http2"][..], "\n2 200 1\n"),
        (&["--tls-max", "1.2"][..], "\n2 200 1\n"),
        (&["--tlsv1.3"][..], "\n2 200 1\n"),
    ] {
        let args = [args, &["--cacert", trusted_text, "--resolve", &resolve, &url]].concat();
        let Some(text) = curl(&args).await else { break };
        assert!(text.contains(r#"{"ok":true}"#) && text.contains(word), "{args:?}: {text}");
        // Twice over one connection.
        let Some(text) = curl(&[&args[..], &[&url]].concat()).await else { break };
        assert!(text.ends_with(" 200 0\n"), "{args:?}: {text}");
    }
    fs::remove_file(trusted).expect("it is there");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn openssl_is_offered_what_is_good_and_nothing_else() {
    let files = tls::Files::new();
    files.write("openssl");
    let program = playground(&files.args()).await;
    let address = program.address().to_string();
    for (args, good, shows) in [
        (&["-tls1_3", "-alpn", "h2,http/1.1"][..], true, "ALPN protocol: h2"),
        (&["-tls1_2", "-alpn", "http/1.1"][..], true, "ALPN protocol: http/1.1"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"][..], true, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        // CBC, RSA key exchange, and versions of the last millennium or so.
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"][..], false, "handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"][..], false, "handshake failure"),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], false, "alert"),
        (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..], false, "alert"),
    ] {
        let args = [&["s_client", "-connect", &address, "-servername", "localhost"][..], args].concat();
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let Some(text) = run("openssl", &args, request).await else { return };
        assert_eq!(text.contains("BEGIN CERTIFICATE"), good, "{args:?}: {text}");
        assert!(text.contains(shows), "{args:?}: {text}");
    }
    assert_eq!(program.terminate().await.code, Some(0));
}
