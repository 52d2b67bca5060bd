//! What is counted, kept and looked at has bounds, and what begins to be limited counts at once.

use super::*;
use crate::scheduler::ADVANCE_MAX;
use crate::{Cause, Errand};

#[test]
fn runs_of_calls_in_flight_count_when_a_limit_of_runs_comes() {
    let mut scheduler = scheduler(plain());
    (1..4).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    let held = scheduler.lease(Work::Calls, 3, NOW);
    // The run of the third one has been cancelled.
    scheduler.withdraw(held[2].item.id, NOW);
    let limited = Dispatch { runs: Some(at_a_time(2, Some("a"))), ..plain() };
    scheduler.configure(vec![(function("f"), limited)], NOW);
    scheduler.check(NOW);
    held.iter().for_each(|lease| done(&mut scheduler, lease, NOW));
    scheduler.offer(start(4, [0; 3]), NOW);
    assert!(one(&mut scheduler, NOW).is_none(), "two runs go on");
    scheduler.ended(&[held[0].item.id.run], NOW);
    assert_eq!(one(&mut scheduler, NOW).map(|lease| number_of(&lease)), Some(4));
}

#[test]
fn keys_are_found_out_when_no_other_own_work_is_due() {
    let mut scheduler = scheduler(steps(&[at_a_time(1, Some("new"))]));
    scheduler.offer(start(1, [0; 3]), NOW);
    let cancel = |number| QueueItem {
        id: JobId::cancel(start(number, [0; 3]).id.run),
        kind: JobKind::Cancel,
        ..start(number, [0; 3])
    };
    (2..5).for_each(|number| scheduler.offer(cancel(number), NOW));
    let leases = scheduler.lease(Work::Own, 10, NOW);
    assert_eq!(leases.iter().map(number_of).collect::<Vec<_>>(), [2, 3, 4, 1]);
    assert_eq!(leases[3].errand, Errand::Rekey);
}

#[test]
fn what_comes_due_together_is_moved_in_parts() {
    let mut scheduler = scheduler(plain());
    let (jobs, later) = (2 * ADVANCE_MAX + 1, NOW.plus(Duration::from_secs(1)));
    (0..jobs as u128).for_each(|number| scheduler.offer(QueueItem { due: later, ..start(number, [0; 3]) }, NOW));
    assert_eq!(scheduler.lease(Work::Calls, jobs, later).len(), ADVANCE_MAX);
    assert_eq!(scheduler.next(), Some(later), "who waits comes back at once");
    assert_eq!(scheduler.lease(Work::Calls, jobs, later).len(), ADVANCE_MAX);
    assert_eq!(scheduler.lease(Work::Calls, jobs, later).len(), 1);
    assert_eq!(scheduler.next(), None);
}

/// Many functions wait at one gate: neither who comes nor who hands over looks at all of them.
#[test]
fn a_gate_does_not_look_at_all_who_wait() {
    let shared = Concurrency { scope: Scope::Account, ..at_a_time(1, Some("a")) };
    let (functions, rounds) = (500, 100);
    let name = |number: u128| format!("f{number}");
    let mut scheduler = Scheduler::default();
    let limits = (0..functions).map(|number| (function(&name(number)), steps(&[shared])));
    scheduler.configure(limits.collect(), NOW);
    for number in 0..functions * 2 {
        scheduler.offer(start_of(&name(number % functions), number, [0; 3]), NOW);
    }
    for _ in 0..rounds {
        let lease = one(&mut scheduler, NOW).unwrap();
        assert!(one(&mut scheduler, NOW).is_none());
        done(&mut scheduler, &lease, NOW);
    }
    let looks: usize = scheduler.calls.gates.all.iter().map(|(_, gate)| gate.looks).sum();
    assert!(looks <= 2 * rounds, "{looks} looks");
}

#[test]
fn a_gate_fades_once_however_often_it_counts() {
    let mut scheduler = scheduler(Dispatch { throttles: vec![a_second(1_000, Some("a"))], ..plain() });
    for number in 0..100 {
        scheduler.offer(start(number, [0; 3]), NOW);
        let lease = one(&mut scheduler, NOW).unwrap();
        done(&mut scheduler, &lease, NOW);
    }
    assert_eq!(scheduler.calls.fading.len(), 1);
    let later = NOW.plus(Duration::from_millis(50));
    scheduler.lease(Work::Calls, 1, later);
    scheduler.check(later);
    assert_eq!(scheduler.calls.fading.len(), 1, "it still counts");
    scheduler.lease(Work::Calls, 1, NOW.plus(Duration::from_millis(100)));
    assert!(scheduler.is_empty());
}

#[test]
fn a_lane_that_is_not_alone_at_its_gate_has_no_expected_time() {
    let limits = Dispatch { throttles: vec![a_second(1, None)], ..steps(&[at_a_time(9, Some("a"))]) };
    let mut scheduler = scheduler(limits);
    (0..3).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    assert_eq!(scheduler.lease(Work::Calls, 10, NOW).len(), 1);
    let second = start(2, [0; 3]).id;
    let expected = |scheduler: &Scheduler| scheduler.explain(&[second], NOW)[0].expected;
    assert_eq!(expected(&scheduler), Some(NOW.plus(Duration::from_secs(2))));
    scheduler.offer(start(3, [1, 0, 0]), NOW);
    scheduler.lease(Work::Calls, 10, NOW);
    assert_eq!(expected(&scheduler), None);
}

#[test]
fn no_more_than_ten_thousand_jobs_are_counted_ahead() {
    let mut scheduler = scheduler(plain());
    (0..12_000).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    for (number, expected) in [(0, 0), (9_999, 9_999), (11_999, 10_000)] {
        let explained = scheduler.explain(&[start(number, [0; 3]).id], NOW);
        assert_eq!(explained[0].cause, Cause::Turn { ahead: expected });
    }
}
