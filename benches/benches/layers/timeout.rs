//! The handler answers at its first poll; or at its second, so that the time has to be kept.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use benches::request;
use divan::Bencher;
use graceful_timeout::TimeoutLayer;
use graceful_timer::TaskTimer;
use http::StatusCode;
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_http::timeout::TimeoutLayer as TowerHttpLayer;

use crate::bare::{PENDING, READY, bench, finish};

const LIMIT: Duration = Duration::from_secs(30);

fn counterpart() -> TowerHttpLayer {
    TowerHttpLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LIMIT)
}

#[divan::bench_group]
mod ready {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        bench(bencher, TimeoutLayer::new(LIMIT).layer(READY));
    }

    /// Without the `Deadline` in the request's extensions.
    #[divan::bench]
    fn graceful_no_extension(bencher: Bencher<'_, '_>) {
        bench(bencher, TimeoutLayer::new(LIMIT).extension(false).layer(READY));
    }

    #[divan::bench]
    fn tower_http(bencher: Bencher<'_, '_>) {
        bench(bencher, counterpart().layer(READY));
    }
}

#[divan::bench_group]
mod pending {
    use super::*;

    #[divan::bench]
    fn graceful_own_timer(bencher: Bencher<'_, '_>) {
        bench(bencher, TimeoutLayer::new(LIMIT).layer(PENDING));
    }

    /// As under `graceful_connection::Connection`.
    #[divan::bench]
    fn graceful_lent_timer(bencher: Bencher<'_, '_>) {
        let mut service = TimeoutLayer::new(LIMIT).layer(PENDING);
        let mut timer = pin!(TaskTimer::new());
        bencher.with_inputs(request).bench_local_values(|request| {
            let mut cx = Context::from_waker(Waker::noop());
            let future = service.call(request);
            finish(future, |future| {
                let polled = timer.as_mut().lend(&mut cx, |cx| future.poll(cx));
                let _ = timer.as_mut().poll_until(&mut cx, Instant::now(), None);
                polled
            });
        });
    }

    #[divan::bench]
    fn tower_http(bencher: Bencher<'_, '_>) {
        bench(bencher, counterpart().layer(PENDING));
    }
}
