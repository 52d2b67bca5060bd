//! The scheduler in virtual time.

mod bounds;
mod check;
mod fairness;
mod model;

use std::time::Duration;

use inngest_core::{AppId, FunctionId, Millis, RunId};

use super::Scheduler;
use crate::flow::{Bucket, Concurrency, Dispatch, KeyExpression, KeyValue, Keys, Scope, Throttle};
use crate::gcra::Rate;
use crate::{JobId, JobKind, Lease, QueueItem, Settled, Work};

const NOW: Millis = Millis(1_700_000_000_000);
const KEYS: [&str; 3] = ["a", "b", "c"];

fn function(name: &str) -> FunctionId {
    FunctionId::of_definition(name, "u")
}

fn plain() -> Dispatch {
    Dispatch::unlimited(AppId::of_name("app"))
}

fn steps(steps: &[Concurrency]) -> Dispatch {
    Dispatch { steps: steps.to_vec(), ..plain() }
}

fn at_a_time(limit: u32, key: Option<&str>) -> Concurrency {
    Concurrency { limit, scope: Scope::Function, key: key.map(KeyExpression::of) }
}

/// So many starts a second, and as many at once.
fn a_second(limit: u32, key: Option<&str>) -> Throttle {
    let rate = Rate::lossless(limit, Duration::from_secs(1), 0);
    Throttle { bucket: Bucket(1), key: key.map(KeyExpression::of), rate }
}

/// The first call of a run of the function `f`, with a value for each of the keys.
fn start(number: u128, values: [u128; 3]) -> QueueItem {
    start_of("f", number, values)
}

fn start_of(name: &str, number: u128, values: [u128; 3]) -> QueueItem {
    let run = RunId::from_bytes((((NOW.0 as u128 + number) << 80) | number).to_be_bytes());
    let keys = KEYS.iter().zip(values).map(|(key, value)| (KeyExpression::of(key), KeyValue(value + 1)));
    QueueItem {
        keys: Keys::of(keys.collect()),
        ..QueueItem::new(JobId::start(run), function(name), JobKind::Start, NOW)
    }
}

fn number_of(lease: &Lease) -> u128 {
    lease.item.id.run.timestamp().0.abs_diff(NOW.0).into()
}

/// A scheduler of one function.
fn scheduler(dispatch: Dispatch) -> Scheduler {
    let mut scheduler = Scheduler::default();
    scheduler.configure(vec![(function("f"), dispatch)], NOW);
    scheduler
}

fn one(scheduler: &mut Scheduler, now: Millis) -> Option<Lease> {
    scheduler.lease(Work::Calls, 1, now).pop()
}

fn done(scheduler: &mut Scheduler, lease: &Lease, now: Millis) {
    scheduler.settle(lease, Settled::Done, now);
}

/// The timer of throttled starts is exact to the millisecond, and not early.
#[test]
fn the_timer_is_set_to_the_next_token() {
    let mut scheduler = scheduler(Dispatch { throttles: vec![a_second(3, None)], ..plain() });
    (0..5).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    assert_eq!(scheduler.lease(Work::Calls, 10, NOW).len(), 3);
    for after in [334, 667] {
        let at = NOW.plus(Duration::from_millis(after));
        assert_eq!(scheduler.next(), Some(at));
        assert!(one(&mut scheduler, Millis(at.0 - 1)).is_none());
        assert!(one(&mut scheduler, at).is_some());
        one(&mut scheduler, at);
    }
    assert_eq!(scheduler.next(), None);
}

/// A burst of tokens is used at once, and one that is left over by a lane that needs no more is passed on.
#[test]
fn one_timer_wakes_as_many_as_there_are_tokens() {
    let limits = Dispatch { throttles: vec![a_second(4, None)], steps: vec![at_a_time(1, Some("a"))], ..plain() };
    let mut scheduler = scheduler(limits);
    (0..20).for_each(|number| scheduler.offer(start(number, [number, 0, 0]), NOW));
    assert_eq!(scheduler.lease(Work::Calls, 100, NOW).len(), 4);
    let later = NOW.plus(Duration::from_millis(750));
    assert_eq!(scheduler.lease(Work::Calls, 100, later).len(), 3);
    scheduler.check(later);
}

/// What throttles count is forgotten once it has passed, and what rests too.
#[test]
fn nothing_is_left_when_all_is_done() {
    let limits = Dispatch {
        throttles: vec![a_second(1, Some("a"))],
        steps: vec![at_a_time(1, Some("b")), at_a_time(2, None)],
        runs: Some(at_a_time(3, Some("c"))),
        adaptive: true,
        ..plain()
    };
    let mut scheduler = scheduler(limits);
    let mut now = NOW;
    (0..300).for_each(|number| scheduler.offer(start(number, [number % 7, number % 11, number % 13]), now));
    let mut ended = 0;
    while ended < 300 {
        let leases = scheduler.lease(Work::Calls, 10, now);
        for lease in &leases {
            let outcome = if number_of(lease).is_multiple_of(50) { Settled::Overloaded(None) } else { Settled::Done };
            scheduler.settle(lease, outcome, now);
            scheduler.ended(&[lease.item.id.run], now);
        }
        ended += leases.len();
        scheduler.check(now);
        now = scheduler.next().unwrap_or(now).max(now);
    }
    assert!(!scheduler.is_empty(), "tokens count for a while");
    scheduler.lease(Work::Calls, 1, now.plus(Duration::from_secs(200)));
    assert!(scheduler.is_empty(), "{scheduler:?}");
}

/// A freed slot goes to another function when the line that was woken for it cannot use it.
#[test]
fn a_slot_is_passed_on_when_who_was_woken_cannot_use_it() {
    let shared = Concurrency { limit: 1, scope: Scope::Environment, key: Some(KeyExpression::of("a")) };
    let mut scheduler = Scheduler::default();
    let f = Dispatch { steps: vec![shared, at_a_time(1, None)], ..plain() };
    let g = Dispatch { steps: vec![shared], ..plain() };
    scheduler.configure(vec![(function("f"), f), (function("g"), g)], NOW);
    // One call of f in another key fills its own limit, one of g the shared one.
    scheduler.offer(start(1, [1, 0, 0]), NOW);
    scheduler.offer(start_of("g", 2, [0; 3]), NOW);
    let held = scheduler.lease(Work::Calls, 10, NOW);
    assert_eq!(held.len(), 2);
    (3..6).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    scheduler.offer(start_of("g", 6, [0; 3]), NOW);
    assert!(one(&mut scheduler, NOW).is_none());
    done(&mut scheduler, held.iter().find(|lease| number_of(lease) == 2).unwrap(), NOW);
    assert_eq!(one(&mut scheduler, NOW).map(|lease| number_of(&lease)), Some(6));
    scheduler.check(NOW);
}

/// A withdrawn job that was woken does not keep the slot.
#[test]
fn a_slot_is_passed_on_when_who_was_woken_is_withdrawn() {
    let mut scheduler = scheduler(Dispatch { steps: vec![at_a_time(1, None), at_a_time(1, Some("a"))], ..plain() });
    (1..4).for_each(|number| scheduler.offer(start(number, [number, 0, 0]), NOW));
    let held = scheduler.lease(Work::Calls, 10, NOW);
    done(&mut scheduler, &held[0], NOW);
    scheduler.withdraw(start(2, [2, 0, 0]).id, NOW);
    scheduler.check(NOW);
    assert_eq!(one(&mut scheduler, NOW).map(|lease| number_of(&lease)), Some(3));
}
