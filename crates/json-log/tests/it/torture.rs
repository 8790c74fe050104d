//! Outputs that are slow, full, gone or broken; many threads; and every line accounted for.

use std::{
    io::{self, ErrorKind, Read, Write},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use graceful_json_log::{Format, LogConfig, LogStats, LogWriter, Output};
use tracing::{Dispatch, info, info_span};

use crate::support::{Captured, Gated, LONG, Object, Random, Scripted, Step, json, lines, open};

const THREADS: u64 = 8;

fn small(sink: impl Write + Send + 'static, capacity: usize) -> LogWriter {
    LogConfig::new().capacity(capacity).output(Output::Writer(Box::new(sink))).open().expect("a thread starts")
}

/// Eight threads log `each` lines, in requests and without.
fn storm(dispatch: &Dispatch, each: u64) -> u64 {
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let dispatch = dispatch.clone();
            thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    let mut random = Random::new(number);
                    for count in 0..each {
                        let text = random.text();
                        info_span!("request", path = text.as_str()).in_scope(|| info!(number, count, text, "storm"));
                    }
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    THREADS * each
}

/// The storm's lines and, summed up, the losses that the log tells of.
fn account(text: &str) -> (Vec<Object>, u64) {
    let (told, stormed): (Vec<_>, Vec<_>) =
        lines(text).into_iter().partition(|line| line["target"] == "graceful_json_log");
    let told = told.iter().map(|line| {
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("WARN"), Some("log lines dropped")));
        line["dropped"].as_u64().expect("a number")
    });
    let mut last = [None; THREADS as usize];
    for line in &stormed {
        let (number, count) = (line["number"].as_u64().unwrap() as usize, line["count"].as_u64());
        assert!(count > last[number], "the lines of a thread keep their order, and none comes twice");
        last[number] = count;
    }
    (stormed, told.sum())
}

/// Waits until all is written, with a sink that fails now and then: each try wakes the thread from its pause.
fn flush(writer: &LogWriter) {
    while writer.flush(Duration::from_millis(5)).is_err() {}
}

/// How often the calling thread has given up its core of its own will: to wait for a lock, for a descriptor, for time.
#[cfg(target_os = "linux")]
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    waits.and_then(|number| number.trim().parse().ok()).expect("Linux counts them")
}

/// However slow the machine: not how long it took is asked, but whether it ever slept.
#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_logs_never_waits_for_the_output() {
    let waited = || {
        let gated = Gated::default();
        let writer = small(gated.clone(), 1 << 20);
        let waited = tracing::dispatcher::with_default(&json(&writer), || {
            let log = |lines: u64| (0..lines).for_each(|count| info!(number = 0, count, "line"));
            // Until the writer's thread hangs in its first write, it may meet us at a lock.
            log(1);
            while !gated.waited_for() {
                thread::yield_now();
            }
            let before = waits();
            log(50_000);
            waits() - before
        });
        assert!(writer.stats().dropped > 0, "10,000 of them fit");
        gated.open();
        waited
    };
    // Memory that is touched for the first time may wait for a test on another thread that asks for some.
    assert!((0..20).any(|_| waited() == 0), "50,000 lines to an output that hangs, and not one wait");
}

#[test]
fn eight_threads_and_an_output_that_hangs() {
    let gated = Gated::default();
    let writer = small(gated.clone(), 1 << 20);
    let dispatch = json(&writer);
    // It comes back though not one write does: no thread that logs waits for the output.
    let logged = storm(&dispatch, 10_000);
    assert!(writer.flush(Duration::ZERO).is_err(), "and whoever waits is told when it is over");
    gated.open();
    writer.flush(LONG).expect("the gate is open");
    let LogStats { written, dropped, .. } = writer.stats();
    assert!(dropped > 0, "1 MiB is too little for all of them");
    assert_eq!(written + dropped, logged, "every line is written or counted");
    let (stormed, told) = account(&gated.captured.text());
    assert_eq!((stormed.len() as u64, told), (written, dropped), "the log itself has the same account");
}

#[test]
fn eight_threads_and_an_output_that_fails_in_every_way() {
    let mut random = Random::new(3);
    let steps = (0..2_000).map(move |_| match random.below(20) {
        0 => Step::Fail(ErrorKind::StorageFull),
        1 => Step::Fail(ErrorKind::Interrupted),
        2 => Step::Fail(ErrorKind::WouldBlock),
        3 => Step::Take(0),
        4 => Step::Fail(ErrorKind::Other),
        _ => Step::Take(random.below(3_000) as usize + 1),
    });
    let sink = Scripted::new(steps);
    let writer = open(sink.clone());
    let logged = storm(&json(&writer), 2_000);
    flush(&writer);
    let LogStats { written, dropped, errors, .. } = writer.stats();
    assert!(errors > 0);
    assert_eq!(written + dropped, logged);
    let (stormed, told) = account(&sink.captured.text());
    assert_eq!((stormed.len() as u64, told), (written, dropped));
    assert!(sink.captured.text().ends_with("}\n"), "no line is left half");
}

