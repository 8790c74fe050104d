//! The subscriber keeps the spans as the registry does, whatever is done with them.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use graceful_json_log::JsonSubscriber;
use serde_json::Value;
use tracing::{
    Dispatch, Span, Subscriber,
    dispatcher::{get_default, with_default},
    field, info, info_span,
    span::{EnteredSpan, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

use crate::support::{Captured, LONG, Object, Random, json, lines, logged, open};

/// Spans that begin, are entered, left and dropped in any order, and a line after each step.
fn walk(seed: u64) {
    fn any<'a, T>(of: &'a [T], random: &mut Random) -> Option<&'a T> {
        of.get(random.below(of.len().max(1) as u64) as usize)
    }
    let mut random = Random::new(seed);
    let (mut open, mut entered) = (Vec::<Span>::new(), Vec::<EnteredSpan>::new());
    for step in 0..200_u64 {
        match random.below(12) {
            0 | 1 => open.push(info_span!("contextual", a = step, common = random.next(), user = field::Empty)),
            2 => open.push(info_span!(parent: None, "root", b = step, common = random.next())),
            3 => open.extend(any(&open, &mut random).map(|parent| info_span!(parent: parent, "child", c = step))),
            4..7 => entered.extend(any(&open, &mut random).map(|span| span.clone().entered())),
            7 if !entered.is_empty() => drop(entered.remove(random.below(entered.len() as u64) as usize)),
            8 if !open.is_empty() => drop(open.remove(random.below(open.len() as u64) as usize)),
            9 => open.push(Span::current()),
            10 => drop(any(&open, &mut random).map(|span| span.record("user", step).is_disabled())),
            _ => drop(any(&open, &mut random).map(|span| span.follows_from(span).is_disabled())),
        }
        info!(step, "current");
        if let Some(span) = any(&open, &mut random) {
            info!(parent: span, step, "named");
        }
    }
}

#[test]
fn spans_in_any_order() {
    for seed in 0..100 {
        let lines = logged(|| walk(seed));
        assert!(lines.len() > 200);
    }
}

fn id(line: &Object) -> Option<u64> {
    line.get("id").and_then(Value::as_u64)
}

#[test]
fn a_span_goes_from_thread_to_thread() {
    let lines = logged(|| {
        let dispatch = get_default(Clone::clone);
        let span = info_span!("span", id = 1, last = 0);
        thread::scope(|scope| {
            for thread in 1..5 {
                let (span, dispatch) = (span.clone(), &dispatch);
                let enter = move || {
                    with_default(dispatch, || {
                        let inner = span.in_scope(|| info_span!("inner", thread));
                        span.record("last", thread);
                        drop(span);
                        inner.in_scope(|| info!("said"));
                    });
                };
                scope.spawn(enter).join().unwrap();
            }
        });
        span.in_scope(|| info!("last"));
    });
    assert!(lines.iter().all(|line| id(line) == Some(1)));
    let last: Vec<_> = lines.iter().map(|line| line["last"].as_u64()).collect();
    assert_eq!(last, [1, 2, 3, 4, 4].map(Some));
}

#[test]
fn a_child_keeps_its_parent() {
    let lines = logged(|| {
        let parent = info_span!("parent", id = 1);
        let child = info_span!(parent: &parent, "child");
        drop(parent);
        // Would take the parent's place, were that free.
        let _other = info_span!("other", id = 2);
        child.in_scope(|| info!("said"));
    });
    assert_eq!(id(&lines[0]), Some(1));
}

#[test]
fn an_id_that_outlived_its_span_finds_nothing() {
    let captured = Captured::default();
    let writer = open(captured.clone());
    with_default(&json(&writer), || {
        let stale: Id = info_span!("gone", id = 1).id().unwrap();
        let _other = info_span!("in its place", id = 2);
        info!(parent: stale.clone(), "alone");
        get_default(|dispatch| {
            dispatch.enter(&stale);
            assert!(!dispatch.try_close(dispatch.clone_span(&stale)), "there is nothing to close");
            assert!(dispatch.current_span().id().is_none());
        });
        info!("alone");
        info_span!(parent: stale.clone(), "orphan", id = 3).in_scope(|| info!("said"));
        get_default(|dispatch| dispatch.exit(&stale));
    });
    writer.flush(LONG).unwrap();
    let ids: Vec<_> = lines(&captured.text()).iter().map(id).collect();
    assert_eq!(ids, [None, None, Some(3)]);
}

#[test]
fn each_subscriber_has_its_own_current_span() {
    let (outer_log, inner_log) = (Captured::default(), Captured::default());
    let (outer_writer, inner_writer) = (open(outer_log.clone()), open(inner_log.clone()));
    let (outer, inner) = (json(&outer_writer), json(&inner_writer));
    with_default(&outer, || {
        let _outer = info_span!("outer", id = 1).entered();
        with_default(&inner, || {
            info!("not in the outer one's span");
            let inner = info_span!("inner", id = 2).entered();
            with_default(&outer, || info!("back"));
            info!("in its own");
            drop(inner);
        });
        info!("still there");
    });
    outer_writer.flush(LONG).unwrap();
    inner_writer.flush(LONG).unwrap();
    let ids = |log: &Captured| lines(&log.text()).iter().map(id).collect::<Vec<_>>();
    assert_eq!((ids(&inner_log), ids(&outer_log)), (vec![None, Some(2)], vec![Some(1), Some(1)]));
}

#[test]
fn a_thread_may_end_within_a_span() {
    let captured = Captured::default();
    let writer = open(captured.clone());
    let dispatch = json(&writer);
    let ended = dispatch.clone();
    thread::spawn(move || {
        with_default(&ended, || {
            std::mem::forget(info_span!("never left", id = 1).entered());
            info!("within");
        });
    })
    .join()
    .unwrap();
    thread::spawn(move || with_default(&dispatch, || info!("another thread"))).join().unwrap();
    writer.flush(LONG).unwrap();
    assert_eq!(lines(&captured.text()).iter().map(id).collect::<Vec<_>>(), [Some(1), None]);
}

/// Says which spans have ended.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Id>>>);

impl<S: Subscriber> Layer<S> for Ends {
    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(id);
    }
}

#[test]
fn a_layer_hears_of_every_end() {
    let ends = Ends::default();
    let subscriber = JsonSubscriber::new(open(std::io::sink())).with(ends.clone());
    let dispatch = Dispatch::new(subscriber);
    assert!(dispatch.downcast_ref::<JsonSubscriber>().is_some(), "who looks for it, finds it");
    with_default(&dispatch, || {
        let outer = info_span!("outer");
        let middle = outer.in_scope(|| info_span!("middle"));
        let inner = middle.in_scope(|| info_span!("inner"));
        let ids = [&inner, &middle, &outer].map(|span| span.id().unwrap());
        let clone = inner.clone();
        drop((outer, middle, inner));
        assert!(ends.0.lock().unwrap().is_empty(), "a child holds its parents");
        drop(clone);
        let mut ended = ends.0.lock().unwrap().clone();
        ended.sort_by_key(|id| ids.iter().position(|known| known == id));
        assert_eq!(ended, ids, "of each once");
    });
}

#[test]
fn many_spans_at_once() {
    let spans = 10_000_u64;
    let lines = logged(|| {
        let open: Vec<_> = (0..spans).map(|id| info_span!("span", id)).collect();
        for span in open.iter().step_by(997) {
            span.in_scope(|| info!("said"));
        }
    });
    assert!(lines.iter().map(id).eq((0..spans).step_by(997).map(Some)));
}
