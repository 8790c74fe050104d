//! From the order to end to the report.

use std::time::Duration;

use graceful_connection::{Open, OpenRequest, Registry};
use graceful_listener::ResetSwitch;
use graceful_shutdown::{Budget, Late, Report, Shutdown, Step, Why};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{last_resort::Draining, server_log::ServerLog};

/// The target of what a shutdown says, here and in `graceful-shutdown`.
const TARGET: &str = "graceful::shutdown";

/// How long a connection that was told to end by force may take for it: it only has to be polled once more. One whose
/// thread is blocked is left behind.
const FORCED: Duration = Duration::from_millis(250);

/// When the order to end was given, and how much time there is from then on.
#[derive(Debug)]
pub(super) struct Order {
    at: Instant,
    budget: Budget,
    /// From the order on, not from when the accept loop has ended: that needs a runtime that works.
    _draining: Draining,
}

impl Order {
    /// The order was given now.
    pub(super) fn given(total: Duration, shutdown: &Shutdown, registry: &Registry) -> Self {
        let budget = Budget::new(total);
        let draining = Draining::begin(budget.deadline(), shutdown, registry);
        Self { at: Instant::now(), budget, _draining: draining }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.budget.deadline()
    }
}

/// Lets the connections, which were told to drain, finish, then runs the hooks, all within the budget; what is late is
/// closed by force.
pub(super) async fn drain(
    shutdown: &Shutdown,
    registry: &Registry,
    reset: &ResetSwitch,
    order: &Order,
    log: &ServerLog,
) -> Report {
    let mut report = Report::new(shutdown.cause().cloned());
    report.push(connections(shutdown, registry, reset, order).await);
    report.append(shutdown.run_phases(order.budget).await);
    // What is still to be told of the connections comes before the last word.
    log.flush();
    if report.is_clean() {
        tracing::info!(target: TARGET, took_ms = millis(report.took()), "server stopped");
    } else {
        tracing::error!(target: TARGET, took_ms = millis(report.took()), %report, "server stopped by force");
    }
    report
}

async fn connections(shutdown: &Shutdown, registry: &Registry, reset: &ResetSwitch, order: &Order) -> Step {
    let open = registry.len();
    let why = tokio::select! {
        biased;
        () = registry.closed() => None,
        () = shutdown.forced() => Some(Why::Forced),
        () = sleep_until(shutdown.phases_start_by(order.budget)) => Some(Why::Deadline),
    };
    let mut step = Step::new("connections");
    if let Some(why) = why {
        // Listed before they are cut: afterwards nobody knows what they were doing.
        step.late = registry.list().into_iter().flat_map(|open| late(open, &why)).collect();
        tell_late(&step.late, "closed by force");
        // What they have not taken by now, the kernel shall not keep for them.
        reset.on();
        registry.force();
        let _ = timeout(FORCED, registry.closed()).await;
    }
    step.took = order.at.elapsed();
    step.finished = open.saturating_sub(step.late.len());
    step
}

/// A line for each, up to a number: ten thousand stuck connections are one problem, not ten thousand.
pub(crate) fn tell_late(late: &[Late], what: &'static str) {
    const MOST: usize = 20;
    for late in late.iter().take(MOST) {
        tracing::warn!(target: TARGET, %late, "{what}");
    }
    if late.len() > MOST {
        tracing::warn!(target: TARGET, count = late.len() - MOST, "{what}: and more");
    }
}

/// An entry for each request in flight; one for a connection without any.
pub(crate) fn late(open: Open, why: &Why) -> Vec<Late> {
    let Open { peer, state, age, requests, .. } = open;
    let peer = |late: Late| match peer {
        Some(peer) => late.with("peer", peer),
        None => late,
    };
    if requests.is_empty() {
        return vec![peer(Late::new("connection", why.clone()).with("state", state)).age(age)];
    }
    requests
        .into_iter()
        .map(|OpenRequest { method, uri, route, age, .. }| {
            let late = Late::new("request", why.clone()).with("method", method).with("path", uri.path());
            let late = match route {
                Some(route) => late.with("route", route),
                None => late,
            };
            peer(late).age(age)
        })
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
