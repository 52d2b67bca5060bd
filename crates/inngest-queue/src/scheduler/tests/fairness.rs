//! Nobody waits for longer than the bounds that the modules state, and no operation looks at the backlog.

use std::collections::HashMap;
use std::time::Duration;

use inngest_core::AppId;

use super::*;

/// Calls that are made one after the other until `found`, which counts among them.
fn calls_until(scheduler: &mut Scheduler, mut found: impl FnMut(&Lease) -> bool) -> usize {
    for count in 1.. {
        let lease = one(scheduler, NOW).expect("there is something to do");
        done(scheduler, &lease, NOW);
        if found(&lease) {
            return count;
        }
    }
    unreachable!("it is found")
}

#[test]
fn a_hot_key_delays_a_thousand_quiet_ones_by_one_call_in_a_round() {
    let (hot, quiet) = (100_000, 1_000);
    let mut scheduler = scheduler(Dispatch { steps: vec![at_a_time(10, Some("a"))], ..plain() });
    (0..hot).for_each(|number| scheduler.offer(start(number, [0; 3]), NOW));
    for number in hot..hot + quiet {
        scheduler.offer(start(number, [number, 0, 0]), NOW);
    }
    let mut served = HashMap::new();
    for _ in 0..quiet + 2 {
        let lease = one(&mut scheduler, NOW).unwrap();
        *served.entry(number_of(&lease) < hot).or_insert(0) += 1;
        done(&mut scheduler, &lease, NOW);
    }
    assert_eq!((served[&false], served[&true]), (quiet, 2), "all quiet keys in one round");
    // One that comes later waits for no more than what is left of the round, and one call of each lane.
    scheduler.offer(start(hot + quiet, [hot + quiet, 0, 0]), NOW);
    assert!(calls_until(&mut scheduler, |lease| number_of(lease) == hot + quiet) <= 3);
}

/// New keys come all the time, each with one job: the one that has been served before still gets its turn.
#[test]
fn keys_that_come_without_end_do_not_starve_one_that_was_there() {
    let mut scheduler = scheduler(Dispatch { steps: vec![at_a_time(10, Some("a"))], ..plain() });
    let lanes = 50;
    // The old key is behind all others by priority too.
    let old = |number| QueueItem { priority: -600, ..start(number, [0; 3]) };
    (0..20).for_each(|number| scheduler.offer(old(number), NOW));
    let mut next = 1_000;
    let mut newcomer = |scheduler: &mut Scheduler| {
        scheduler.offer(start(next, [next, 0, 0]), NOW);
        next += 1;
    };
    (0..lanes - 1).for_each(|_| newcomer(&mut scheduler));
    for _ in 0..20 {
        let mut waited = 0;
        loop {
            let lease = one(&mut scheduler, NOW).unwrap();
            done(&mut scheduler, &lease, NOW);
            if number_of(&lease) < 20 {
                break;
            }
            newcomer(&mut scheduler);
            waited += 1;
            assert!(waited <= 3 * lanes, "it has waited for {waited} calls");
        }
    }
}

/// By priority, then by age, also across keys.
#[test]
fn within_a_round_the_best_head_goes_first() {
    let mut scheduler = scheduler(Dispatch { steps: vec![at_a_time(10, Some("a"))], ..plain() });
    for (number, priority) in [(1, 0), (2, 500), (3, 0), (4, -500), (5, 100)] {
        scheduler.offer(QueueItem { priority, ..start(number, [number, 0, 0]) }, NOW);
    }
    let order: Vec<_> = scheduler.lease(Work::Calls, 10, NOW).iter().map(number_of).collect();
    assert_eq!(order, [2, 5, 1, 3, 4]);
}

#[test]
fn a_flooded_function_or_app_delays_another_by_one_call() {
    let mut scheduler = Scheduler::default();
    let app = |name| Dispatch::unlimited(AppId::of_name(name));
    let functions = ["a1", "a2", "a3", "b1"].map(|name| (function(name), app(&name[..1])));
    scheduler.configure(functions.to_vec(), NOW);
    for number in 0..3_000 {
        scheduler.offer(start_of(["a1", "a2", "a3"][number as usize % 3], number, [0; 3]), NOW);
    }
    for number in 5_000..5_010 {
        scheduler.offer(start_of("b1", number, [0; 3]), NOW);
        assert!(calls_until(&mut scheduler, |lease| number_of(lease) == number) <= 2);
        scheduler.offer(start_of("a3", number + 100, [0; 3]), NOW);
    }
}

/// Lanes that two limits hold up do not all move from one to the other whenever one opens and the other closes.
#[test]
fn what_an_operation_looks_at_does_not_grow_with_the_backlog() {
    let pause = Duration::from_millis(10);
    let throttle = |key: Option<&str>| Throttle { rate: Rate::lossless(1, pause, 0), ..a_second(1, key) };
    let tenant = Some("b");
    let user = at_a_time(1, Some("a"));
    let both = |key, step| Dispatch { throttles: vec![throttle(key)], ..steps(&[step, user]) };
    let environment = Concurrency { scope: Scope::Environment, ..at_a_time(2, tenant) };
    let limits = [
        both(None, at_a_time(2, None)),
        both(tenant, at_a_time(2, tenant)),
        both(tenant, at_a_time(2, None)),
        both(None, environment),
        Dispatch { throttles: vec![throttle(None)], runs: Some(at_a_time(2, None)), ..steps(&[user]) },
        Dispatch { runs: Some(at_a_time(3, tenant)), ..both(None, at_a_time(2, tenant)) },
    ];
    for limits in limits {
        let (lanes, rounds) = (3_000, 500);
        let mut scheduler = scheduler(limits.clone());
        (0..lanes).for_each(|number| scheduler.offer(start(number, [number, 0, 0]), NOW));
        let mut now = NOW;
        let mut held = scheduler.lease(Work::Calls, 10, now);
        now = now.plus(pause);
        held.extend(scheduler.lease(Work::Calls, 10, now));
        assert_eq!(held.len(), 2);
        scheduler.calls.looks = 0;
        for _ in 0..rounds {
            // One more may start, but both slots are in use.
            now = now.plus(pause);
            assert!(scheduler.lease(Work::Calls, 10, now).is_empty());
            // One starts; then a slot is free, but none may start.
            for _ in 0..2 {
                let lease = held.remove(0);
                done(&mut scheduler, &lease, now);
                scheduler.ended(&[lease.item.id.run], now);
                held.extend(scheduler.lease(Work::Calls, 10, now));
            }
            assert_eq!(held.len(), 1);
            now = now.plus(pause);
            held.extend(scheduler.lease(Work::Calls, 10, now));
            assert_eq!(held.len(), 2);
        }
        let looks = scheduler.calls.looks;
        assert!(looks < 10 * rounds + lanes as usize, "{looks} looks with {limits:?}");
    }
}
