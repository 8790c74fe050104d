//! What a line says.

use std::{error::Error, fmt, thread};

use serde_json::{Value, json};
use tracing::{field, info, info_span};

use crate::support::{Captured, LONG, Object, json as subscriber, line, lines, logged, open};

/// The one line that is logged, without its time.
fn one(log: impl Fn()) -> Object {
    let mut lines = logged(log);
    assert_eq!(lines.len(), 1, "one event, one line");
    lines[0].remove("timestamp");
    lines.remove(0)
}

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("no object: {value}") };
    object
}

#[test]
fn a_line_reads_from_left_to_right() {
    let captured = Captured::default();
    let writer = open(captured.clone());
    tracing::dispatcher::with_default(&subscriber(&writer), || {
        let outer = info_span!("connection", peer = "::1");
        let _outer = outer.enter();
        let request = info_span!("request", method = "GET", path = "/");
        request.in_scope(|| info!(target: "shop", user = 42, "hello {}", "you"));
    });
    writer.flush(LONG).unwrap();
    let text = captured.text();
    let (time, rest) = text.split_at(r#"{"timestamp":"2006-01-02T15:04:05.123456Z""#.len());
    let expected = concat!(
        r#","level":"INFO","target":"shop","message":"hello you","user":42,"method":"GET","path":"/","peer":"::1"}"#,
        "\n"
    );
    assert_eq!(rest, expected, "time, level, target, message, event's fields, inner span's, outer span's");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, r#"{"timestamp":"0000-00-00T00:00:00.000000Z""#, "RFC 3339, UTC, microseconds");
}

#[test]
fn every_kind_of_value() {
    let line = one(|| {
        info!(
            text = "a \"b\" \\ \n \u{0} \u{2028} é",
            yes = true,
            no = false,
            unsigned = u64::MAX,
            signed = i64::MIN,
            small = -3i8,
            wide = u128::MAX,
            low = i128::MIN,
            float = 0.1,
            whole = 2.0,
            nan = f64::NAN,
            infinite = f64::INFINITY,
            debug = ?Some("x"),
            display = %1.5,
            bytes = &[0xdeu8, 0xad][..],
            none = None::<u64>,
            some = Some(7),
            empty = field::Empty,
        );
    });
    let expected = json!({
        "level": "INFO",
        "target": module_path!(),
        "text": "a \"b\" \\ \n \u{0} \u{2028} é",
        "yes": true,
        "no": false,
        "unsigned": u64::MAX,
        "signed": i64::MIN,
        "small": -3,
        "wide": u128::MAX as f64,
        "low": i128::MIN as f64,
        "float": 0.1,
        "whole": 2.0,
        "nan": null,
        "infinite": null,
        "debug": "Some(\"x\")",
        "display": "1.5",
        "bytes": "[de ad]",
        "some": 7,
    });
    assert_eq!(line, object(expected));
}

#[test]
fn a_wide_number_keeps_its_digits() {
    let captured = Captured::default();
    let writer = open(captured.clone());
    tracing::dispatcher::with_default(&subscriber(&writer), || info!(wide = u128::MAX, low = i128::MIN));
    writer.flush(LONG).unwrap();
    let text = captured.text();
    assert!(text.contains(&format!(r#""wide":{},"low":{}"#, u128::MAX, i128::MIN)), "{text}");
}

#[derive(Debug)]
struct Layered(&'static str, Option<Box<Layered>>);

impl fmt::Display for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Layered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|error| error as _)
    }
}

#[test]
fn an_error_brings_its_sources() {
    let error = Layered("no \"config\"", Some(Box::new(Layered("open", Some(Box::new(Layered("denied", None)))))));
    let line = one(|| info!(error = &error as &dyn Error));
    assert_eq!(line["error"], "no \"config\": open: denied");
}

#[test]
fn an_error_that_is_its_own_source_has_an_end() {
    #[derive(Debug)]
    struct Circle;
    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }
    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&Circle)
        }
    }
    let line = one(|| info!(error = &Circle as &dyn Error));
    assert!(line["error"].as_str().unwrap().len() < 1_000, "the chain is cut");
}

#[test]
fn each_key_stands_once_and_the_nearest_value_wins() {
    let line = one(|| {
        let outer = info_span!("outer", who = "outer", path = "/outer", peer = "::1").entered();
        let inner = info_span!("inner", who = "inner", path = "/inner", id = 1).entered();
        info!(who = "event", mine = true);
        drop((inner, outer));
    });
    let expected = json!({
        "level": "INFO", "target": module_path!(), "who": "event", "mine": true, "path": "/inner", "id": 1, "peer": "::1",
    });
    assert_eq!(line, object(expected));
}

