//! Entries come and go while others look: nothing is lost, nothing is mixed up, nobody waits for ever.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use graceful_tasks::{DumpLimits, Entry, Kind, Registry, State};
use tokio::runtime::Builder;

/// How often each race is run. Enough to have failed within a run when the code was broken on purpose.
pub(crate) const ROUNDS: u64 = if cfg!(miri) { 3 } else { 2_000 };

#[test]
fn the_last_one_out_wakes_whoever_waits() {
    out_and_awaited(|kind, i| kind.enter(i));
}

#[test]
fn the_last_one_out_of_a_seat_wakes_whoever_waits() {
    out_and_awaited(|kind, i| kind.seat(i).enter().expect("nobody has it"));
}

fn out_and_awaited(enter: impl Fn(&Kind<u64>, u64) -> Entry) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    for _ in 0..ROUNDS {
        let registry = Registry::new();
        let kind = registry.kind::<u64>("request");
        let start = Barrier::new(3);
        thread::scope(|s| {
            for i in 0..2 {
                let entry = enter(&kind, i);
                let start = &start;
                s.spawn(move || {
                    start.wait();
                    drop(entry);
                });
            }
            start.wait();
            runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(10), registry.idle()).await.expect("no wake is lost");
            });
        });
    }
}

#[test]
fn idle_is_not_seen_while_work_is_handed_on() {
    // Two threads, and so two shards, hand a relay's baton to one another: each enters its own before it drops the
    // other's. One look at the shards, one after the other, would find both empty now and then.
    let registry = Registry::new();
    let kind = registry.kind::<u64>("request");
    let stop = AtomicBool::new(false);
    let (there, mut arrives) = std::sync::mpsc::channel::<Entry>();
    let (back, mut returns) = std::sync::mpsc::channel::<Entry>();
    let relay = |from: &mut Receiver<Entry>, to: &Sender<Entry>| {
        let mut last = None;
        for _ in 0..ROUNDS * 10 {
            let Ok(theirs) = from.recv() else { break };
            let mine = kind.enter(0);
            drop(theirs);
            if let Err(unsent) = to.send(mine) {
                last = Some(unsent.0);
                break;
            }
        }
        last
    };
    there.send(kind.enter(0)).unwrap();
    let looks = thread::scope(|s| {
        let looker = s.spawn(|| {
            let mut looks = 0;
            while !stop.load(Relaxed) {
                assert!(!registry.is_empty(), "there was no moment without an entry");
                looks += 1;
            }
            looks
        });
        let other = s.spawn(|| relay(&mut arrives, &back));
        let last = relay(&mut returns, &there);
        let others_last = other.join().unwrap();
        stop.store(true, Relaxed);
        let looks = looker.join();
        drop((last, others_last));
        looks
    });
    assert!(looks.expect("never idle") > 0);
}

#[test]
fn dumps_beside_completion() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let registry = Registry::new();
    let done = Arc::new(AtomicU64::new(0));
    let tasks = ROUNDS * 5;
    let spawner = {
        let (registry, done) = (registry.clone(), Arc::clone(&done));
        runtime.spawn(async move {
            let kind = registry.kind::<u64>("request");
            for i in 0..tasks {
                let done = Arc::clone(&done);
                kind.spawn(i, async move {
                    for _ in 0..i % 4 {
                        tokio::task::yield_now().await;
                    }
                    done.fetch_add(1, Relaxed);
                });
                if i % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let mut limits = DumpLimits::default();
    limits.again_after = Duration::ZERO;
    let own = Builder::new_current_thread().enable_all().build().unwrap();
    own.block_on(async {
        while !spawner.is_finished() {
            for live in &registry.dump_within(limits).await.entries {
                let number: u64 = live.label.parse().expect("a label is whole");
                assert!(live.polls <= number % 4 + 1, "the figures are those of this entry: {live}");
                if let State::Waiting { .. } = live.state {
                    assert!(live.polls > 0);
                }
            }
        }
        tokio::time::timeout(Duration::from_secs(30), registry.idle()).await.expect("all end");
    });
    assert_eq!(done.load(Relaxed), tasks, "every task ended, woken by a dump or not");
    let stats = registry.stats();
    let requests = stats.kinds.iter().find(|kind| kind.kind == "request").unwrap();
    assert_eq!((requests.live, requests.entered), (0, tasks));
}
