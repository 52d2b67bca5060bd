//! Our documentation, searched and read.

use serde_json::json;

use super::Client;
use crate::testing::World;

#[tokio::test]
async fn documentation_is_listed_searched_and_read() {
    let client = Client::of(World::new().await, &[]).await;
    let listed = client.call_plain("list_docs", json!({})).await;
    let docs = listed["docs"].as_array().unwrap();
    assert_eq!((listed["totalDocs"].as_u64(), &listed["sdks"]), (Some(docs.len() as u64), &json!({})));
    assert!(listed["totalChunks"].as_u64() > listed["totalDocs"].as_u64() && listed["generatedAt"].is_string());
    assert_eq!((&docs[0]["path"], &docs[0]["title"]), (&json!("ARCHITECTURE.md"), &json!("Architecture")));

    let found = client.call_plain("grep_docs", json!({ "pattern": "^# arch" })).await;
    assert_eq!(
        found,
        json!({ "matches": [{ "file": "ARCHITECTURE.md", "line": 1, "content": "# Architecture" }], "count": 1 })
    );
    assert_eq!(client.call("grep_docs", json!({ "pattern": "." })).await["count"], 10);
    assert_eq!(client.call("grep_docs", json!({ "pattern": ".", "limit": 3 })).await["count"], 3);
    assert_eq!(client.call("grep_docs", json!({ "pattern": "no such words at all" })).await["matches"], json!([]));

    let page = client.ask("tools/call", &json!({ "name": "read_doc", "arguments": { "path": "COMPAT.md" } })).await;
    let (text, page) = (page["result"]["content"][0]["text"].as_str().unwrap(), &page["result"]["structuredContent"]);
    let content = page["content"].as_str().unwrap();
    assert_eq!((&page["path"], page["size"].as_u64()), (&json!("COMPAT.md"), Some(content.len() as u64)));
    assert!(content.len() > 2_000 && text.chars().count() < 2_050 && text.ends_with("(truncated)"), "{text}");
    assert!(content.starts_with(&text[..1_000]));
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_told() {
    let client = Client::of(World::new().await, &[]).await;
    for (tool, arguments, text) in [
        ("grep_docs", json!({ "pattern": "(" }), "pattern is no regular expression"),
        ("grep_docs", json!({ "pattern": "(\\w{1000}){1000}" }), "pattern is no regular expression"),
        ("grep_docs", json!({ "pattern": "a".repeat(1_001) }), "pattern cannot exceed 1000 bytes"),
        ("grep_docs", json!({ "pattern": "a", "limit": 0 }), "limit must be from 1 to 100"),
        ("grep_docs", json!({ "pattern": "a", "limit": 101 }), "limit must be from 1 to 100"),
        ("grep_docs", json!({ "pattern": "a", "limit": -1 }), "invalid arguments: "),
        ("grep_docs", json!({}), "invalid arguments: missing field `pattern`"),
        ("read_doc", json!({ "path": "../Cargo.toml" }), "invalid path: directory traversal not allowed"),
        ("read_doc", json!({ "path": "nothing.md" }), "no page \"nothing.md\""),
        ("list_docs", json!({ "x": 1 }), "invalid arguments: unknown field `x`"),
    ] {
        let problem = client.fail(tool, arguments).await;
        assert!(problem.starts_with(text), "{tool}: {problem}");
    }
}
