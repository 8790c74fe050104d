//! A line without an event is the line that the event would have been, or there is none.

use std::{
    error::Error,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use graceful_json_log::{JsonLayer, JsonSubscriber, LineFields, LiveFilter, LogWriter, write_line};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    callsite::DefaultCallsite,
    dispatcher::with_default,
    field::{Field, Value, Visit},
    info_span,
    metadata::Kind,
};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::{Captured, LONG, Random, line, open, whole, without_time};

/// What a line has: of each kind one, or none.
#[derive(Debug)]
struct Values {
    text: Option<String>,
    other: Option<String>,
    unsigned: Option<u64>,
    signed: Option<i64>,
    float: Option<f64>,
    wide: Option<u128>,
    long: Option<i128>,
    bool: Option<bool>,
    shown: Option<Shown>,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Shown(String);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For both ways.
trait Both {
    fn put(&self, field: &Field, line: &mut LineFields<'_>);
    fn value(&self) -> impl Value;
}

macro_rules! both {
    ($kind:ty, $value:ident => $event:expr, $record:ident($recorded:expr)) => {
        impl Both for Option<$kind> {
            fn put(&self, field: &Field, line: &mut LineFields<'_>) {
                self.iter().for_each(|$value| line.$record(field, $recorded));
            }

            fn value(&self) -> impl Value {
                self.as_ref().map(|$value| $event)
            }
        }
    };
}
both!(String, value => value.as_str(), record_str(value));
both!(u64, value => *value, record_u64(*value));
both!(i64, value => *value, record_i64(*value));
both!(f64, value => *value, record_f64(*value));
both!(u128, value => *value, record_u128(*value));
both!(i128, value => *value, record_i128(*value));
both!(bool, value => *value, record_bool(*value));
both!(Shown, value => tracing::field::display(value), record_debug(&format_args!("{value}")));
both!(io::Error, value => value as &(dyn Error + 'static), record_error(value));

impl Values {
    fn any(random: &mut Random) -> Self {
        fn some<T>(random: &mut Random, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
            (random.below(5) > 0).then(|| value(random))
        }
        fn text(random: &mut Random) -> String {
            match random.below(8) {
                0 => random.text(),
                1 => "x".repeat(random.below(300) as usize),
                // About as much as the line has room for.
                2 => "y".repeat((3_700 + random.below(500)) as usize),
                _ => "/api/work/and/more"[..random.below(19) as usize].into(),
            }
        }
        fn number(random: &mut Random) -> u64 {
            random.next() >> random.below(64)
        }
        // What is out of the ordinary is rare, so that there is something before and behind it.
        let odd = random.below(3) == 0;
        Self {
            text: some(random, text),
            other: some(random, text),
            unsigned: some(random, number),
            signed: some(random, |random| number(random).cast_signed()).filter(|number| odd || *number >= 0),
            float: some(random, |random| random.below(1 << 40) as f64 / 1000.0),
            wide: some(random, |random| u128::from(random.next()) << 32).filter(|_| odd),
            long: some(random, |random| -i128::from(random.next())).filter(|_| odd),
            bool: some(random, |random| random.below(2) == 0).filter(|_| odd),
            shown: some(random, text).map(Shown).filter(|_| odd),
            error: some(random, text).filter(|_| odd).map(io::Error::other),
        }
    }
}

/// A place in the code that logs, either way.
macro_rules! place {
    ($place:ident, $target:expr, $level:expr, { $($key:literal = $value:ident),* $(,)? }) => {
        fn $place(values: &Values, directly: bool) {
            static CALLSITE: DefaultCallsite = DefaultCallsite::new(&PLACE);
            static PLACE: Metadata<'static> = tracing::metadata! {
                name: "place", target: $target, level: $level, fields: &[$($key),*], callsite: &CALLSITE,
                kind: Kind::EVENT,
            };
            if directly {
                let mut fields = PLACE.fields().iter();
                let written = write_line(&CALLSITE, |line| {
                    $(Both::put(&values.$value, &fields.next().unwrap(), line);)*
                });
                assert!(written, "this thread's events go nowhere else");
            } else {
                tracing::event!(target: $target, $level, { $($key = Both::value(&values.$value)),* });
            }
        }
    };
}
place!(ordinary, "shop", Level::INFO, {
    "message" = text, "method" = other, "status" = unsigned, "a" = signed, "took_ms" = float, "wide" = wide,
    "long" = long, "bool" = bool, "shown" = shown, "error" = error, "path" = text, "bytes" = unsigned, "user" = other,
});
place!(odd_keys, "shop", Level::WARN, {
    "message" = text, "timestamp" = other, "r#type" = unsigned, "type" = text, "level" = float, "shown" = shown,
    "a_key_that_is_longer_than_most_keys_are" = other, "user" = unsigned,
});
place!(long_target, "a::target::that::is::a::long::path::as::those::of::generated::code::often::are", Level::ERROR, {
    "user" = other, "status" = unsigned,
});

fn lines_of(log: impl FnOnce()) -> String {
    lines_through("trace", log)
}

fn lines_through(filter: &str, log: impl FnOnce()) -> String {
    let captured = Captured::default();
    let writer = open(captured.clone());
    let log_of = JsonSubscriber::new(writer.clone()).into_dispatch(LiveFilter::new(filter).unwrap());
    with_default(&log_of, log);
    writer.flush(LONG).unwrap();
    captured.text()
}

/// Without spans, in one, and in two with keys of the line, of each other and of their own.
fn in_spans(values: &Values, directly: bool) {
    for place in [ordinary, odd_keys, long_target] {
        place(values, directly);
        info_span!("request", method = "GET", path = "/", id = 7, user = "ada").in_scope(|| place(values, directly));
        info_span!("first", id = 8, message = "m").in_scope(|| {
            let text = values.text.as_deref();
            info_span!("many", a = 1, b = 2, status = 3, c = 4, d = 5, took_ms = 6, e = 7, f = 8, g = text, id = 9)
                .in_scope(|| place(values, directly));
            info_span!("full", text = values.other.as_deref()).in_scope(|| place(values, directly));
            place(values, directly);
        });
        info_span!("none of it").in_scope(|| place(values, directly));
    }
}

#[test]
fn both_ways_write_the_same_bytes() {
    let mut random = Random::new(3);
    for _ in 0..300 {
        let values = Values::any(&mut random);
        let [event, direct] = [false, true].map(|directly| lines_of(|| in_spans(&values, directly)));
        assert_eq!(event.lines().count(), 3 * 6);
        for (event, direct) in event.lines().zip(direct.lines()) {
            assert_eq!(without_time(event), without_time(direct), "{values:?}");
            line(direct);
        }
        assert_eq!(event.lines().count(), direct.lines().count());
    }
}

#[test]
fn so_they_do_wherever_the_room_ends() {
    let mut values = Values { text: None, other: None, ..Values::any(&mut Random::new(1)) };
    place!(edge, "shop", Level::INFO, { "text" = text, "user" = other });
    let [event, direct] = [false, true].map(|directly| {
        lines_of(|| {
            for length in 3_900..4_150 {
                values.text = Some("x".repeat(length));
                for other in [None, Some("ada"), Some("a text of some length")] {
                    values.other = other.map(Into::into);
                    edge(&values, directly);
                    info_span!("request", id = 7).in_scope(|| edge(&values, directly));
                }
            }
        })
    });
    assert_eq!(event.lines().count(), 250 * 3 * 2);
    assert!(event.lines().map(without_time).eq(direct.lines().map(without_time)));
}

#[test]
fn so_they_do_where_there_are_more_names_than_bits() {
    let values = Values::any(&mut Random::new(5));
    let [event, direct] = [false, true].map(|directly| {
        lines_of(|| {
            let span = info_span!(
                "names",
                n00 = 0,
                n01 = 0,
                n02 = 0,
                n03 = 0,
                n04 = 0,
                n05 = 0,
                n06 = 0,
                n07 = 0,
                n08 = 0,
                n09 = 0,
                n10 = 0,
                n11 = 0,
                n12 = 0,
                n13 = 0,
                n14 = 0,
                n15 = 0,
                n16 = 0,
                n17 = 0,
                n18 = 0,
                n19 = 0,
                n20 = 0
            );
            let span = span.in_scope(|| {
                info_span!(
                    "more names",
                    n30 = 0,
                    n31 = 0,
                    n32 = 0,
                    n33 = 0,
                    n34 = 0,
                    n35 = 0,
                    n36 = 0,
                    n37 = 0,
                    n38 = 0,
                    n39 = 0,
                    n40 = 0,
                    n41 = 0,
                    n42 = 0,
                    n43 = 0,
                    n44 = 0,
                    n45 = 0,
                    n46 = 0,
                    n47 = 0,
                    n48 = 0,
                    n49 = 0
                )
            });
            let span = span.in_scope(|| {
                info_span!(
                    "yet more",
                    n50 = 0,
                    n51 = 0,
                    n52 = 0,
                    n53 = 0,
                    n54 = 0,
                    n55 = 0,
                    n56 = 0,
                    n57 = 0,
                    n58 = 0,
                    n59 = 0,
                    n60 = 0,
                    n61 = 0,
                    n62 = 0,
                    n63 = 0,
                    n64 = 0,
                    n65 = 0,
                    n66 = 0,
                    n67 = 0,
                    n68 = 0,
                    n69 = 0
                )
            });
            place!(late, "shop", Level::INFO, { "n69" = unsigned, "latest" = text, "n00" = float });
            span.in_scope(|| {
                late(&values, directly);
                ordinary(&values, directly);
            });
        })
    });
    assert_eq!(event.lines().count(), 2);
    assert!(event.lines().map(without_time).eq(direct.lines().map(without_time)), "{event}{direct}");
    direct.lines().for_each(|direct| drop(line(direct)));
}

#[test]
fn the_filter_has_its_say() {
    let values = Values::any(&mut Random::new(9));
    // One that lets everything through, so that these are asked about each line.
    let elsewhere = open(io::sink());
    let _elsewhere = whole(&elsewhere);
    for (filter, lines) in
        [("off", 0), ("error", 0), ("warn", 6), ("warn,shop=info", 12), ("warn,[request]=info", 7), ("info", 12)]
    {
        let in_spans = |directly| {
            for place in [ordinary, odd_keys] {
                for _ in 0..5 {
                    place(&values, directly);
                }
                info_span!("request").in_scope(|| place(&values, directly));
            }
        };
        let [event, direct] = [false, true].map(|directly| lines_through(filter, || in_spans(directly)));
        assert_eq!(event.lines().count(), lines, "{filter}");
        assert!(event.lines().map(without_time).eq(direct.lines().map(without_time)), "{filter}");
    }
}

#[test]
fn nobody_else_misses_an_event() {
    #[derive(Clone, Default)]
    struct Counts(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counts {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    static CALLSITE: DefaultCallsite = DefaultCallsite::new(&PLACE);
    static PLACE: Metadata<'static> = tracing::metadata! {
        name: "place", target: "shop", level: Level::INFO, fields: &["message"], callsite: &CALLSITE,
        kind: Kind::EVENT,
    };
    let written = || write_line(&CALLSITE, |_| panic!("nothing is rendered for a line that is not written"));
    assert!(!written(), "there is no subscriber");
    fn filter() -> LiveFilter {
        LiveFilter::new("info").unwrap()
    }
    fn json(writer: &LogWriter) -> JsonSubscriber {
        JsonSubscriber::new(writer.clone())
    }
    let others: [fn(&LogWriter, Counts) -> Dispatch; 5] = [
        |writer, _| Dispatch::new(json(writer)),
        |writer, _| Dispatch::new(json(writer).with(filter())),
        |writer, counts| Dispatch::new(json(writer).with(filter()).with(counts)),
        |writer, counts| {
            Dispatch::new(tracing_subscriber::registry().with(JsonLayer::new(writer.clone())).with(counts))
        },
        |_, counts| Dispatch::new(tracing_subscriber::registry().with(counts)),
    ];
    for other in others {
        let captured = Captured::default();
        let writer = open(captured.clone());
        with_default(&other(&writer, Counts::default()), || {
            assert!(!written(), "others stand around it, or could: they want an event");
        });
        writer.flush(LONG).unwrap();
        assert_eq!(captured.text(), "");
    }
    // In the subscriber's own code there is none, as `tracing` has it.
    let outer = Values { text: None, ..Values::any(&mut Random::new(1)) };
    let shown = lines_of(|| {
        struct Logs;
        impl fmt::Display for Logs {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                assert!(!write_line(&CALLSITE, |_| ()), "an event within an event goes nowhere");
                f.write_str("shown")
            }
        }
        tracing::info!(shown = %Logs);
        ordinary(&outer, true);
    });
    assert_eq!(shown.lines().count(), 2);
}
