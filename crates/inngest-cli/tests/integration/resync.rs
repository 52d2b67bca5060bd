//! Syncs while runs are under way: functions and apps that change, move, go and come back.

use std::sync::Arc;
use std::time::SystemTime;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubApp, StubFunction};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::World;

/// Sleeps so long, then returns.
fn sleeper(duration: &'static str) -> impl Fn(&Call) -> Answer + Send + Sync + 'static {
    move |call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": duration }))])),
        Some(_) => Answer::Return(json!("awake")),
    }
}

/// Runs in every state there is: asleep, waiting, to be retried, in flight, to begin later.
struct UnderWay {
    world: World,
    go: Arc<Notify>,
    events: Vec<String>,
}

impl UnderWay {
    async fn start() -> Self {
        let go = Arc::new(Notify::new());
        let release = Arc::clone(&go);
        let world = World::of(vec![
            StubFunction::new("nap", "t/nap", sleeper("2s")),
            StubFunction::new("wait", "t/wait", |call| match call.memo("w") {
                None => Answer::Ops(json!([op(
                    "WaitForEvent",
                    "w",
                    json!({ "name": "t/go", "opts": { "timeout": "1h" } })
                )])),
                Some(_) => Answer::Return(json!("came")),
            }),
            StubFunction::new("retry", "t/retry", |call| match call.attempt() {
                0 => Answer::Sdk { status: 500, headers: vec![("retry-after".into(), "3".into())], body: "{}".into() },
                _ => Answer::Return(json!("second")),
            }),
            StubFunction::new("flight", "t/flight", move |call| match call.memo("a") {
                None => Answer::Until(Arc::clone(&release), Box::new(Answer::step("a", &json!(1)))),
                Some(_) => Answer::Return(json!("landed")),
            }),
            StubFunction::new("later", "t/later", |_| Answer::Return(json!("late"))),
        ])
        .await;
        let ts = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 + 2_500;
        let later = world.client().send(&json!({ "name": "t/later", "ts": ts })).await.unwrap().remove(0);
        let mut events = vec![later];
        for name in ["nap", "wait", "retry", "flight"] {
            events.push(world.send(&format!("t/{name}"), json!({})).await);
            world.call(name, 0).await;
        }
        world.pending(&events[1], "Sleeping").await;
        world.pending(&events[2], "Waiting").await;
        world.pending(&events[3], "Errored").await;
        Self { world, go, events }
    }

    /// Lets all of them end, as they would have without the sync.
    async fn all_end(&self) {
        self.world.send("t/go", json!({})).await;
        self.go.notify_waiters();
        for (event, output) in self.events.iter().zip(["late", "awake", "came", "second", "landed"]) {
            let run = self.world.ended(event).await;
            assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!(output)), "{run}");
        }
    }

    /// Nothing of the app is started any more.
    async fn nothing_starts(&self) {
        for name in ["nap", "wait", "retry", "flight", "later"] {
            let event = self.world.send(&format!("t/{name}"), json!({})).await;
            assert_eq!(self.world.client().runs_of(&event).await.unwrap(), Vec::<Value>::new(), "{name}");
        }
        let invoked = self.world.client().post("/invoke/app-later", &json!({})).await.unwrap();
        assert_eq!(invoked.status, 404, "{}", invoked.text());
    }
}

#[tokio::test]
async fn runs_of_removed_functions_go_on_and_no_new_ones_start() {
    let under_way = UnderWay::start().await;
    assert_eq!(under_way.world.sync(&json!([])).await["modified"], true);
    under_way.nothing_starts().await;
    under_way.all_end().await;
}

