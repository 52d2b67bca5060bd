//! `GET /v2/operations`: the operations by their names in HTTP, in the CLI and in MCP, and what is a tool of MCP only.

use std::sync::OnceLock;

use axum::body::Body;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::operations;
use crate::error::raw_json;
use crate::mcp::{Native, natives};
use crate::operation::Operation;

/// The catalogue, made once.
pub(super) async fn get() -> Response<Body> {
    static CATALOGUE: OnceLock<String> = OnceLock::new();
    let json = CATALOGUE.get_or_init(|| {
        let native = |tool: &Native| json!({ "id": tool.id(), "mcp": tool.describe() });
        let operations: Vec<Value> = operations().map(describe).chain(natives().map(native)).collect();
        json!({ "data": { "operations": operations } }).to_string()
    });
    let mut response = raw_json(200, json.clone());
    let headers = response.headers_mut();
    let caching = HeaderValue::from_static("public, max-age=300, stale-while-revalidate=3600");
    headers.insert(header::CACHE_CONTROL, caching);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "id": operation.id,
        "summary": operation.summary,
        "description": operation.text(),
        "http": { "method": operation.method.as_str(), "path": operation.path },
    });
    if let Some(cli) = operation.cli {
        described["cli"] = json!({ "command": cli.command });
    }
    if let Some(tool) = operation.describe_tool() {
        described["mcp"] = tool;
    }
    described
}
