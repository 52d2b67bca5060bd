//! Schedules on a real server: ticks, jitter, restarts, removal.

use std::time::Duration;

use inngest_testkit::{Answer, Server, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World, options};

fn ticking(id: &str, triggers: Value) -> StubFunction {
    StubFunction::new(id, "x", |call| Answer::Return(call.body["event"].clone())).triggers(triggers)
}

/// Events of the calls of one function so far.
fn ticks(app: &StubApp, function: &str) -> Vec<Value> {
    app.calls_of(function).iter().map(|call| call.body["event"].clone()).collect()
}

async fn at_least(app: &StubApp, function: &str, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} ticks"), SOON, async || Some(ticks(app, function)).filter(|all| all.len() >= count))
        .await
        .unwrap()
}

fn seconds(text: &Value) -> i64 {
    let text = text.as_str().unwrap();
    let clock = text.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap())
}

#[tokio::test]
async fn a_schedule_fires_at_its_times_and_starts_the_function_once_each() {
    let world = World::of(vec![
        // Both name every second.
        ticking("every", json!([{ "cron": "* * * * * *" }, { "cron": "*/1 * * * * *" }])),
        ticking("spread", json!([{ "cron": "* * * * * *", "jitter": "3s" }])),
    ])
    .await;
    let all = at_least(&world.app, "every", 3).await;
    for tick in &all {
        assert_eq!(tick["name"], "inngest/scheduled.timer");
        assert_eq!(tick["id"], tick["data"]["scheduledAt"]);
        assert_eq!(tick["data"]["scheduledAt"], tick["data"]["fireAt"]);
        assert!(tick["data"]["cron"].as_str().is_some_and(|cron| cron.ends_with("* * * * *")));
        assert!((0..500).contains(&(tick["ts"].as_i64().unwrap() % 1_000)), "on time: {tick}");
    }
    let mut ids: Vec<&str> = all.iter().map(|tick| tick["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "two schedules that meet start one run");
    let spread = at_least(&world.app, "spread", 1).await;
    let offset = seconds(&spread[0]["data"]["fireAt"]) - seconds(&spread[0]["data"]["scheduledAt"]);
    assert!((1..=3).contains(&offset.rem_euclid(86_400)), "{spread:?}");
}

#[tokio::test]
async fn a_schedule_that_is_taken_out_fires_no_more() {
    let world = World::of(vec![ticking("every", json!([{ "cron": "* * * * * *" }]))]).await;
    at_least(&world.app, "every", 1).await;
    let mut registration = world.app.registration();
    registration["functions"][0]["triggers"] = json!([{ "event": "t/now" }]);
    let reply = world.client().post("/fn/register", &registration).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let run = world.run("t/now", json!({})).await;
    assert_eq!(run["status"], "Completed");
    let before = ticks(&world.app, "every").len();
    tokio::time::sleep(Duration::from_millis(2_500)).await; // Two ticks that must not come.
    assert_eq!(ticks(&world.app, "every").len(), before);
}

/// What comes of the ticks that a server missed while it was down, oldest first, once so many have come. (They fire
/// in order; their calls may overtake each other.)
async fn after_downtime(policy: &str, count: usize) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.args.extend(["--cron-catchup".to_owned(), policy.to_owned()]);
    let server = Server::start(options.clone()).await.unwrap();
    let app = StubApp::serve("app", vec![ticking("every", json!([{ "cron": "*/2 * * * * *" }]))]).await.unwrap();
    app.register(server.client()).await.unwrap();
    at_least(&app, "every", 1).await;
    drop(server);
    let before = ticks(&app, "every");
    tokio::time::sleep(Duration::from_secs(10)).await; // The server is down for longer than a tick may be late.
    let server = Server::start(options).await.unwrap();
    // A tick whose answer was lost with the server is called again, but not missed.
    let is_new = |tick: &Value| before.iter().all(|known| known["id"] != tick["id"]);
    let missed = wait_until("missed ticks", SOON, async || {
        let new: Vec<Value> = ticks(&app, "every").into_iter().filter(is_new).collect();
        Some(new).filter(|new| new.len() >= count)
    });
    let mut missed = missed.await.unwrap();
    drop(server);
    missed.sort_by_key(|tick| tick["id"].as_str().map(str::to_owned));
    missed
}

#[tokio::test]
async fn the_latest_missed_tick_fires_after_a_restart() {
    let after = after_downtime("latest", 1).await;
    let late = after[0]["ts"].as_i64().unwrap() - epoch(&after[0]["id"]);
    assert!((0..4_000).contains(&late), "the latest one: {after:?}");
}

#[tokio::test]
async fn every_missed_tick_fires_after_a_restart_if_asked_for() {
    let after = after_downtime("all", 4).await;
    let late = after[0]["ts"].as_i64().unwrap() - epoch(&after[0]["id"]);
    assert!(late > 6_000, "from the oldest one: {after:?}");
    let gaps = after.windows(2).map(|pair| epoch(&pair[1]["id"]) - epoch(&pair[0]["id"]));
    assert!(gaps.into_iter().all(|gap| gap == 2_000), "none is left out: {after:?}");
}

/// Milliseconds of an RFC 3339 time of today, as far as they can be compared with another of today.
fn epoch(text: &Value) -> i64 {
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let day = now - now.rem_euclid(86_400_000);
    let at = day + seconds(text) * 1_000;
    if at > now + 43_200_000 { at - 86_400_000 } else { at }
}