#[tokio::test]
async fn runs_of_a_removed_app_go_on_and_it_may_come_back() {
    let under_way = UnderWay::start().await;
    let world = &under_way.world;
    let path = format!("/fn/remove?url={}", world.app.url);
    assert_eq!(world.client().request("DELETE", &path, &[], "").await.unwrap().status, 200);
    under_way.nothing_starts().await;
    under_way.all_end().await;
    let known = world.app.calls_of("later")[0].body["ctx"]["fn_id"].clone();
    let reply = world.sync(&world.app.registration()["functions"]).await;
    assert_eq!(reply["modified"], true, "the same functions as ever, and yet they are back");
    assert_eq!(world.run("t/later", json!({})).await["output"], "late");
    assert_eq!(world.app.calls_of("later")[1].body["ctx"]["fn_id"], known, "as who they were");
}

#[tokio::test]
async fn an_app_that_moves_keeps_its_functions_and_gets_the_calls_where_it_is() {
    let under_way = UnderWay::start().await;
    let world = &under_way.world;
    let mut ids = Vec::new();
    for name in ["nap", "wait", "retry"] {
        ids.push(world.app.calls_of(name)[0].body["ctx"]["fn_id"].clone());
    }
    let before = world.app.calls().len();
    let moved = StubApp::serve("app", world.app.functions().to_vec()).await.unwrap();
    assert_ne!(moved.url, world.app.url);
    moved.register(world.client()).await.unwrap();
    under_way.all_end().await;
    assert_eq!(world.app.calls().len(), before, "nobody calls where it was");
    for (name, id) in ["nap", "wait", "retry"].into_iter().zip(ids) {
        let calls = moved.calls_of(name);
        assert_eq!((calls.len(), &calls[0].body["ctx"]["fn_id"]), (1, &id), "{name}");
    }
}

#[tokio::test]
async fn a_renamed_function_is_the_same_and_its_newest_definition_counts() {
    let world = World::of(vec![
        StubFunction::new("f", "t/f", |_| Answer::error("again")).retries(20),
        StubFunction::new("g", "t/g", sleeper("1h")).retries(20),
    ])
    .await;
    let (failing, napping) = (world.send("t/f", json!({})).await, world.send("t/g", json!({})).await);
    let first = world.call("f", 0).await;
    world.pending(&napping, "Sleeping").await;
    let mut functions = world.app.registration()["functions"].clone();
    functions[0]["name"] = json!("Another name");
    functions[0]["triggers"] = json!([{ "event": "t/other" }]);
    functions[0]["steps"]["step"]["retries"]["attempts"] = json!(0);
    functions[1]["timeouts"] = json!({ "finish": "1s" });
    assert_eq!(world.sync(&functions).await["modified"], true);
    assert_eq!(world.sync(&functions).await["modified"], false, "the same again is nothing");
    assert_eq!(world.ended(&failing).await["status"], "Failed", "no attempts are left to it");
    let old = world.send("t/f", json!({})).await;
    assert_eq!(world.client().runs_of(&old).await.unwrap().len(), 0);
    world.run("t/other", json!({})).await;
    let last = world.app.calls_of("f").pop().unwrap();
    assert_eq!(last.body["ctx"]["fn_id"], first.body["ctx"]["fn_id"]);
    assert_eq!(last.body["ctx"]["max_attempts"], 1);
    // A run that has begun already gets no timer for what was not there then.
    assert_eq!(world.client().runs_of(&napping).await.unwrap()[0]["status"], "Running");
}

#[tokio::test]
async fn two_apps_may_be_served_at_one_url() {
    let hello = |name: &'static str| StubFunction::new("f", "t/f", move |_| Answer::Return(json!(name)));
    let world = World::of(vec![hello("app")]).await;
    let mut other = world.app.registration();
    other["appName"] = json!("other");
    other["functions"][0]["id"] = json!("other-f");
    other["functions"][0]["name"] = json!("other f");
    assert_eq!(world.client().post("/fn/register", &other).await.unwrap().json()["modified"], true);
    let event = world.send("t/f", json!({})).await;
    assert_eq!(world.client().ended_runs(&event, 2, crate::harness::SOON).await.unwrap().len(), 2);
    // One of them loses its functions, the other does not.
    world.sync(&json!([])).await;
    assert_eq!(world.run("t/f", json!({})).await["function_slug"], "other-f");
}