#[test]
fn a_sink_that_panics_is_an_output_that_fails() {
    let sink = Scripted::new([Step::Take(10), Step::Panic]);
    let writer = open(sink.clone());
    tracing::dispatcher::with_default(&json(&writer), || info!("kept"));
    flush(&writer);
    assert_eq!(lines(&sink.captured.text())[0]["message"], "kept");
    assert_eq!(writer.stats().errors, 1);
}

#[test]
fn what_a_broken_pipe_loses_is_counted_and_told_to_the_next_reader() {
    let log = |number: u64| info!(number = 0, count = number, "line");
    // A line and a half, and the reader goes; comes again; goes while it is told of the loss; comes again.
    let sink = Scripted::new([]);
    let writer = open(sink.clone());
    let dispatch = json(&writer);
    tracing::dispatcher::with_default(&dispatch, || {
        let script = |steps: Vec<Step>| sink.steps.lock().unwrap().extend(steps);
        log(0);
        writer.flush(LONG).unwrap();
        let length = sink.captured.text().len();
        script(vec![Step::Take(length / 2), Step::Fail(ErrorKind::BrokenPipe), Step::Fail(ErrorKind::BrokenPipe)]);
        log(1);
        writer.flush(LONG).expect("nothing is waited for where nobody reads");
        assert_eq!((writer.stats().written, writer.stats().dropped), (1, 1), "a line that is half there is lost");
        writer.flush(LONG).unwrap();
        log(2);
        writer.flush(LONG).unwrap();
        assert_eq!((writer.stats().written, writer.stats().dropped), (1, 2));
        // What is torn first, then a line and half of what tells of the losses.
        script(vec![Step::Take(usize::MAX), Step::Take(length + 20), Step::Fail(ErrorKind::BrokenPipe)]);
        log(3);
        writer.flush(LONG).unwrap();
        assert_eq!((writer.stats().written, writer.stats().dropped), (2, 2));
        log(4);
        writer.flush(LONG).unwrap();
    });
    let LogStats { written, dropped, .. } = writer.stats();
    assert_eq!((written, dropped), (3, 2));
    // The torn line 1 is completed by its second half, and so is the torn line that tells.
    let text = sink.captured.text();
    let (told, counts): (Vec<_>, Vec<_>) = lines(&text).into_iter().partition(|line| line.contains_key("dropped"));
    let counts: Vec<_> = counts.iter().map(|line| line["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 1, 3, 4]);
    assert!(told.iter().all(|line| line["dropped"] == 2), "{text}");
}

#[test]
fn a_pipe_that_is_closed() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let writer = open(pipe);
    let dispatch = json(&writer);
    tracing::dispatcher::with_default(&dispatch, || info!(number = 0, "read"));
    writer.flush(LONG).unwrap();
    let mut some = vec![0; 4096];
    let length = reader.read(&mut some).unwrap();
    assert_eq!(lines(std::str::from_utf8(&some[..length]).unwrap()).len(), 1);
    drop(reader);
    let logged = 1 + storm(&dispatch, 1_000);
    writer.flush(LONG).expect("it does not hang");
    let stats = writer.stats();
    assert_eq!((stats.written, stats.dropped), (1, logged - 1), "all others are lost, and counted");
    assert!(stats.errors > 0);
}

#[test]
fn a_pipe_that_nobody_reads() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let writer = small(pipe, 256 << 10);
    let logged = storm(&json(&writer), 2_000);
    assert!(writer.flush(Duration::ZERO).is_err(), "64 KiB are in the pipe");
    let read = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    writer.flush(LONG).unwrap();
    let stats = writer.stats();
    assert_eq!(stats.written + stats.dropped, logged);
    drop(writer);
    let (stormed, told) = account(&read.join().unwrap().expect("the pipe ends when nobody can log any more"));
    assert_eq!((stormed.len() as u64, told), (stats.written, stats.dropped));
}

