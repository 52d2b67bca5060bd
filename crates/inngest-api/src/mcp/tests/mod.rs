//! What clients of MCP ask, against a real store and engine.

mod docs;
mod tools;
mod transport;

use serde_json::{Value, json};

use crate::testing::{Reply, World};

const JSON: (&str, &str) = ("content-type", "application/json");
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A client that has shaken hands.
struct Client {
    world: World,
    session: String,
}

impl World {
    /// Posts to `/mcp` as clients do, with more headers.
    async fn post_mcp(&self, headers: &[(&str, &str)], message: &Value) -> Reply {
        let headers: Vec<_> = [JSON, ACCEPT].iter().chain(headers).copied().collect();
        self.request("POST", "/mcp", &headers, &message.to_string()).await
    }

    async fn initialize(&self, version: &str) -> Reply {
        let params =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        self.post_mcp(&[], &request("initialize", &params)).await
    }
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn session_of(reply: &Reply) -> String {
    reply.headers["mcp-session-id"].to_str().unwrap().to_owned()
}

impl Client {
    /// Of a server that has these functions: id, trigger, other options.
    async fn of(world: World, functions: &[(&str, Value, Value)]) -> Self {
        world.register(functions).await;
        let session = session_of(&world.initialize("2025-06-18").await);
        Self { world, session }
    }

    async fn post(&self, message: &Value) -> Reply {
        self.world.post_mcp(&[("mcp-session-id", &self.session), ("mcp-protocol-version", "2025-06-18")], message).await
    }

    /// The answer to a request.
    async fn ask(&self, method: &str, params: &Value) -> Value {
        let reply = self.post(&request(method, params)).await;
        assert_eq!((reply.status, &reply.headers["content-type"]), (200, &"application/json".parse().unwrap()));
        let answer = reply.json();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
        answer
    }

    /// What a tool gives, once as text and once as structure.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })).await;
        let result = &answer["result"];
        assert!(result["isError"].is_null() && result["content"][0]["type"] == "text", "{tool}: {answer}");
        result["structuredContent"].clone()
    }

    /// As [`Self::call`], of a tool whose text is the whole structure.
    async fn call_plain(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let result: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer["result"]["structuredContent"], result);
        result
    }

    /// Why a tool does nothing.
    async fn fail(&self, tool: &str, arguments: Value) -> String {
        let answer = self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })).await;
        assert_eq!(answer["result"]["isError"], true, "{tool}: {answer}");
        assert!(answer["result"].get("structuredContent").is_none());
        answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    }
}
