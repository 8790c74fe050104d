//! The same meaning as the JSON of `tracing-subscriber`, over 100,000 generated events; and the same lines by the
//! subscriber as by the layer.

use std::{error::Error, fmt, thread};

use serde_json::Value;
use tracing::{Dispatch, Span, field, info_span};
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{Captured, LONG, Object, Random, json, line, open, without_time};
use graceful_json_log::JsonLayer;

const EVENTS: u64 = 100_000;
const THREADS: u64 = 2;

#[test]
fn means_the_same_as_the_json_of_tracing_subscriber() {
    let threads: Vec<_> = (0..THREADS).map(|seed| thread::spawn(move || compare(seed, EVENTS / THREADS))).collect();
    let compared: u64 = threads.into_iter().map(|thread| thread.join().expect("no difference")).sum();
    assert_eq!(compared, EVENTS);
}

fn compare(seed: u64, events: u64) -> u64 {
    let (ours, theirs) = (Captured::default(), Captured::default());
    let writer = open(ours.clone());
    let theirs_writer = theirs.clone();
    let peer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true)
        .with_writer(move || theirs_writer.clone());
    let registry = Dispatch::new(tracing_subscriber::registry().with(JsonLayer::new(writer.clone())).with(peer));
    let by_subscriber = Captured::default();
    let subscriber_writer = open(by_subscriber.clone());
    let subscriber = json(&subscriber_writer);
    let mut random = Random::new(seed);
    let mut compared = 0;
    while compared < events {
        let seed = random.next();
        for dispatch in [&registry, &subscriber] {
            let mut random = Random::new(seed);
            tracing::dispatcher::with_default(dispatch, || {
                for _ in 0..100 {
                    scene(&mut random);
                }
            });
        }
        writer.flush(LONG).unwrap();
        subscriber_writer.flush(LONG).unwrap();
        let (ours, theirs, by_subscriber) = (ours.take(), theirs.take(), by_subscriber.take());
        assert_eq!(ours.lines().count(), theirs.lines().count(), "one line an event");
        assert_eq!(ours.lines().count(), by_subscriber.lines().count());
        for ((ours, theirs), by_subscriber) in ours.lines().zip(theirs.lines()).zip(by_subscriber.lines()) {
            same(ours, theirs);
            assert_eq!(without_time(ours), without_time(by_subscriber), "the layer and the subscriber write the same");
            compared += 1;
        }
    }
    compared.min(events)
}

/// Some spans within each other, some events in them.
fn scene(random: &mut Random) {
    let depth = random.below(4);
    spans(random, depth);
}

fn spans(random: &mut Random, depth: u64) {
    for _ in 0..=random.below(2) {
        event(random);
    }
    if depth > 0 {
        let span = span(random);
        let _entered = span.enter();
        event(random);
        record(random, &span);
        spans(random, depth - 1);
    }
}

#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}

fn float(random: &mut Random) -> f64 {
    match random.below(6) {
        0 => f64::from_bits(random.next()),
        1 => f64::NAN,
        2 => [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300][random.below(5) as usize],
        3 => random.below(1_000_000) as f64 / 1000.0,
        4 => -(random.below(1_000) as f64),
        _ => random.next() as f64,
    }
}

fn signed(random: &mut Random) -> i64 {
    (random.next() >> random.below(64)) as i64
}

fn wide(random: &mut Random) -> u128 {
    (u128::from(random.next()) << 64 | u128::from(random.next())) >> random.below(128)
}

fn span(random: &mut Random) -> Span {
    match random.below(5) {
        0 => info_span!(
            "request",
            method = ["GET", "POST", "\"\\\n"][random.below(3) as usize],
            path = random.text(),
            request_id = random.next(),
            user = field::Empty,
        ),
        1 => {
            info_span!("job", id = signed(random), ratio = float(random), done = random.below(2) == 0, user = ?random.text())
        }
        2 => info_span!("empty"),
        3 => {
            info_span!("wide", low = -(wide(random) as i128 >> 1), high = wide(random), path = %random.text(), user = 1)
        }
        _ => info_span!(
            "shadows",
            method = random.text(),
            id = random.below(9),
            error = &Failure(random.text()) as &dyn Error
        ),
    }
}

fn record(random: &mut Random, span: &Span) {
    match random.below(6) {
        0 => drop(span.record("user", random.text().as_str())),
        1 => drop(span.record("user", signed(random))),
        2 => drop(span.record("path", field::display(random.text())).record("user", float(random))),
        3 => drop(span.record("id", field::debug((1, random.text())))),
        _ => {}
    }
}

fn event(random: &mut Random) {
    match random.below(8) {
        0 => tracing::info!("a literal"),
        1 => tracing::warn!(user = random.text(), "formatted {} {:?}", random.text(), random.text()),
        2 => tracing::error!(error = &Failure(random.text()) as &dyn Error, id = random.next()),
        3 => tracing::debug!(
            target: "a \"target\"\u{1}",
            number = signed(random),
            float = float(random),
            yes = random.below(2) == 0,
            none = None::<&str>,
            some = Some(random.next()),
        ),
        4 => tracing::trace!(wide = wide(random), low = -(wide(random) as i128 >> 1), method = random.text(), path = 1),
        5 => tracing::info!(debug = ?(random.text(), signed(random)), display = %random.text(), "both"),
        6 => tracing::info!("an \"odd\" name\n" = random.text(), dotted.name = float(random), user = false),
        _ => tracing::event!(
            tracing::Level::INFO,
            message = random.text(), method = "GET", path = random.text(), route = "/{id}", status = 200, duration_ms = float(random),
            bytes = random.next(), peer = %"::1", outcome = "complete",
        ),
    }
}

/// `ours` is the event's fields over those of the spans, the innermost first; `theirs` has a list of the spans.
fn same(ours_text: &str, theirs_text: &str) {
    let mut ours = line(ours_text);
    // Theirs may have a key twice; as for most readers, the last one counts.
    let mut event: Object = serde_json::from_str(theirs_text).expect("theirs is JSON");
    let mut theirs = Object::new();
    if let Some(Value::Array(spans)) = event.remove("spans") {
        for span in spans {
            let Value::Object(mut fields) = span else { panic!("no object: {span}") };
            fields.remove("name");
            theirs.extend(fields);
        }
    }
    theirs.extend(event);
    for object in [&mut ours, &mut theirs] {
        object.remove("timestamp");
    }
    for (key, theirs) in &mut theirs {
        // Theirs is a string of the digits, ours the number.
        if let (Some(Value::Number(number)), Value::String(digits)) = (ours.get(key), &*theirs) {
            assert!(
                ours_text.contains(&format!("{}:{digits}", Value::from(key.as_str()))),
                "all the digits of {digits}"
            );
            *theirs = Value::Number(number.clone());
        }
        // Theirs reads and writes what is in a span again when more is recorded, and is off by a bit each time.
        if let (Some(Value::Number(number)), Value::Number(near)) = (ours.get(key), &*theirs)
            && let (true, Some(number), Some(near)) = (number.is_f64(), number.as_f64(), near.as_f64())
            && (number - near).abs() <= number.abs() * 1e-14
        {
            *theirs = number.into();
        }
    }
    assert_eq!(ours, theirs, "\n{ours_text}\n{theirs_text}");
}
