//! Requests of every form, and what is answered.

use serde_json::json;

use super::{ACCEPT, Client, JSON, request, session_of};
use crate::testing::World;

type Headers<'a> = Vec<(&'a str, &'a str)>;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn what_is_not_of_the_transport_is_refused_in_plain_text() {
    let world = World::new().await;
    let accepting = |accept: &'static str| vec![JSON, ("accept", accept)];
    let accept_text = "Accept must contain both 'application/json' and 'text/event-stream'";
    let type_text = "Content-Type must be 'application/json'";
    let table: [(Headers<'_>, u16, &str); 13] = [
        (vec![JSON, ACCEPT], 200, ""),
        (vec![("content-type", "Application/JSON; charset=utf-8"), ACCEPT], 200, ""),
        (accepting("*/*"), 200, ""),
        (accepting("application/*;q=0.5 , TEXT/*"), 200, ""),
        (vec![ACCEPT], 415, type_text),
        (vec![("content-type", "text/plain"), ACCEPT], 415, type_text),
        (vec![("content-type", "application/json-seq"), ACCEPT], 415, type_text),
        (vec![JSON], 400, accept_text),
        (accepting("application/json"), 400, accept_text),
        (accepting("text/event-stream"), 400, accept_text),
        (accepting("application/jsonp, text/event-stream"), 400, accept_text),
        (vec![JSON, ACCEPT, ("mcp-session-id", "unknown")], 404, "session not found"),
        (vec![JSON, ACCEPT, ("content-encoding", "lzma")], 415, "unsupported content encoding"),
    ];
    for (headers, status, text) in table {
        let reply = world.request("POST", "/mcp", &headers, PING).await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.text);
        if status != 200 {
            assert!(reply.text.starts_with(text), "{headers:?}: {}", reply.text);
            assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        }
    }
    let large = format!("{PING}{}", " ".repeat(5 << 20));
    assert_eq!(world.request("POST", "/mcp", &[JSON, ACCEPT], &large).await.status, 413);
}

