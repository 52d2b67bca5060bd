//! Several steps at once.

use inngest_core::{Millis, RunStatus};

use super::model::*;
use crate::response::{Op, OpReport};

/// Steps a, b and c in parallel, then z inline whatever the server says, then the result.
fn abc_then_z(mode: fn(OpReport) -> OpReport) -> impl FnMut(&Call) -> Answer {
    move |call| {
        if !call.target().is_empty() {
            return Ok(ops(vec![ran(call.target())]));
        }
        let open: Vec<_> = ["a", "b", "c"].into_iter().filter(|step| !call.has(step)).collect();
        Ok(if !open.is_empty() {
            ops(open.into_iter().map(|step| mode(planned(step))).collect())
        } else if call.has("z") {
            returned("1")
        } else {
            ops(vec![ran("z")])
        })
    }
}

/// As JS does it: plans when it is told to or when there is more than one step, else runs the step.
fn obedient(steps: Vec<OpReport>, call: &Call) -> Answer {
    Ok(match steps.len() {
        0 => returned("1"),
        1 if !call.item.plan_only => ops(vec![OpReport { op: Op::StepRun, data: Some(json("1")), ..steps[0].clone() }]),
        _ => ops(steps),
    })
}

#[test]
fn a_joined_block_is_followed_by_one_discovery() {
    for waves in [false, true] {
        let mut model = Model::new();
        let app = abc_then_z(|report| report);
        if waves {
            model.drive_in_waves(app)
        } else {
            model.drive(app)
        }
        assert_eq!((model.calls.len(), model.status()), (6, Some(RunStatus::Completed)));
        let planned: Vec<_> = model.calls.iter().filter(|call| !call.target().is_empty()).collect();
        assert!(planned.iter().all(|call| call.item.plan_only && call.item.stack_current == 0));
        assert!(model.calls[4..].iter().all(|call| !call.item.plan_only && call.item.group.is_none()));
        assert_eq!(model.calls[4].item.stack_current, 3);
    }
}

#[test]
fn old_versions_get_a_discovery_for_each_step() {
    for (waves, asked) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
        let mut model = Model::new();
        let mut app = abc_then_z(|report| report);
        let app = |call: &Call| app(call).map(|answer| version(asked, answer));
        if waves {
            model.drive_in_waves(app)
        } else {
            model.drive(app)
        }
        assert_eq!((model.calls.len(), model.status()), (8, Some(RunStatus::Completed)), "{waves} {asked}");
        assert!(model.calls[1..].iter().all(|call| call.item.plan_only), "for the rest of the run");
        assert_eq!(model.records.len(), 4);
    }
}

#[test]
fn in_race_mode_each_step_gets_a_discovery() {
    for waves in [false, true] {
        let mut model = Model::new();
        let app = abc_then_z(racing);
        if waves {
            model.drive_in_waves(app)
        } else {
            model.drive(app)
        }
        assert_eq!((model.calls.len(), model.status()), (8, Some(RunStatus::Completed)), "{waves}");
    }
}

#[test]
fn two_branches_of_two_steps_race_in_nine_calls() {
    let mut model = Model::new();
    let mut ran_at_all = Vec::new();
    model.drive_in_waves(|call| {
        if !call.target().is_empty() {
            ran_at_all.push(call.target().to_owned());
            return Ok(ops(vec![ran(call.target())]));
        }
        let next = |first, second| if !call.has(first) { Some(first) } else { (!call.has(second)).then_some(second) };
        let open = [next("a1", "a2"), next("b1", "b2")].into_iter().flatten();
        obedient(open.map(|step| racing(planned(step))).collect(), call)
    });
    ran_at_all.sort();
    assert_eq!(ran_at_all, ["a1", "a2", "b1", "b2"], "each step is run once");
    assert_eq!((model.calls.len(), model.status()), (9, Some(RunStatus::Completed)));
}

