//! Whole processes: what is left of a log when one is killed, panics, or ends by `exit`.
//!
//! A process is this test program, told to run one of the ignored tests below.

use std::{
    env, fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use graceful_json_log::{Format, InitError, LogConfig, Output, init};
use tracing::{field, info, info_span};

use crate::support::{LONG, Object, json, line, lines};

/// A directory of the test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("graceful-json-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(test: &str, log: &Path, stdout: Stdio) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("process::{test}"), "--ignored", "--nocapture"])
        .env("GRACEFUL_TEST_LOG", log)
        .env("RUST_BACKTRACE", "0") // whose making would give the log all the time it needs
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn run(test: &str, log: &Path) -> ExitStatus {
    start(test, log, Stdio::null()).wait().unwrap()
}

fn log_file() -> PathBuf {
    env::var_os("GRACEFUL_TEST_LOG").expect("run by another test").into()
}

fn to_file() -> LogConfig {
    LogConfig::new().output(Output::File(log_file()))
}

fn read(path: &Path) -> Vec<Object> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    lines(&text)
}

#[test]
#[ignore = "a process of another test"]
fn child_logs_until_it_is_killed() {
    let (_log, _guard) = init(to_file()).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                loop {
                    info_span!("request", path = "/\"path\"")
                        .in_scope(|| info!(number, text = "x".repeat(500), "storm"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_process_that_is_killed_leaves_whole_lines() {
    let directory = Directory::new("killed");
    let log = directory.file("log");
    for round in 1..=5 {
        let before = log.metadata().map_or(0, |metadata| metadata.len());
        let mut child = start("child_logs_until_it_is_killed", &log, Stdio::null());
        // Some 640 bytes a line: more than the 500 lines that are asked for below, also if it is killed right then.
        while log.metadata().map_or(0, |metadata| metadata.len()) < before + 400_000 {
            assert!(child.try_wait().unwrap().is_none(), "it runs until it is killed");
            thread::yield_now();
        }
        child.kill().unwrap(); // SIGKILL: nothing of it runs any more
        child.wait().unwrap();
        let text = fs::read_to_string(&log).expect("no half character either");
        let complete = text.rfind('\n').unwrap() + 1;
        assert!(lines(&text[..complete]).len() > 500 * round, "every complete line is one");
    }
    // The next process goes on behind the last complete line.
    let writer = LogConfig::new().output(Output::File(log.clone())).open().unwrap();
    tracing::dispatcher::with_default(&json(&writer), || info!("next"));
    writer.flush(LONG).unwrap();
    assert_eq!(read(&log).last().unwrap()["message"], "next");
}

const WHOLE: &str = "{\"timestamp\":\"2026-01-01T00:00:00.000000Z\",\"level\":\"INFO\",\"target\":\"a\"}\n";

#[test]
fn half_a_line_at_the_end_of_a_file() {
    let directory = Directory::new("half");
    let whole = WHOLE;
    for (number, (before, kept)) in [
        (String::new(), String::new()),
        (whole.into(), whole.into()),
        (format!("{whole}{}", &whole[..30]), whole.into()),
        (format!("{whole}{{"), whole.into()),
        (whole[..30].into(), String::new()),
        (format!("{whole}not ours"), format!("{whole}not ours\n")),
        ("no line at all".into(), "no line at all\n".into()),
        ("x".repeat(2 << 20), "x".repeat(2 << 20) + "\n"),
    ]
    .into_iter()
    .enumerate()
    {
        // One for each: the writer of the one before may still have it open.
        let log = directory.file(&format!("log.{number}"));
        fs::write(&log, &before).unwrap();
        let writer = LogConfig::new().output(Output::File(log.clone())).open().unwrap();
        tracing::dispatcher::with_default(&json(&writer), || info!("next"));
        writer.flush(LONG).unwrap();
        let text = fs::read_to_string(&log).unwrap();
        let next = text.strip_prefix(&kept).unwrap_or_else(|| panic!("{before:.100?} became {text:.100?}"));
        assert_eq!(line(next)["message"], "next", "ours is on a line of its own");
    }
}

/// The generation before still logs when the next one begins to.
#[test]
fn half_a_line_that_another_process_is_just_writing() {
    let directory = Directory::new("shared");
    let log = directory.file("log");
    let open = || LogConfig::new().output(Output::File(log.clone())).open().unwrap();
    let before = open();
    let mut coming_in = fs::OpenOptions::new().append(true).open(&log).unwrap();
    coming_in.write_all(&WHOLE.as_bytes()[..30]).unwrap();
    let next = open();
    coming_in.write_all(&WHOLE.as_bytes()[30..]).unwrap();
    for (writer, message) in [(&before, "before"), (&next, "next")] {
        tracing::dispatcher::with_default(&json(writer), || info!("{message}"));
        writer.flush(LONG).unwrap();
    }
    let messages: Vec<_> = read(&log).iter().skip(1).map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["before", "next"], "behind the line that came in, and nothing was cut off");
}

#[test]
fn a_file_that_was_moved_away() {
    let directory = Directory::new("moved");
    let (log, old) = (directory.file("log"), directory.file("log.1"));
    let writer = LogConfig::new().output(Output::File(log.clone())).open().unwrap();
    tracing::dispatcher::with_default(&json(&writer), || {
        info!("first");
        writer.flush(LONG).unwrap();
        fs::rename(&log, &old).unwrap();
        info!("second");
        writer.flush(LONG).unwrap();
        writer.reopen().unwrap();
        info!("third");
        writer.flush(LONG).unwrap();
        // A file that cannot be opened: the one before goes on.
        fs::rename(&log, directory.file("log.2")).unwrap();
        fs::create_dir(&log).unwrap();
        assert!(writer.reopen().is_err());
        info!("fourth");
        writer.flush(LONG).unwrap();
    });
    let messages =
        |path: &Path| read(path).iter().map(|line| line["message"].as_str().unwrap().into()).collect::<Vec<String>>();
    assert_eq!(messages(&old), ["first", "second"]);
    assert_eq!(messages(&directory.file("log.2")), ["third", "fourth"]);
    assert!(LogConfig::new().output(Output::File(log)).open().is_err(), "a directory is no file");
}

#[test]
fn a_file_that_was_not_moved_away_loses_nothing() {
    let directory = Directory::new("reopened");
    let log = directory.file("log");
    let writer = LogConfig::new().output(Output::File(log.clone())).capacity(256 << 20).open().unwrap();
    let dispatch = json(&writer);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let dispatch = &dispatch;
                scope.spawn(move || {
                    tracing::dispatcher::with_default(dispatch, || {
                        (0..5_000).for_each(|count| info!(number, count, text = "x".repeat(500), "storm"));
                    });
                })
            })
            .collect();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            // As on a SIGHUP that is meant for something else, and while lines are being written.
            writer.reopen().unwrap();
        }
    });
    writer.flush(LONG).unwrap();
    assert_eq!((read(&log).len(), writer.stats().written), (20_000, 20_000));
}