#[tokio::test]
async fn what_is_no_message_is_an_error_of_json_rpc() {
    let world = World::new().await;
    for (body, code) in [("{", -32_700), ("[]", -32_600), (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32_600)] {
        let reply = world.request("POST", "/mcp", &[JSON, ACCEPT], body).await;
        let answer = reply.json();
        assert_eq!(
            (reply.status, &answer["error"]["code"], &answer["id"]),
            (400, &json!(code), &json!(null)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_session_begins_with_a_handshake_and_ends_when_its_client_says_so() {
    let world = World::new().await;
    let reply = world.initialize("2025-06-18").await;
    let session = session_of(&reply);
    assert_eq!(
        reply.json(),
        json!({ "jsonrpc": "2.0", "id": 7, "result": {
            "capabilities": { "logging": {}, "tools": {} },
            "protocolVersion": "2025-06-18",
            "serverInfo": { "name": "inngest-dev", "title": "Inngest Dev Server MCP Tools", "version": "v1.0.0" },
        }})
    );
    let of_session = [("mcp-session-id", &*session)];
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let reply = world.post_mcp(&of_session, &initialized).await;
    assert_eq!((reply.status, &*reply.text), (202, ""));
    let again = world.post_mcp(&of_session, &request("initialize", &json!({ "protocolVersion": "2025-06-18" }))).await;
    assert_eq!(again.json()["error"]["message"], "the session is initialized already");

    let get = world.request("GET", "/mcp", &of_session, "").await;
    assert_eq!((get.status, get.headers["allow"].to_str().unwrap()), (405, "POST, DELETE"));
    for method in ["GET", "DELETE"] {
        let reply = world.request(method, "/mcp", &[], "").await;
        let text = format!("Bad Request: {method} requires an Mcp-Session-Id header");
        assert_eq!((reply.status, reply.text), (400, text));
        assert_eq!(world.request(method, "/mcp", &[("mcp-session-id", "unknown")], "").await.status, 404);
    }
    assert_eq!(world.request("PUT", "/mcp", &of_session, "").await.status, 405);

    assert_eq!(world.post_mcp(&of_session, &request("tools/list", &json!({}))).await.status, 200);
    let reply = world.request("DELETE", "/mcp", &of_session, "").await;
    assert_eq!((reply.status, &*reply.text), (204, ""));
    assert_eq!(world.post_mcp(&of_session, &request("tools/list", &json!({}))).await.status, 404);
}

#[tokio::test]
async fn the_version_is_that_of_the_client_if_it_is_known() {
    let world = World::new().await;
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        assert_eq!(world.initialize(asked).await.json()["result"]["protocolVersion"], answered);
    }
    let session = session_of(&world.initialize("2025-11-25").await);
    let headers = [("mcp-session-id", &*session), ("mcp-protocol-version", "1999-01-01")];
    let reply = world.post_mcp(&headers, &request("ping", &json!({}))).await;
    assert!(reply.status == 400 && reply.text.contains("2025-11-25"), "{}", reply.text);
    let nothing = world.post_mcp(&[], &request("initialize", &json!({}))).await;
    assert_eq!(nothing.json()["error"]["code"], -32_602);
    assert!(nothing.headers.get("mcp-session-id").is_none());
}

#[tokio::test]
async fn before_the_handshake_there_is_only_a_ping() {
    let world = World::new().await;
    let ask = async |method: &str| world.post_mcp(&[], &request(method, &json!({}))).await;
    assert_eq!(ask("ping").await.json()["result"], json!({}));
    for method in ["tools/call", "tools/list", "server/discover"] {
        let reply = ask(method).await;
        let text = format!("method {method:?} is invalid during session initialization");
        assert_eq!((reply.status, &reply.json()["error"]["message"]), (200, &json!(text)));
    }
}

#[tokio::test]
async fn every_method_has_its_answer() {
    let client = Client::of(World::new().await, &[]).await;
    assert_eq!(client.ask("ping", &json!({})).await["result"], json!({}));
    assert_eq!(client.ask("logging/setLevel", &json!({ "level": "warning" })).await["result"], json!({}));
    for (method, params, code, text) in [
        ("logging/setLevel", json!({ "level": "loud" }), -32_602, "unknown variant `loud`"),
        ("logging/setLevel", json!({}), -32_602, "missing field `level`"),
        ("resources/list", json!({}), -32_601, "unknown method \"resources/list\""),
        ("tools/call", json!({}), -32_602, "missing field `name`"),
        ("tools/call", json!([]), -32_602, "invalid type"),
        ("tools/call", json!({ "name": "x", "arguments": {} }), -32_602, "unknown tool \"x\""),
    ] {
        let answer = client.ask(method, &params).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().starts_with(text), "{answer}");
    }
    for id in [json!("text"), json!(-5)] {
        let reply = client.post(&json!({ "jsonrpc": "2.0", "id": id, "method": "ping" })).await;
        assert_eq!(reply.json()["id"], id);
    }
}

#[tokio::test]
async fn pages_of_other_sites_cannot_speak_to_it() {
    let world = World::new().await;
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "http://localhost:6274", 200),
        ("host", "evil.example", 403),
    ] {
        let reply = world.post_mcp(&[(name, value)], &request("ping", &json!({}))).await;
        assert_eq!(reply.status, status, "{name}: {value}");
    }
    let reply = world.post_mcp(&[("origin", "http://localhost:6274")], &request("ping", &json!({}))).await;
    assert_eq!(reply.headers["access-control-allow-origin"], "http://localhost:6274");
    assert_eq!(reply.headers["access-control-expose-headers"], "Link, Mcp-Session-Id");
}

#[tokio::test]
async fn a_server_with_a_key_wants_it_and_hands_it_on() {
    let key = "0123456789abcdef0123456789abcdef";
    let world = World::new().await.locked(key);
    world.register(&[("hello", json!({ "event": "test/hello" }), json!({}))]).await;
    assert_eq!(world.initialize("2025-06-18").await.status, 401);
    let bearer = format!("Bearer {key}");
    let params = json!({ "protocolVersion": "2025-06-18" });
    let session = session_of(&world.post_mcp(&[("authorization", &bearer)], &request("initialize", &params)).await);
    let headers = [("authorization", &*bearer), ("mcp-session-id", &*session)];
    let call = request("tools/call", &json!({ "name": "list_functions", "arguments": { "appId": "app" } }));
    let answer = world.post_mcp(&headers, &call).await.json();
    assert_eq!(answer["result"]["structuredContent"]["data"][0]["slug"], "app-hello", "{answer}");
    assert_eq!(world.post_mcp(&headers[1..], &call).await.status, 401, "a session is no key");
    assert_eq!(world.request("DELETE", "/mcp", &headers[1..], "").await.status, 401);
}
