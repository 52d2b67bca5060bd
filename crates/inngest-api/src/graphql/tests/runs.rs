//! Runs that did not start as others do: skipped, from a batch, by the server's own events.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;

/// Generous for a loaded machine; every wait ends as soon as its condition holds.
const SOON: Duration = Duration::from_secs(20);

const RUNS_OF: &str = "query($id: ULID!) { eventV2(id: $id) { runs { id status } } }";

/// The runs that an event has started.
async fn runs_of(world: &World, event: &str) -> Vec<Value> {
    let mut data = world.ask(RUNS_OF, json!({ "id": event })).await;
    serde_json::from_value(data["eventV2"]["runs"].take()).unwrap()
}

#[tokio::test]
async fn skipped_runs_are_listed_for_those_who_ask_for_them() {
    let world = World::new().await;
    world.register(&[("one", json!({ "event": "t/a" }), json!({ "singleton": { "mode": "skip" } }))]).await;
    let first = world.send(json!({ "name": "t/a" })).await.remove(0);
    let second = world.send(json!({ "name": "t/a" })).await.remove(0);
    let (runs, skipped) = (runs_of(&world, &first).await, runs_of(&world, &second).await);
    assert_eq!((&runs[0]["status"], &skipped[0]["status"]), (&json!("QUEUED"), &json!("SKIPPED")));
    let list = "query($s: [FunctionRunStatus!]) { runs(orderBy: [], filter: {from: \"2020-01-01T00:00:00Z\", status: $s}) { totalCount edges { node { id } } } }";
    for (statuses, expected) in
        [(json!(null), &runs[..]), (json!([]), &runs[..]), (json!(["SKIPPED"]), &skipped[..]), (json!(["FAILED"]), &[])]
    {
        let found = world.ask(list, json!({ "s": statuses })).await["runs"].take();
        assert_eq!(found["totalCount"], expected.len(), "{statuses}");
        let ids: Vec<&Value> = found["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]["id"]).collect();
        assert_eq!(ids, expected.iter().map(|run| &run["id"]).collect::<Vec<_>>(), "{statuses}");
    }
    let document = "query($run: String!) { run(runID: $run) { startedAt endedAt trace(preview: true) { name status isRoot startedAt skipReason skipExistingRunID childrenSpans { name } } } }";
    let shown = world.ask(document, json!({ "run": skipped[0]["id"] })).await["run"].take();
    let trace = json!({
        "name": "Run", "status": "SKIPPED", "isRoot": true, "startedAt": null, "skipReason": "Singleton",
        "skipExistingRunID": runs[0]["id"], "childrenSpans": [],
    });
    assert_eq!(shown, json!({ "startedAt": null, "endedAt": null, "trace": trace }));
}

#[tokio::test]
async fn a_batch_tells_all_its_events() {
    let world = World::working().await;
    let batch = json!({ "batchEvents": { "maxSize": 2, "timeout": "60s" } });
    world.register(&[("many", json!({ "event": "t/a" }), batch)]).await;
    let first = world.send(json!({ "name": "t/a", "data": { "n": 1 } })).await.remove(0);
    assert_eq!(runs_of(&world, &first).await, [Value::Null; 0], "it waits for another one");
    let second = world.send(json!({ "name": "t/a", "data": { "n": 2 } })).await.remove(0);
    let started = async {
        loop {
            if let [run] = &runs_of(&world, &second).await[..] {
                break run["id"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let run = tokio::time::timeout(SOON, started).await.expect("a run");
    assert_eq!(runs_of(&world, &first).await[0]["id"], run);
    let document = "query($run: String!) {
        run(runID: $run) { isBatch batchCreatedAt eventName cronSchedule triggerIDs }
        runTrigger(runID: $run) { eventName IDs payloads timestamp isBatch batchID cron } }";
    let mut shown = world.ask(document, json!({ "run": run })).await;
    let trigger = shown["runTrigger"].take();
    let payloads = trigger["payloads"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let payloads: Vec<Value> = payloads.map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!((&payloads[0]["data"]["n"], &payloads[1]["data"]["n"]), (&json!(1), &json!(2)));
    assert_eq!((&payloads[0]["id"], &payloads[1]["id"]), (&json!(first), &json!(second)));
    assert_eq!(
        (&trigger["eventName"], &trigger["IDs"], &trigger["isBatch"], &trigger["cron"]),
        (&json!("t/a"), &json!([first, second]), &json!(true), &Value::Null)
    );
    // A batch is named by the time at which it began, which is that of its first event.
    assert_eq!(trigger["batchID"].as_str().map(|id| &id[..10]), Some(&first[..10]));
    assert_eq!(shown["run"]["batchCreatedAt"], trigger["timestamp"]);
    assert_eq!(
        (&shown["run"]["isBatch"], &shown["run"]["triggerIDs"], &shown["run"]["eventName"]),
        (&json!(true), &json!([first, second]), &Value::Null)
    );
}

#[tokio::test]
async fn events_of_the_server_itself_are_listed_for_those_who_ask_for_them() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    world.send(json!({ "name": "t/b" })).await;
    world.ask("mutation { invokeFunction(functionSlug: \"app-a\", data: {n: 1}) }", json!({})).await;
    let names = async |internal: bool| {
        let list = "query($i: Boolean!) { eventsV2(filter: {from: \"2020-01-01T00:00:00Z\", includeInternalEvents: $i}) { totalCount edges { node { name } } } }";
        let found = world.ask(list, json!({ "i": internal })).await["eventsV2"].take();
        let edges = found["edges"].as_array().unwrap();
        assert_eq!(found["totalCount"], edges.len());
        edges.iter().map(|edge| edge["node"]["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(false).await, ["t/b"]);
    assert_eq!(names(true).await, ["inngest/function.invoked", "t/b"]);
    // The stream shows what has started something, whoever sent it.
    let stream = world.ask("{ stream(query: {}) { trigger runs { function { slug } } } }", json!({})).await;
    let invoked = json!({ "trigger": "inngest/function.invoked", "runs": [{ "function": { "slug": "app-a" } }] });
    assert_eq!(stream["stream"], json!([invoked, { "trigger": "t/b", "runs": [] }]));
}
