//! Requests that ask for too much: a clear error, at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;

/// Generous for a loaded machine; without its limit each of these takes hours, or all memory.
const SOON: Duration = Duration::from_secs(60);

/// Status, code and message of the one error of an answer without data.
async fn refusal(world: &World, query: &str) -> (u16, String, String) {
    let reply = tokio::time::timeout(SOON, world.post(json!({ "query": query }))).await.expect("an answer");
    let answer = reply.json();
    assert_eq!((&answer["data"], answer["errors"].as_array().map(Vec::len)), (&Value::Null, Some(1)), "{}", reply.text);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (reply.status, text(&answer["errors"][0]["extensions"]["code"]), text(&answer["errors"][0]["message"]))
}

#[tokio::test]
async fn what_unfolds_to_too_much_is_refused_before_it_is_looked_at() {
    let world = World::new().await;
    let repeated = |part: &str, times: usize| format!("{{ {} }}", part.repeat(times));
    let aliases: String = (0..10_001).map(|n| format!("a{n}: __typename ")).collect();
    let chain = |last: &str| -> String {
        let links = (0..30).map(|n| format!("fragment F{n} on App {{ ...F{0} ...F{0} }} ", n + 1));
        format!("{{ apps {{ ...F0 }} }} {} fragment F30 on App {{ {last} }}", links.collect::<String>())
    };
    let unused: String = (0..20_000).map(|n| format!("fragment F{n} on App {{ ...F{} }} ", n + 1)).collect();
    for query in [
        format!("{{ {aliases} }}"),
        format!("{{ apps {{ id }} }} {unused} fragment F20000 on App {{ id }}"),
        repeated("apps { id } ", 5_001),
        chain("id"),
        chain("functions { app { ...F0 } }"),
        "{ apps { ...A } } fragment A on App { ...B } fragment B on App { ...A }".to_owned(),
    ] {
        let (status, code, message) = refusal(&world, &query).await;
        assert_eq!((status, &*code), (422, "GRAPHQL_VALIDATION_FAILED"));
        assert!(message.starts_with("more than 10000 fields or 200 fragments, or "), "{message}");
    }
    let data = world.ask(&repeated("apps { id } ", 100), json!({})).await;
    assert_eq!(data, json!({ "apps": [] }));
}

#[tokio::test]
async fn lists_within_lists_end_where_the_answer_becomes_too_long() {
    let world = World::new().await;
    let functions: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    let defined: Vec<_> = functions.iter().map(|id| (&**id, json!({ "event": "t/a" }), json!({}))).collect();
    world.register(&defined).await;
    let nested = format!("{{ apps {{ {} id {} }} }}", "functions { app { ".repeat(5), "} } ".repeat(5));
    let (status, code, message) = refusal(&world, &nested).await;
    assert_eq!((status, &*code), (200, "invalid_argument"));
    assert_eq!(message, "the answer would be longer than 67108864 bytes; ask for fewer fields or shorter pages");
}

#[tokio::test]
async fn a_filter_names_so_many_events_and_no_more() {
    let world = World::new().await;
    let list = "query($names: [String!]) { eventsV2(filter: {from: \"2020-01-01T00:00:00Z\", eventNames: $names}) { totalCount } }";
    let names = |count: usize| json!({ "names": vec!["t/a"; count] });
    world.ask(list, names(1_000)).await;
    let (message, code, _) = world.fail(list, names(1_001)).await;
    assert_eq!((&*message, &*code), ("eventNames: more than 1000 names; ask for fewer", "invalid_argument"));
}

#[tokio::test]
async fn errors_are_told_in_few_words() {
    let world = World::new().await;
    let nesting = format!("{{ apps {{ {} ", "x { ".repeat(10_000));
    let unknown: String = (0..5_000).map(|n| format!("a{n} ")).collect();
    let unused: String = (0..5_000).map(|n| format!("$a{n}: Int ")).collect();
    for query in [nesting, format!("{{ {unknown} }}"), format!("query({unused}) {{ apps {{ id }} }}")] {
        let reply = world.post(json!({ "query": query })).await;
        assert_eq!(reply.status, 422);
        assert!(reply.text.len() < 40_000, "{} bytes", reply.text.len());
    }
}