#[test]
fn what_is_recorded_last_wins() {
    let line = one(|| {
        let span = info_span!("request", a = 1, user = field::Empty, b = "x", a = 2);
        span.record("user", "ada");
        span.record("b", "longer than before");
        span.record("user", "bob");
        let _entered = span.enter();
        info!(c = 1, d = true, c = "again", "said");
    });
    let expected = json!({
        "level": "INFO", "target": module_path!(), "message": "said", "c": "again", "d": true,
        "a": 2, "user": "bob", "b": "longer than before",
    });
    assert_eq!(line, object(expected));
}

#[test]
fn a_span_without_fields_may_get_some() {
    let line = one(|| {
        let span = info_span!("request", user = field::Empty);
        let _entered = span.enter();
        span.record("user", "ada");
        info!("said");
    });
    assert_eq!(line["user"], "ada");
}

#[test]
fn a_field_of_an_outer_span_that_comes_later_is_there() {
    let line = one(|| {
        let outer = info_span!("outer", user = field::Empty);
        let _outer = outer.enter();
        let _inner = info_span!("inner", id = 1).entered();
        outer.record("user", "ada");
        info!("said");
    });
    assert_eq!((&line["user"], &line["id"]), (&json!("ada"), &json!(1)));
}

#[test]
fn the_lines_own_keys_are_not_for_fields() {
    let line = one(|| {
        let _span = info_span!("span", level = "span", message = "of the span", target = "span").entered();
        info!(timestamp = 1, level = 2, target = "t", "mine");
    });
    let expected = json!({
        "level": "INFO", "target": module_path!(), "message": "mine",
        "field.timestamp": 1, "field.level": 2, "field.target": "t", "field.message": "of the span",
    });
    assert_eq!(line, object(expected));
}

#[test]
fn names_are_escaped_and_raw_ones_are_plain() {
    let line = one(|| info!("a \"quoted\" \u{7f} name" = 1, r#type = "raw", dotted.name = 2));
    assert_eq!(
        (&line["a \"quoted\" \u{7f} name"], &line["type"], &line["dotted.name"]),
        (&json!(1), &json!("raw"), &json!(2))
    );
}

#[test]
fn a_name_may_be_of_any_length() {
    let line = one(|| info!(twenty_eight_bytes_long_name = 1, twenty_nine_bytes_and_a_number = 2, a = 3));
    let twice = one(|| {
        let _span = info_span!("span", twenty_nine_bytes_and_a_number = 1, twenty_eight_bytes_long_name = 1).entered();
        info!(twenty_nine_bytes_and_a_number = 2, twenty_nine_bytes_and_a_number = 3);
    });
    for (key, value) in [("twenty_eight_bytes_long_name", 1), ("twenty_nine_bytes_and_a_number", 2), ("a", 3)] {
        assert_eq!(line[key], value);
    }
    assert_eq!((&twice["twenty_nine_bytes_and_a_number"], twice.len()), (&json!(3), 4));
}

#[test]
fn a_span_with_much_in_it() {
    let long = "ü".repeat(1_000);
    let line = one(|| {
        let span = info_span!(
            "wide",
            a1 = 1,
            a2 = 2,
            a3 = 3,
            a4 = 4,
            a5 = 5,
            a6 = 6,
            a7 = 7,
            a8 = 8,
            a9 = 9,
            a10 = 10,
            a11 = 11,
            long = long.as_str(),
            last = true,
        );
        let _entered = span.enter();
        info!(a3 = "event", a11 = "event");
    });
    assert_eq!(line.len(), 15, "13 of the span, level and target");
    assert_eq!((&line["a3"], &line["a11"], &line["a10"]), (&json!("event"), &json!("event"), &json!(10)));
    assert_eq!((&line["long"], &line["last"]), (&json!(long), &json!(true)));
}

#[test]
fn much_may_be_recorded_later() {
    let long = "ü".repeat(1_000);
    let line = one(|| {
        let span = info_span!("job", id = 1, input = field::Empty, output = field::Empty, user = field::Empty);
        span.record("input", long.as_str());
        span.record("output", long.as_str()).record("user", "ada");
        span.record("input", "short");
        span.in_scope(|| info!("said"));
    });
    assert_eq!((&line["id"], &line["input"], &line["user"]), (&json!(1), &json!("short"), &json!("ada")));
    assert_eq!((&line["output"], line.len()), (&json!(long), 7));
}

#[test]
fn the_parent_of_an_event_is_its_span() {
    let lines = logged(|| {
        let named = info_span!("named", id = 1);
        let _current = info_span!("current", id = 2).entered();
        info!(parent: &named, "named");
        info!(parent: None, "none");
        info!("current");
    });
    let ids: Vec<_> = lines.iter().map(|line| line.get("id").and_then(Value::as_u64)).collect();
    assert_eq!(ids, [Some(1), None, Some(2)]);
}

#[test]
fn a_value_may_panic_and_the_next_line_is_whole() {
    struct Panics;
    impl fmt::Debug for Panics {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            panic!("in a value");
        }
    }
    let lines = logged(|| {
        let span = info_span!("span", later = field::Empty);
        let _entered = span.enter();
        for _ in 0..2 {
            let panicked = std::panic::catch_unwind(|| info!(value = ?Panics, "never written"));
            assert!(panicked.is_err());
            let record = std::panic::AssertUnwindSafe(|| span.record("later", field::debug(Panics)).is_disabled());
            assert!(std::panic::catch_unwind(record).is_err());
        }
        info!("after");
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["message"], "after");
}

#[test]
fn a_value_may_log_itself() {
    struct Logs;
    impl fmt::Debug for Logs {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!(inner = true, "from a value");
            info_span!("of a value", inner = 1).in_scope(|| drop(tracing::Span::current().record("inner", 2).clone()));
            f.write_str("said")
        }
    }
    let lines = logged(|| {
        let span = info_span!("span", now = ?Logs, later = field::Empty);
        let _entered = span.enter();
        span.record("later", field::debug(Logs));
        info!(value = ?Logs, "last");
    });
    // Of the three that its values log, `tracing` lets one through to a subscriber that is not the global one.
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["from a value", "last"]);
    let last = &lines[1];
    assert_eq!((&last["value"], &last["now"], &last["later"]), (&json!("said"), &json!("said"), &json!("said")));
}