/// Branches a1, a2 and b1 in race mode, for code that waits for all of them. The discovery after a1 plans a2 in a block
/// of its own; while a2 runs, b1 is the last of the first block.
#[test]
fn no_step_is_run_twice_when_a_branch_of_a_race_is_longer_than_the_others() {
    let mut model = Model::new();
    let app = |call: &Call| {
        let a = if call.has("a1") { "a2" } else { "a1" };
        let open = [a, "b1"].into_iter().filter(|step| !call.has(step));
        obedient(open.map(|step| racing(planned(step))).collect(), call)
    };
    let start = model.next().unwrap();
    model.work(&start, &mut |call| app(call));
    let b1 = model.dispatch(&model.job("b1"));
    let a1 = model.job("a1");
    model.work(&a1, &mut |call| Ok(ops(vec![ran(call.target())])));
    let discovery = model.job("");
    model.work(&discovery, &mut |call| app(call));
    let a2 = model.dispatch(&model.job("a2"));
    model.answer(&b1, Ok(ops(vec![ran("b1")]))).unwrap();
    let discovery = model.job("");
    assert!(discovery.plan_only, "a2 is under way");
    model.work(&discovery, &mut |call| app(call));
    assert_eq!(model.records.iter().filter(|record| record.step.id.as_str() == "a2").count(), 0);
    model.answer(&a2, Ok(ops(vec![ran("a2")]))).unwrap();
    let last = model.job("");
    assert!(!last.plan_only);
    model.work(&last, &mut |call| app(call));
    assert_eq!(model.status(), Some(RunStatus::Completed));
}

#[test]
fn two_discoveries_that_bring_nothing_do_not_rely_on_each_other() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let (a, b) = (|| racing(planned("a")), || racing(planned("b")));
    model.work(&start, &mut |_| Ok(ops(vec![a(), b()])));
    let [step_a, step_b] = ["a", "b"].map(|step| model.dispatch(&model.job(step)));
    model.answer(&step_a, Ok(ops(vec![ran("a")]))).unwrap();
    let first = model.dispatch(&model.job(""));
    model.answer(&step_b, Ok(ops(vec![ran("b")]))).unwrap();
    let second = model.jobs.values().find(|job| job.id != first.item.id).unwrap().clone();
    let second = model.dispatch(&second);
    model.answer(&second, Ok(ops(vec![]))).unwrap();
    model.answer(&first, Ok(ops(vec![b()]))).unwrap();
    assert_eq!(model.next().map(|job| job.attempt), Some(1), "it is tried again");
}

#[test]
fn a_race_ends_with_a_discovery_that_may_run_steps_again() {
    let mut model = Model::new();
    model.drive(|call| {
        if !call.target().is_empty() {
            return Ok(ops(vec![ran(call.target())]));
        }
        let open = ["a", "b"].into_iter().filter(|step| !call.has(step));
        let mut open: Vec<_> = open.map(|step| racing(planned(step))).collect();
        if open.is_empty() && !call.has("z") {
            open.push(planned("z"));
        }
        obedient(open, call)
    });
    assert_eq!(model.status(), Some(RunStatus::Completed));
    let last = model.calls.last().unwrap();
    assert!(!last.item.plan_only && last.item.group.is_none(), "{:?}", last.item);
}

#[test]
fn the_winner_of_a_race_ends_the_run_and_late_answers_are_dropped() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![racing(planned("fast")), racing(planned("slow"))]))).unwrap();
    let (fast, slow) = (model.job("fast"), model.job("slow"));
    let (fast, slow) = (model.dispatch(&fast), model.dispatch(&slow));
    model.answer(&fast, Ok(ops(vec![ran("fast")]))).unwrap();
    let discovery = model.job("");
    let discovery = model.dispatch(&discovery);
    model.answer(&discovery, Ok(returned("1"))).unwrap();
    assert_eq!(model.status(), Some(RunStatus::Completed));
    assert!(model.answer(&slow, Ok(ops(vec![ran("slow")]))).is_err());
}

#[test]
fn ten_steps_at_once_take_twelve_calls() {
    let mut model = Model::new();
    model.drive_in_waves(|call| {
        Ok(match call.target() {
            "" if call.steps.is_empty() => ops((0..10).map(|n| planned(&format!("p{n}"))).collect()),
            "" => returned("1"),
            step => ops(vec![ran(step)]),
        })
    });
    assert_eq!((model.calls.len(), model.status()), (12, Some(RunStatus::Completed)));
}

#[test]
fn a_sleep_is_a_branch_like_any_other() {
    for (asked, calls) in [(2, 3), (1, 4)] {
        let mut model = Model::new();
        model.drive(|call| {
            let answer = match call.target() {
                "" => {
                    let step = (!call.has("p")).then(|| planned("p"));
                    let sleep = (!call.has("s")).then(|| sleeping("s", "1s"));
                    let open: Vec<_> = [step, sleep].into_iter().flatten().collect();
                    if open.is_empty() { returned("1") } else { ops(open) }
                }
                step => ops(vec![ran(step)]),
            };
            Ok(version(asked, answer))
        });
        assert_eq!((model.calls.len(), model.status()), (calls, Some(RunStatus::Completed)), "version {asked}");
        let last = model.calls.last().unwrap();
        assert_eq!((last.at, last.item.plan_only), (Millis(START.0 + 1_000), asked == 1));
    }
}

