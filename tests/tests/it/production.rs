//! The template answers as it should, and says so in one line a request.

use std::{fs, path::Path};

use tests::{Answer, Client, Line};
use tokio::process::Command;

use crate::production;

#[tokio::test]
async fn its_two_routes_answer_and_leave_one_access_record_each() {
    let program = production(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let healthz = client.get("/healthz").await;
    let work = client.get("/api/work").await;
    assert_eq!((healthz.status, healthz.body.as_str()), (200, "ok\n"));
    assert_eq!((work.status, work.body.as_str()), (200, r#"{"ok":true}"#));
    assert_ne!(healthz.request_id(), work.request_id(), "every request has an id of its own");

    let peer = client.address().to_string();
    drop(client);
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records: Vec<_> = ended.log.lines().into_iter().filter(Line::is_access).collect();
    assert_eq!(records.len(), 2, "one record a request: {records:#?}");
    check_record(&records[0], "/healthz", &healthz, &peer);
    check_record(&records[1], "/api/work", &work, &peer);
}

/// Every field of an access record, and nothing else.
fn check_record(record: &Line, path: &str, answer: &Answer, peer: &str) {
    let mut fields = record.fields();
    fields.sort_unstable();
    // No `user_agent`: the client sent none.
    let known = [
        "bytes",
        "bytes_expected",
        "bytes_in",
        "duration_ms",
        "level",
        "message",
        "method",
        "outcome",
        "path",
        "peer",
        "request_id",
        "route",
        "status",
        "target",
        "timestamp",
        "ttfb_ms",
        "version",
    ];
    assert_eq!(fields, known);
    for (field, value) in [
        ("level", "INFO"),
        ("message", "access"),
        ("method", "GET"),
        ("path", path),
        ("route", path),
        ("version", "HTTP/1.1"),
        ("peer", peer),
        ("outcome", "complete"),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(record["status"], answer.status);
    assert_eq!(record["bytes_in"], 0);
    assert_eq!(record["bytes"], answer.body.len());
    assert_eq!(record["bytes_expected"], answer.body.len());
    let (first_byte, duration) = (record.number("ttfb_ms"), record.number("duration_ms"));
    assert!(0.0 <= first_byte && first_byte <= duration && duration < 10_000.0, "{first_byte} {duration}");

    assert_eq!(record.request_id(), Some(answer.request_id()), "the client and the log have the same id");
}

#[tokio::test]
async fn curl_reads_it() {
    let program = production(&[]).await;
    let url = |path| format!("http://{}{path}", program.address());
    let Ok(output) =
        Command::new("curl").args(["-isS", &url("/healthz"), &url("/api/work?token=secret")]).output().await
    else {
        return; // no curl here
    };
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    assert_eq!(text.matches("\r\nx-request-id: ").count(), 2, "{text}");
    assert!(text.contains("\r\n\r\nok\n") && text.ends_with("{\"ok\":true}"), "{text}");

    let record = program.log().access("/api/work", 1).await.swap_remove(0);
    assert!(record["user_agent"].as_str().is_some_and(|agent| agent.starts_with("curl/")), "{record:?}");
    let ended = program.terminate().await;
    let log = format!("{:?}", ended.log.lines());
    assert!(!log.contains("secret"), "a query is nobody's business: {log}");
}

#[tokio::test]
async fn jobs_that_were_accepted_are_done_before_the_end() {
    let program = production(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        client.send("POST /api/jobs HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\njob").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 202);
        ids.push(answer.request_id().to_owned());
    }
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.log.lines();
    let done: Vec<_> = lines.iter().filter(|line| line["message"] == "job done").map(Line::request_id).collect();
    assert_eq!(
        done,
        ids.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>(),
        "in order, each with its request's id"
    );

    let order: Vec<_> = ["shutdown signal", "job done", "queue drained", "database closed", "server stopped"]
        .map(|message| lines.iter().rposition(|line| line["message"] == message).expect(message))
        .into();
    assert!(order.is_sorted(), "what others need is closed last: {order:?}");
}

#[tokio::test]
async fn a_full_queue_of_jobs_is_503_and_not_memory() {
    let program = production(&["--jobs", "1"]).await;
    let mut client = Client::connect(program.address()).await;
    let post = "POST /api/jobs HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\njob";
    client.send(post.repeat(50)).await;
    let mut statuses = Vec::new();
    for _ in 0..50 {
        statuses.push(client.answer().await.status);
    }
    assert!(statuses.contains(&202) && statuses.contains(&503), "{statuses:?}");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_job_whose_body_does_not_come_is_408() {
    let program = production(&["--read-timeout", "1s"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("POST /api/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\naaa").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (408, "the request body took too long"));
    assert_eq!(client.rest().await.expect("a plain end"), "", "the rest would be taken for a request");
    assert_eq!(program.terminate().await.code, Some(0));
}

/// Where it is copied to, there is no workspace from which it could take a version or an edition.
#[tokio::test]
async fn a_copy_of_the_folder_is_a_package() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let template = workspace.join("examples/production");
    let copy = std::env::temp_dir().join(format!("graceful-template-{}", std::process::id()));
    fs::create_dir_all(copy.join("src")).expect("a folder");
    for file in fs::read_dir(template.join("src")).expect("the template").map(|file| file.expect("a file").path()) {
        fs::copy(&file, copy.join("src").join(file.file_name().expect("a name"))).expect("a copy");
    }
    // The one line that its reader has to change.
    let manifest = fs::read_to_string(template.join("Cargo.toml")).expect("the template's");
    let crates = workspace.join("crates").display().to_string();
    fs::write(copy.join("Cargo.toml"), manifest.replace("../../crates", &crates)).expect("a file");
    // The versions that are here already: the network is not asked.
    fs::copy(workspace.join("Cargo.lock"), copy.join("Cargo.lock")).expect("a copy");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(&copy)
        .output()
        .await
        .expect("Cargo runs");
    fs::remove_dir_all(&copy).expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
