use divan::Bencher;
use graceful_recovery::RecoveryLayer;
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::bare::{READY, bench};

#[divan::bench]
fn graceful(bencher: Bencher<'_, '_>) {
    bench(bencher, RecoveryLayer::new().layer(READY));
}

#[divan::bench]
fn tower_http(bencher: Bencher<'_, '_>) {
    bench(bencher, CatchPanicLayer::new().layer(READY));
}
