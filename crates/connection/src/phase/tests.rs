//! The clockwork, by hand: facts in, deadlines out.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const QUIET: Facts = Facts {
    http2: false,
    started: 0,
    in_flight: 0,
    read_seen: false,
    next_head: false,
    body_seen: false,
    write_blocked: false,
    written: 0,
    write_unlimited: false,
    write_override: Override::None,
    header_block: (0, false),
    half_closed: false,
    lingering: false,
};

fn settings() -> Settings {
    Settings {
        read_header: Some(5 * SECOND),
        write: Some(60 * SECOND),
        write_stall: Some(30 * SECOND),
        idle: Some(120 * SECOND),
        linger: Some(5 * SECOND),
        ..Settings::default()
    }
}

/// Feeds facts at seconds, and gives the deadline in seconds after the last of them.
fn after(steps: &[(u32, Facts)]) -> Option<(u64, Limit)> {
    let start = Instant::now();
    let mut clock = Clock::new(start);
    let mut last = QUIET;
    for &(at, facts) in steps {
        clock.observe(start + at * SECOND, facts);
        last = facts;
    }
    clock.deadline(&settings(), last).map(|(at, limit)| ((at - start).as_secs(), limit))
}

#[test]
fn the_first_head_counts_from_accept_whatever_drips_in() {
    let drip = Facts { read_seen: true, ..QUIET };
    assert_eq!(after(&[]), Some((5, Limit::Header)));
    assert_eq!(after(&[(1, drip), (2, drip), (4, drip)]), Some((5, Limit::Header)));
}

#[test]
fn each_request_has_its_own_write_clock() {
    let first = Facts { started: 1, in_flight: 1, read_seen: true, ..QUIET };
    let second = Facts { started: 2, ..first };
    assert_eq!(after(&[(1, first)]), Some((61, Limit::Write)));
    assert_eq!(after(&[(1, first), (30, first)]), Some((61, Limit::Write)), "not restarted by more polls");
    assert_eq!(after(&[(1, first), (30, second)]), Some((90, Limit::Write)), "the next request begins anew");
}

#[test]
fn the_write_clock_begins_when_the_request_is_in() {
    let begun = Facts { started: 1, in_flight: 1, ..QUIET };
    let body = Facts { body_seen: true, ..begun };
    assert_eq!(after(&[(1, begun), (50, body)]), Some((110, Limit::Write)), "an upload is not the response's time");
    assert_eq!(after(&[(1, begun), (50, body), (55, begun)]), Some((110, Limit::Write)), "one that stops is");
}

#[test]
fn a_request_that_began_and_ended_in_one_poll_is_idle() {
    let done = Facts { started: 1, read_seen: true, ..QUIET };
    assert_eq!(after(&[(1, done)]), Some((121, Limit::Idle)));
}

#[test]
fn the_idle_clock_ends_with_the_first_byte() {
    let done = Facts { started: 1, read_seen: true, ..QUIET };
    let quiet = Facts { started: 1, ..QUIET };
    let byte = Facts { read_seen: true, next_head: true, ..quiet };
    assert_eq!(after(&[(1, done), (100, quiet)]), Some((121, Limit::Idle)));
    assert_eq!(after(&[(1, done), (100, byte)]), Some((105, Limit::Header)));
    assert_eq!(after(&[(1, done), (100, byte), (103, byte)]), Some((105, Limit::Header)), "a drip restarts nothing");
}

#[test]
fn bytes_on_http2_are_not_a_head() {
    let done = Facts { http2: true, started: 1, read_seen: true, ..QUIET };
    assert_eq!(after(&[(1, done), (50, done)]), Some((121, Limit::Idle)), "a ping is not activity");
}

#[test]
fn a_response_ends_with_its_last_byte_not_with_its_body() {
    let active = Facts { started: 1, in_flight: 1, ..QUIET };
    let blocked = Facts { in_flight: 0, write_blocked: true, ..active };
    let flushed = Facts { write_blocked: false, ..blocked };
    assert_eq!(after(&[(0, active), (50, blocked)]), Some((60, Limit::Write)));
    assert_eq!(after(&[(0, active), (50, blocked), (55, flushed)]), Some((175, Limit::Idle)));
}