#[test]
fn a_block_waits_for_a_branch_that_fails_for_good() {
    let mut model = Model::with_retries(0);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![planned("bad"), planned("slow")]))).unwrap();
    let (bad, slow) = (model.job("bad"), model.job("slow"));
    let (bad, slow) = (model.dispatch(&bad), model.dispatch(&slow));
    model.answer(&bad, Ok(ops(vec![failing(Op::StepError, "bad")]))).unwrap();
    assert_eq!(model.jobs.len(), 1, "slow is still at work");
    model.answer(&slow, Ok(ops(vec![ran("slow")]))).unwrap();
    model.drive(|call| Ok(if call.has("bad") && call.has("slow") { returned("1") } else { failed("too early") }));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), 4));
}

#[test]
fn with_old_versions_a_failed_branch_is_told_at_once() {
    let mut model = Model::with_retries(0);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(version(1, ops(vec![planned("bad"), planned("slow")])))).unwrap();
    let (bad, slow) = (model.job("bad"), model.job("slow"));
    let (bad, slow) = (model.dispatch(&bad), model.dispatch(&slow));
    model.answer(&bad, Ok(version(1, ops(vec![failing(Op::StepError, "bad")])))).unwrap();
    let discovery = model.job("");
    let discovery = model.dispatch(&discovery);
    assert!(discovery.has("bad") && !discovery.has("slow"));
    model.answer(&discovery, Ok(returned("1"))).unwrap();
    assert!(model.answer(&slow, Ok(version(1, ops(vec![ran("slow")])))).is_err());
}

#[test]
fn a_branch_that_is_tried_again_keeps_the_block_open() {
    let mut model = Model::with_retries(3);
    model.drive(|call| {
        Ok(match call.target() {
            "" if call.steps.is_empty() => ops(vec![planned("e"), planned("f")]),
            "" => returned("1"),
            "e" if call.item.attempt < 2 => ops(vec![failing(Op::StepError, "e")]),
            step => ops(vec![ran(step)]),
        })
    });
    assert_eq!((model.attempts_of("e"), model.attempts_of("f")), (vec![0, 1, 2], vec![0]));
    assert_eq!((model.attempts_of(""), model.status()), (vec![0, 0], Some(RunStatus::Completed)));
    assert!(model.calls.iter().filter(|call| call.target() == "e").all(|call| call.item.plan_only));
}

#[test]
fn a_call_that_ran_one_step_and_planned_others_waits_for_them() {
    let mut model = Model::new();
    model.drive(|call| {
        Ok(match call.target() {
            "" if call.steps.is_empty() => ops(vec![ran("a"), failing(Op::StepFailed, "b"), planned("c")]),
            "" => returned("1"),
            step => ops(vec![ran(step)]),
        })
    });
    assert_eq!((model.calls.len(), model.status()), (3, Some(RunStatus::Completed)));
    assert!(model.calls[2].has("b") && model.calls[2].has("c"));
}

#[test]
fn a_failed_step_beside_a_plan_is_tried_again_within_the_block() {
    let mut model = Model::with_retries(3);
    model.drive(|call| {
        if !call.target().is_empty() {
            return Ok(ops(vec![ran(call.target())]));
        }
        let plan = (!call.has("p")).then(|| planned("p"));
        let error =
            (!call.has("b")).then(|| if call.item.attempt < 1 { failing(Op::StepError, "b") } else { ran("b") });
        let open: Vec<_> = [plan, error].into_iter().flatten().collect();
        Ok(if open.is_empty() { returned("1") } else { ops(open) })
    });
    assert_eq!((model.calls.len(), model.status()), (4, Some(RunStatus::Completed)));
    assert_eq!(model.attempts_of(""), [0, 1, 0]);
    assert!(model.calls[2].item.plan_only && !model.calls[3].item.plan_only);
}

#[test]
fn a_block_that_ends_while_its_discovery_is_tried_again_goes_on() {
    let mut model = Model::with_retries(3);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![planned("p"), failing(Op::StepError, "b")]))).unwrap();
    let (p, again) = (model.job("p"), model.job(""));
    let again = model.dispatch(&again);
    model.work(&p, &mut |_: &Call| Ok(ops(vec![ran("p")])));
    // The app has not seen p's result yet, and reports what it plans.
    model.answer(&again, Ok(ops(vec![planned("p"), ran("b")]))).unwrap();
    model.drive(|call| Ok(if call.has("p") && call.has("b") { returned("1") } else { failed("no") }));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), 4));
}