#[test]
fn a_value_that_fails_is_as_long_as_it_got() {
    struct Fails;
    impl fmt::Display for Fails {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }
    let line = one(|| info!(value = %Fails, after = 1));
    assert_eq!((&line["value"], &line["after"]), (&json!("half"), &json!(1)));
}

#[test]
fn two_logs_share_a_registry() {
    use graceful_json_log::JsonLayer;
    use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, reload};
    let (all, some) = (Captured::default(), Captured::default());
    let (to_all, to_some) = (open(all.clone()), open(some.clone()));
    let (reloadable, handle) = reload::Layer::new(JsonLayer::new(to_all.clone()));
    let only_shop = filter_fn(|metadata| metadata.target() == "shop");
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new("info"))
        .with(reloadable)
        .with(JsonLayer::new(to_some.clone()).with_filter(only_shop));
    tracing::subscriber::with_default(subscriber, || {
        let _hidden = info_span!("hidden", secret = 1).entered();
        let _shop = info_span!(target: "shop", "shop", id = 2).entered();
        info!(target: "shop", "sold");
        info!("other");
        tracing::debug!(target: "shop", "off");
        handle.reload(JsonLayer::new(to_some.clone())).unwrap();
        info!(target: "shop", "twice");
    });
    to_all.flush(LONG).unwrap();
    to_some.flush(LONG).unwrap();
    let (all, some) = (lines(&all.text()), lines(&some.text()));
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0]["secret"], &all[0]["id"], &all[1]["message"]), (&json!(1), &json!(2), &json!("other")));
    assert_eq!(some.len(), 3, "sold, and twice");
    assert_eq!(
        (some[0].get("secret"), &some[0]["id"]),
        (None, &json!(2)),
        "the span that its filter hides is not there"
    );
}

#[test]
fn a_thread_that_ends_may_log() {
    struct LogsLast;
    impl Drop for LogsLast {
        fn drop(&mut self) {
            info!("last words");
        }
    }
    thread_local!(static LAST: LogsLast = const { LogsLast });
    let captured = Captured::default();
    let writer = open(captured.clone());
    let dispatch = subscriber(&writer);
    thread::spawn(move || {
        LAST.with(|_| ());
        // Never given back: it is still the thread's subscriber when the thread's values are dropped.
        std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        info!("first");
    })
    .join()
    .expect("no panic in a thread that ends");
    writer.flush(LONG).unwrap();
    for text in captured.text().lines() {
        line(text);
    }
}

#[test]
fn the_promised_traits() {
    fn all<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
    all::<graceful_json_log::JsonLayer>();
    fn subscriber<T: Send + Sync + fmt::Debug + 'static>() {}
    subscriber::<graceful_json_log::JsonSubscriber>();
    all::<graceful_json_log::LogWriter>();
    all::<graceful_json_log::LogHandle>();
    all::<graceful_json_log::LiveFilter>();
    fn error<T: Error + Send + Sync + 'static>() {}
    error::<graceful_json_log::InitError>();
    error::<graceful_json_log::FilterError>();
    error::<graceful_json_log::NotFlushed>();
}