#[test]
fn a_stalled_reader_is_cut_from_its_last_byte() {
    let unlimited = Facts { started: 1, in_flight: 1, write_unlimited: true, ..QUIET };
    let blocked = Facts { write_blocked: true, written: 10, ..unlimited };
    let more = Facts { written: 11, ..blocked };
    assert_eq!(after(&[(0, unlimited)]), None, "no total limit");
    assert_eq!(after(&[(0, blocked), (20, blocked)]), Some((30, Limit::Slow)));
    assert_eq!(after(&[(0, blocked), (20, more)]), Some((50, Limit::Slow)), "progress restarts it");
    assert_eq!(after(&[(0, blocked), (20, unlimited)]), None, "nothing to send is no stall");
}

#[test]
fn lingering_is_bounded() {
    let linger = Facts { started: 1, lingering: true, ..QUIET };
    assert_eq!(after(&[(10, linger), (12, linger)]), Some((15, Limit::Closing)));
}

#[test]
fn a_handler_may_move_its_own_write_limit() {
    let begun = Facts { started: 1, in_flight: 1, ..QUIET };
    let start = Instant::now();
    for (until, due) in [(Some(300), Some(300)), (Some(10), Some(10)), (None, None)] {
        let moved = Facts { write_override: Override::Until(until.map(|s| start + s * SECOND)), ..begun };
        let mut clock = Clock::new(start);
        clock.observe(start, moved);
        let at = clock.deadline(&settings(), moved).map(|(at, _)| (at - start).as_secs());
        assert_eq!(at, due);
    }
}

#[test]
fn an_unfinished_header_block_has_a_clock_of_its_own() {
    let open = Facts { http2: true, started: 1, in_flight: 1, header_block: (2, true), ..QUIET };
    let next = Facts { header_block: (3, true), ..open };
    let done = Facts { header_block: (2, false), ..open };
    assert_eq!(after(&[(1, open), (3, open)]), Some((6, Limit::Header)), "frames that drip in do not restart it");
    assert_eq!(after(&[(1, open), (3, next)]), Some((8, Limit::Header)), "the next block begins anew");
    assert_eq!(after(&[(1, open), (3, done)]), None);
}

#[test]
fn a_client_that_closed_its_side_has_a_grace_from_the_last_byte_it_took() {
    let start = Instant::now();
    let closed = Facts { started: 1, in_flight: 1, half_closed: true, ..QUIET };
    let taking = Facts { written: 10, ..closed };
    let blocked = Facts { write_blocked: true, ..closed };
    let settings = Settings { half_close_grace: Some(SECOND), ..settings() };
    for (facts, due) in [(closed, 1), (taking, 3), (blocked, 32)] {
        let mut clock = Clock::new(start);
        clock.observe(start, closed);
        clock.observe(start + 2 * SECOND, facts);
        let (at, _) = clock.deadline(&settings, facts).expect("a deadline");
        assert_eq!((at - start).as_secs(), due, "{facts:?}");
    }
}

#[test]
fn a_rest_counts_from_a_while_after_its_poll_began() {
    let work = graceful_tasks::Registry::new().kind::<&str>("request").enter("r");
    let shared = Shared::new(1, None, None, None);
    let start = Instant::now();
    let mut clock = Clock::new(start);
    assert_eq!(clock.rest(&shared), None, "nothing has begun");
    let number = shared.next_request();
    shared.begin_request(number, &http::Method::GET, &http::Uri::default(), &work);
    assert_eq!(clock.rest(&shared), None, "it is not over");
    shared.end_request(number);
    let began = clock.rest(&shared).expect("a rest");
    assert_eq!(clock.idle_deadline(&settings()), Some(began + SYNCHRONOUS + 120 * SECOND));
    assert_eq!(clock.rest(&shared), None, "nothing has begun since");
    clock.preface(start);
    assert_eq!(clock.idle_deadline(&settings()), Some(start + 120 * SECOND), "what is seen to begin has no such while");
}