#[test]
#[ignore = "a process of another test"]
fn child_returns_from_main() {
    let (log, _guard) = init(to_file().filter("warn")).unwrap();
    let second = log_file().with_extension("second");
    let again = LogConfig::new().output(Output::File(second.clone()));
    assert!(matches!(init(again), Err(InitError::AlreadySet)));
    assert!(!second.exists(), "its file, which may be that of the first, is not touched");
    assert!(matches!(init(to_file().filter("inof")), Err(InitError::Filter(_))));
    assert!(!tracing::enabled!(tracing::Level::INFO));
    assert_eq!(tracing::level_filters::LevelFilter::current(), tracing::level_filters::LevelFilter::WARN);
    info!("off");
    log.set_filter("info").unwrap();
    assert_eq!(log.filter(), "info");
    (0..1_000).for_each(|count| info!(count, "on"));
}

#[test]
fn what_waits_is_written_when_main_returns() {
    let directory = Directory::new("returns");
    assert!(run("child_returns_from_main", &directory.file("log")).success());
    assert_eq!(read(&directory.file("log")).len(), 1_000);
}

#[test]
#[ignore = "a process of another test"]
fn child_exits() {
    let (log, guard) = init(to_file()).unwrap();
    std::mem::forget(guard);
    (0..1_000).for_each(|count| info!(count, "on"));
    graceful_json_log::flush(LONG).unwrap();
    assert_eq!(log.stats().written, 1_000);
    std::process::exit(7);
}

