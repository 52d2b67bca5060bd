//! The server is killed again and again under load; nothing that was acknowledged may be lost.
//! `INNGEST_CRASH_KILLS` sets how often (default 100), `INNGEST_CRASH_SEED` replays a run.

use std::path::PathBuf;
use std::time::Duration;

use inngest_testkit::crash::{Plan, flow, runs};

/// As the environment says.
fn plan() -> Plan {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("INNGEST_CRASH_KILLS").unwrap_or(100);
    let seed = number("INNGEST_CRASH_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_inngest"));
    Plan { binary, kills: u32::try_from(kills).expect("a sensible number"), seed }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let plan = plan();
    let verdict = runs::run(&plan).await.expect("the load could be run");
    println!(
        "{} kills, {} acknowledged events, {} runs: {} lost, {} doubled, {} forgotten, {} hanging, {} mistimed; \
         healthy within {:?}; {} timers, late by {:?} (p50, p99, max)",
        verdict.kills,
        verdict.events,
        verdict.runs,
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.forgotten.len(),
        verdict.hanging.len(),
        verdict.mistimed.len(),
        verdict.healthy_after_max,
        verdict.timers,
        verdict.late
    );
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.events > 5 * plan.kills as usize, "the load was too small to show anything: {}", verdict.events);
    assert!(verdict.healthy_after_max < Duration::from_secs(2), "{:?}", verdict.healthy_after_max);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_holds_when_the_server_is_killed() {
    let plan = plan();
    let verdict = flow::run(&plan).await.expect("the load could be run");
    println!(
        "{} kills, {} acknowledged events, {} runs: {} problems; healthy within {:?}; late (p50, p99): {} debounces \
         {:?}, {} throttled starts {:?}, {} slots {:?}",
        verdict.kills,
        verdict.events,
        verdict.runs,
        verdict.problems.len(),
        verdict.healthy_after_max,
        verdict.debounces.count,
        verdict.debounces.late,
        verdict.throttled.count,
        verdict.throttled.late,
        verdict.slots.count,
        verdict.slots.late,
    );
    assert_eq!(verdict.problems, Vec::<String>::new());
    assert!(verdict.events > 20 * plan.kills as usize, "the load was too small to show anything: {}", verdict.events);
}
