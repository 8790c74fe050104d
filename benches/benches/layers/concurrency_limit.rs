//! A place is free; none is and nobody may wait; one request waits until another leaves.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use benches::request;
use divan::Bencher;
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use tokio::time::Instant;
use tower::{
    Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer as TowerLimitLayer, load_shed::LoadShedLayer,
};

use crate::bare::{READY, bench, call, finish, is_ready, stuck};

#[divan::bench_group]
mod free {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        bench(bencher, ConcurrencyLimitLayer::new(64).layer(READY));
    }

    #[divan::bench]
    fn tower(bencher: Bencher<'_, '_>) {
        bench(
            bencher,
            ServiceBuilder::new().layer(LoadShedLayer::new()).layer(TowerLimitLayer::new(64)).service(READY),
        );
    }
}

/// tower answers with an error, which costs another layer to be made a response of.
#[divan::bench_group]
mod full {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        let mut service = ConcurrencyLimitLayer::new(1).max_queue(0).layer(READY);
        let _in_flight = service.call(stuck());
        bench(bencher, service);
    }

    #[divan::bench]
    fn tower(bencher: Bencher<'_, '_>) {
        let mut service =
            ServiceBuilder::new().layer(LoadShedLayer::new()).layer(TowerLimitLayer::new(1)).service(READY);
        assert!(is_ready(&mut service));
        let _in_flight = service.call(stuck());
        bench(bencher, service);
    }
}

/// Two requests a call: the first takes the place, the second waits, the first leaves. tower's wait has no bound.
#[divan::bench_group]
mod queue {
    use graceful_timer::TaskTimer;

    use super::*;

    #[divan::bench]
    fn graceful_own_timer(bencher: Bencher<'_, '_>) {
        let mut service = ConcurrencyLimitLayer::new(1).layer(READY);
        bencher.with_inputs(|| (stuck(), request())).bench_local_values(|(first, second)| {
            let mut cx = Context::from_waker(Waker::noop());
            let mut in_flight = Some(service.call(first));
            let waiting = service.call(second);
            finish(waiting, |waiting| {
                let polled = waiting.poll(&mut cx);
                assert_eq!(polled.is_pending(), in_flight.take().is_some(), "the second waits for the first");
                polled
            });
        });
    }

    #[divan::bench]
    fn graceful_lent_timer(bencher: Bencher<'_, '_>) {
        let mut service = ConcurrencyLimitLayer::new(1).layer(READY);
        let mut timer = pin!(TaskTimer::new());
        bencher.with_inputs(|| (stuck(), request())).bench_local_values(|(first, second)| {
            let mut cx = Context::from_waker(Waker::noop());
            let mut in_flight = Some(service.call(first));
            let waiting = service.call(second);
            finish(waiting, |waiting| {
                let polled = timer.as_mut().lend(&mut cx, |cx| waiting.poll(cx));
                let _ = timer.as_mut().poll_until(&mut cx, Instant::now(), None);
                assert_eq!(polled.is_pending(), in_flight.take().is_some(), "the second waits for the first");
                polled
            });
        });
    }

    #[divan::bench]
    fn tower(bencher: Bencher<'_, '_>) {
        let mut service = TowerLimitLayer::new(1).layer(READY);
        let mut other = service.clone();
        bencher.with_inputs(|| (stuck(), request())).bench_local_values(|(first, second)| {
            assert!(is_ready(&mut service), "the place is free");
            let in_flight = service.call(first);
            assert!(!is_ready(&mut other), "the second waits for the first");
            drop(in_flight);
            call(&mut other, second);
        });
    }
}
