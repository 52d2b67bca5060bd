//! The server is killed again and again under load; nothing that was acknowledged may be lost.
//! `INNGEST_CRASH_KILLS` sets how often (default 100), `INNGEST_CRASH_SEED` replays a run.

use std::path::PathBuf;
use std::time::Duration;

use inngest_testkit::crash::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("INNGEST_CRASH_KILLS").unwrap_or(100);
    let seed = number("INNGEST_CRASH_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_inngest"));
    let plan = Plan { binary, kills: u32::try_from(kills).expect("a sensible number"), seed };
    let verdict = run(&plan).await.expect("the load could be run");
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
    assert!(verdict.events > 10 * kills as usize / 2, "the load was too small to show anything: {}", verdict.events);
    assert!(verdict.healthy_after_max < Duration::from_secs(2), "{:?}", verdict.healthy_after_max);
}