#[test]
fn what_waits_is_written_before_exit() {
    let directory = Directory::new("exits");
    assert_eq!(run("child_exits", &directory.file("log")).code(), Some(7));
    assert_eq!(read(&directory.file("log")).len(), 1_000);
}

#[test]
#[ignore = "a process of another test"]
fn child_panics() {
    let (_log, guard) = init(to_file()).unwrap();
    std::mem::forget(guard);
    std::panic::set_hook({
        let ours = std::panic::take_hook();
        Box::new(move |panic| {
            (0..1_000).for_each(|count| info!(count, "on"));
            ours(panic);
            std::process::abort();
        })
    });
    panic!("the last");
}

#[test]
fn what_waits_is_written_by_the_last_panic() {
    let directory = Directory::new("panics");
    assert!(!run("child_panics", &directory.file("log")).success());
    assert_eq!(read(&directory.file("log")).len(), 1_000);
}

/// A value that logs while it is written.
struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!(of = "debug", "nested");
        f.write_str("chatty")
    }
}

#[test]
#[ignore = "a process of another test"]
fn child_logs_values_that_log() {
    // Only a global subscriber hears events within events.
    let (_log, _guard) = init(to_file()).unwrap();
    let span = info_span!("span", first = ?Chatty, later = field::Empty);
    let _entered = span.enter();
    span.record("later", field::debug(Chatty));
    info!(value = ?Chatty, "outer");
}

#[test]
fn a_value_may_log_itself() {
    let directory = Directory::new("chatty");
    assert!(run("child_logs_values_that_log", &directory.file("log")).success());
    let lines = read(&directory.file("log"));
    assert_eq!(lines.len(), 4, "one for the span, one for what it records, one for the event, and the event");
    let outer = lines.last().unwrap();
    for key in ["value", "first", "later"] {
        assert_eq!(outer[key], "chatty", "{key}");
    }
    assert_eq!((lines[2]["message"].as_str(), lines[2]["later"].as_str()), (Some("nested"), Some("chatty")));
}

#[test]
#[ignore = "a process of another test"]
fn child_logs_to_stdout() {
    let (log, _guard) = init(LogConfig::new()).unwrap();
    info!("to be read");
    log.flush(LONG).unwrap();
    while log.stats().errors == 0 {
        info!("to be lost");
        log.flush(Duration::from_millis(10)).unwrap();
    }
    let stats = log.stats();
    fs::write(log_file(), format!("{} {}", stats.written, stats.dropped)).unwrap();
    std::process::exit(0);
}

#[test]
fn a_process_lives_on_when_the_reader_of_its_output_is_gone() {
    use std::io::{BufRead, BufReader};
    let directory = Directory::new("stdout");
    let mut child = start("child_logs_to_stdout", &directory.file("stats"), Stdio::piped());
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let first = output.find(|line| line.starts_with('{')).unwrap();
    assert_eq!(line(&first)["message"], "to be read");
    drop(output);
    assert!(child.wait().unwrap().success(), "no SIGPIPE, no panic");
    let stats = fs::read_to_string(directory.file("stats")).unwrap();
    assert!(stats.split(' ').all(|count| count != "0"), "written and dropped: {stats}");
}

#[test]
#[ignore = "a process of another test"]
fn child_logs_for_people() {
    let (_log, _guard) = init(to_file().format(Format::Pretty)).unwrap();
    info_span!("request", id = 3).in_scope(|| info!(user = "ada", "hello"));
}

#[test]
fn for_people() {
    let directory = Directory::new("pretty");
    assert!(run("child_logs_for_people", &directory.file("log")).success());
    let text = fs::read_to_string(directory.file("log")).unwrap();
    assert!(text.contains("INFO request{id=3}:") && text.ends_with("hello user=\"ada\"\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file has no colours");
}
