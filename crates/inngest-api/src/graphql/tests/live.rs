//! Queries that are followed as a stream.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::World;

/// Generous for a loaded machine; every wait ends as soon as something comes.
const SOON: Duration = Duration::from_secs(20);

/// An open stream.
struct Stream(Body);

impl Stream {
    async fn of(world: &World, query: &str) -> Self {
        let request = Request::post("/graphql")
            .header("host", "localhost:8288")
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(Body::from(json!({ "query": query }).to_string()))
            .unwrap();
        let response = world.handler.respond(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.into_body())
    }

    /// Name and data of the next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        let frame = tokio::time::timeout(SOON, self.0.frame()).await.expect("something comes")?;
        let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
        let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        Some((name.to_owned(), serde_json::from_str(data.trim()).unwrap_or_default()))
    }
}

#[tokio::test]
async fn an_answer_comes_again_when_it_has_changed() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    let query = "{ runs(orderBy: [], filter: {from: \"2020-01-01T00:00:00Z\", until: \"2100-01-01T00:00:00Z\"}) { totalCount edges { node { status } } } }";
    let mut stream = Stream::of(&world, query).await;
    let counted = |answer: &Option<(String, Value)>| {
        let (name, answer) = answer.as_ref().expect("an answer");
        assert_eq!(name, "next");
        answer["data"]["runs"]["totalCount"].clone()
    };
    assert_eq!(counted(&stream.next().await), 0);
    world.send(json!({ "name": "t/nobody" })).await;
    world.send(json!({ "name": "t/a" })).await;
    // What has changed nothing in the answer was not told.
    assert_eq!(counted(&stream.next().await), 1);
    world.send(json!([{ "name": "t/a" }, { "name": "t/a" }])).await;
    assert_eq!(counted(&stream.next().await), 3);
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_says_so() {
    let world = World::new().await;
    let mut stream = Stream::of(&world, "{ nope }").await;
    let (name, answer) = stream.next().await.expect("an answer");
    assert_eq!((&*name, &answer["errors"][0]["extensions"]["code"]), ("next", &json!("GRAPHQL_VALIDATION_FAILED")));
    assert_eq!(stream.next().await, Some(("complete".to_owned(), Value::Null)));
    assert_eq!(stream.next().await, None);
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let reply =
        world.request("POST", "/graphql", &headers, r#"{"query":"mutation{deleteAppByName(name:\"x\")}"}"#).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

#[tokio::test]
async fn a_stream_ends_with_its_client() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..super::super::live::STREAMS_MAX {
        streams.push(Stream::of(&world, "{ apps { id } }").await);
    }
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let one_more = async || world.request("POST", "/graphql", &headers, r#"{"query":"{nope}"}"#).await.status;
    assert_eq!(one_more().await, 503);
    streams.pop();
    let free = async {
        while one_more().await == 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("its place is free again");
}
