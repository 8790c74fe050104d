//! What the registry promises, on real runtimes.
#![expect(clippy::disallowed_methods, reason = "tests run entries in plain tasks, and plant untracked ones")]

mod dump;
mod events;
mod leak;
mod life;
mod places;
mod race;
mod seat;
mod spawn;
mod watchdog;

/// Lets every task that is ready run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
