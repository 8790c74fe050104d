//! From the order to end to the report.

use std::time::Duration;

use graceful_connection::{Open, OpenRequest, Registry};
use graceful_listener::ResetSwitch;
use graceful_shutdown::{Budget, Late, Look, Report, Shutdown, Step, Why};
use graceful_tasks::Dump;
use tokio::time::{Instant, timeout};

use crate::{last_resort, server_log::ServerLog};

/// The target of what a shutdown says, here and in `graceful-shutdown`.
const TARGET: &str = "graceful::shutdown";

/// How long a connection that was told to end by force may take for it: it only has to be polled once more. One whose
/// thread is blocked is left behind.
const FORCED: Duration = Duration::from_millis(250);

/// What is drained.
#[derive(Clone, Debug)]
pub(crate) struct Draining {
    pub(crate) shutdown: Shutdown,
    pub(crate) registry: Registry,
    /// What is live, whoever has started it.
    pub(crate) work: graceful_tasks::Registry,
}

/// When the order to end was given, and how much time there is from then on.
#[derive(Debug)]
pub(super) struct Order {
    at: Instant,
    budget: Budget,
    /// From the order on, not from when the accept loop has ended: that needs a runtime that works.
    _last_resort: last_resort::Guard,
}

impl Order {
    /// The order was given now.
    pub(super) fn given(budget: Budget, draining: &Draining) -> Self {
        let last_resort = last_resort::Guard::new(budget.deadline(), draining.clone());
        Self { at: Instant::now(), budget, _last_resort: last_resort }
    }
}

/// Lets the connections, which were told to drain, finish, then tells and awaits the tasks, then runs the hooks, all within
/// the budget; what is late is closed by force.
pub(super) async fn drain(draining: &Draining, reset: &ResetSwitch, order: &Order, log: &ServerLog) -> Report {
    let Draining { shutdown, work, .. } = draining;
    let mut report = Report::new(shutdown.cause().cloned());
    report.push(connections(draining, reset, order).await);
    // Not before the connections: a request in flight may be waiting for a task.
    if let Some(tasks) = shutdown.end_work(work, is_task, order.budget).await {
        tell_late(&tasks.late, "aborted");
        report.push(tasks);
    }
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

/// Whether it is a task, and not what the server's own connections are waited for as.
fn is_task(kind: &str) -> bool {
    !matches!(kind, Registry::CONNECTION | Registry::REQUEST | Registry::UPGRADED)
}

async fn connections(draining: &Draining, reset: &ResetSwitch, order: &Order) -> Step {
    let Draining { shutdown, registry, work } = draining;
    let open = registry.len();
    let mut look = Look::at(work);
    // Tasks have their slice of the time, if there are any by then.
    let mut why = look.wait(shutdown, registry.closed(), shutdown.work_ends_from(order.budget)).await;
    let tasks = || work.stats().kinds.iter().any(|kind| is_task(kind.kind) && kind.live > 0);
    if why == Some(Why::Deadline) && !tasks() {
        look = Look::at(work);
        why = look.wait(shutdown, registry.closed(), shutdown.phases_start_by(order.budget)).await;
    }
    let mut step = Step::new("connections");
    if let Some(why) = why {
        // Listed before they are cut: afterwards nobody knows what they were doing.
        let mut left = registry.list();
        left.retain(|open| !open.is_at_rest());
        // What they have not taken by now, the kernel shall not keep for them.
        reset.on();
        registry.force();
        let (_, dump) = tokio::join!(timeout(FORCED, registry.closed()), look.end(FORCED));
        step.late = left.into_iter().flat_map(|open| late(open, &why, &dump)).collect();
        tell_late(&step.late, "closed by force");
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
pub(crate) fn late(open: Open, why: &Why, dump: &Dump) -> Vec<Late> {
    let Open { peer, state, age, entry, requests, .. } = open;
    let peer = |late: Late| match peer {
        Some(peer) => late.with("peer", peer),
        None => late,
    };
    if requests.is_empty() {
        let late = peer(Late::new("connection", why.clone()).with("state", state)).age(age);
        return vec![entry.into_iter().fold(late, |late, entry| late.place_in(dump, entry))];
    }
    requests
        .into_iter()
        .map(|OpenRequest { method, uri, route, age, entry, .. }| {
            let late = Late::new("request", why.clone()).with("method", method).with("path", uri.path());
            let late = match route {
                Some(route) => late.with("route", route),
                None => late,
            };
            peer(late).age(age).place_in(dump, entry)
        })
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