#[test]
fn a_pipe_that_does_not_block_is_no_slower_for_it() {
    // Its reader is well, but it takes no more at once than it holds.
    let steps = (0..40).flat_map(|_| [Step::Take(100), Step::Fail(ErrorKind::WouldBlock)]);
    let sink = Scripted::new(steps);
    let writer = open(sink.clone());
    tracing::dispatcher::with_default(&json(&writer), || (0..100).for_each(|count| info!(number = 0, count, "line")));
    // Were each pause twice as long as the one before, up to a second, it would take half a minute.
    writer.flush(Duration::from_secs(10)).expect("it goes on as soon as there is room");
    assert_eq!((lines(&sink.captured.text()).len(), writer.stats().errors), (100, 40));
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full() {
    let config = LogConfig::new().capacity(128 << 10).output(Output::File(PathBuf::from("/dev/full")));
    let writer = config.open().unwrap();
    let logged = storm(&json(&writer), 1_000);
    while writer.stats().errors < 3 {
        assert!(writer.flush(Duration::from_millis(1)).is_err(), "it says so");
    }
    let stats = writer.stats();
    assert_eq!(stats.written, 0);
    assert!(stats.dropped > 0 && stats.dropped < logged, "the oldest still wait for room");
}

#[test]
fn lines_keep_their_order_from_thread_to_thread() {
    const TURNS: u64 = 20_000;
    let captured = Captured::default();
    let writer = open(captured.clone());
    let dispatch = json(&writer);
    // A token goes round: whoever has it logs.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel::<u64>()).unzip();
    senders[0].send(0).unwrap();
    thread::scope(|scope| {
        for (at, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(at + 1) % senders.len()].clone();
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    while let Ok(turn) = receiver.recv() {
                        if turn < TURNS {
                            info!(turn);
                        }
                        let _ = next.send(turn + 1);
                        if turn >= TURNS {
                            break;
                        }
                    }
                });
            });
        }
    });
    writer.flush(LONG).unwrap();
    let turns: Vec<_> = lines(&captured.text()).iter().map(|line| line["turn"].as_u64().unwrap()).collect();
    assert!(turns.iter().copied().eq(0..TURNS), "in the order of their times, whichever thread they are from");
}

#[test]
fn nobody_has_to_flush() {
    struct Telling(mpsc::Sender<()>);
    impl Write for Telling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, written) = mpsc::channel();
    let writer = open(Telling(sender));
    tracing::dispatcher::with_default(&json(&writer), || {
        for _ in 0..50 {
            info!("wakes the thread, however deep it sleeps");
            written.recv_timeout(LONG).expect("it is written without being asked for");
        }
    });
    drop(writer);
    let disconnected = written.recv_timeout(LONG);
    assert_eq!(disconnected, Err(mpsc::RecvTimeoutError::Disconnected), "without loggers the thread ends");
}

#[test]
fn the_last_lines_are_written_though_nobody_can_log_any_more() {
    // Nor does it matter that the output has no room at the moment.
    let sink = Scripted::new((0..50).flat_map(|_| [Step::Take(1_000), Step::Fail(ErrorKind::WouldBlock)]));
    let (ended, end) = mpsc::channel::<()>();
    struct Ends(Scripted, #[expect(dead_code, reason = "its drop tells the end")] mpsc::Sender<()>);
    impl Write for Ends {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writer = open(Ends(sink.clone(), ended));
    let logged = storm(&json(&writer), 100);
    drop(writer);
    assert_eq!(end.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(lines(&sink.captured.text()).len() as u64, logged);
}

#[test]
fn a_guard_flushes_and_gives_up_in_time() {
    let captured = Captured::default();
    let writer = open(captured.clone());
    let guard = writer.guard(LONG);
    tracing::dispatcher::with_default(&json(&writer), || info!("last"));
    drop(guard);
    assert_eq!(lines(&captured.text()).len(), 1);

    let gated = Gated::default();
    let writer = open(gated.clone());
    let guard = writer.guard(Duration::from_millis(1));
    tracing::dispatcher::with_default(&json(&writer), || info!("never"));
    drop(guard);
    assert_eq!(writer.stats().written, 0, "the output hangs, the program ends");
    gated.open();
}

#[test]
fn other_formats_write_whole_lines_too() {
    use tracing_subscriber::layer::SubscriberExt;
    let gated = Gated::default();
    let config = LogConfig::new().format(Format::Pretty).capacity(64 << 10);
    let writer = config.output(Output::Writer(Box::new(gated.clone()))).open().unwrap();
    let pretty = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer.clone());
    let logged = storm(&Dispatch::new(tracing_subscriber::registry().with(pretty)), 500);
    gated.open();
    writer.flush(LONG).unwrap();
    let stats = writer.stats();
    assert_eq!(stats.written + stats.dropped, logged);
    let text = gated.captured.text();
    let told = text
        .lines()
        .filter_map(|line| line.strip_suffix(" log lines dropped")?.split(' ').next_back()?.parse::<u64>().ok());
    assert_eq!(told.sum::<u64>(), stats.dropped, "told in the same format");
}