#[test]
fn planning_the_same_steps_twice_makes_them_once() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    let plan = || version(1, ops(vec![planned("a"), planned("b"), planned("c")]));
    model.answer(&call, Ok(plan())).unwrap();
    let a = model.job("a");
    model.work(&a, &mut |_: &Call| Ok(version(1, ops(vec![ran("a")]))));
    let discovery = model.job("");
    let discovery = model.dispatch(&discovery);
    model.answer(&discovery, Ok(plan())).unwrap();
    let left: Vec<_> = model.jobs.values().map(|job| job.step().unwrap().id.to_string()).collect();
    assert_eq!((left.len(), model.attempts.len()), (2, 0));
    assert!(!left.contains(&"a".to_owned()));
}

#[test]
fn of_two_discoveries_that_run_the_same_step_one_goes_on() {
    let mut model = Model::new();
    let mut app = abc_then_z(|report| report);
    model.drive_in_waves(|call| app(call).map(|answer| version(1, answer)));
    let z = model.records.iter().filter(|record| record.step.id.as_str() == "z").count();
    assert_eq!((z, model.calls.iter().filter(|call| call.has("z")).count()), (1, 1));
}

#[test]
fn an_answer_that_repeats_what_siblings_went_on_from_makes_nothing() {
    let mut model = Model::new();
    let old = |reports| Ok(version(1, ops(reports)));
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, old(vec![planned("a"), planned("b")])).unwrap();
    for step in ["a", "b"] {
        let job = model.job(step);
        model.work(&job, &mut |_: &Call| old(vec![ran(step)]));
    }
    let discoveries: Vec<_> = model.jobs.values().cloned().collect();
    let calls: Vec<_> = discoveries.iter().map(|job| model.dispatch(job)).collect();
    let [first, late] = &calls[..] else { panic!("one for each step: {calls:?}") };
    model.answer(first, old(vec![ran("z")])).unwrap();
    let after_z = model.jobs.values().find(|job| job.id != late.item.id).unwrap().clone();
    model.work(&after_z, &mut |_: &Call| old(vec![ran("y")]));
    for answer in [vec![ran("z")], vec![planned("a"), planned("z")]] {
        let mut model = model.clone();
        model.answer(late, old(answer)).unwrap();
        assert_eq!((model.jobs.len(), model.attempts.len()), (1, 0), "only the discovery after y is left");
    }
}

#[test]
fn a_planned_step_may_turn_out_to_be_a_sleep() {
    let mut model = Model::new();
    model.drive(|call| {
        Ok(match call.target() {
            "" if call.steps.is_empty() => ops(vec![planned("a"), planned("s")]),
            "" => returned("1"),
            "s" => ops(vec![sleeping("s", "3s")]),
            step => ops(vec![ran(step)]),
        })
    });
    assert_eq!((model.calls.len(), model.status()), (4, Some(RunStatus::Completed)));
    assert_eq!(model.now, Millis(START.0 + 3_000), "the block waits for the sleep");
}

#[test]
fn one_block_follows_another() {
    for asked in [0, 1, 2] {
        let mut model = Model::new();
        model.drive_in_waves(|call| {
            if !call.target().is_empty() {
                return Ok(version(asked, ops(vec![ran(call.target())])));
            }
            let open = |steps: [&str; 2]| steps.into_iter().filter(|s| !call.has(s)).map(planned).collect::<Vec<_>>();
            let first = open(["a", "b"]);
            let steps = if first.is_empty() { open(["c", "d"]) } else { first };
            obedient(steps, call).map(|answer| version(asked, answer))
        });
        assert_eq!((model.status(), model.records.len()), (Some(RunStatus::Completed), 4), "version {asked}");
        if asked == 2 {
            assert_eq!(model.calls.len(), 7);
        }
    }
}

#[test]
fn a_block_whose_step_was_recorded_elsewhere_still_ends() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![planned("a"), planned("b")]))).unwrap();
    let b = model.job("b");
    model.work(&b, &mut |_: &Call| Ok(ops(vec![ran("b")])));
    let a = model.job("a");
    let a = model.dispatch(&a);
    let transition = model.with_planning(&a.item, a.at, |planning| crate::plan::checkpoint(planning, vec![ran("a")]));
    model.commit(transition.unwrap()).unwrap();
    model.answer(&a, Ok(ops(vec![ran("a")]))).unwrap();
    model.drive(|call| Ok(if call.has("a") && call.has("b") { returned("1") } else { failed("no") }));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), 4));
}
