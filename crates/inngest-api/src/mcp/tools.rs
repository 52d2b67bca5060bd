//! All tools: which there are, and that one is called.

use std::sync::LazyLock;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::native::{Call, Done, Problem, natives};
use super::rpc::{self, Error, Request};
use super::{Answer, Mcp};
use crate::operation::Operation;
use crate::{Api, v2};

/// `tools/list`; all of them at once.
pub(super) fn list() -> Answer {
    static TOOLS: LazyLock<Value> = LazyLock::new(|| {
        let of_v2 = v2::operations().filter_map(Operation::describe_tool);
        json!({ "tools": of_v2.chain(natives().map(|native| native.describe())).collect::<Vec<_>>() })
    });
    rpc::result(&*TOOLS)
}

/// `tools/call`. What a tool cannot do is a result, which models read; a tool that does not exist is an error.
pub(super) async fn call(api: &Api, mcp: &Mcp, headers: &HeaderMap, request: &Request<'_>) -> Answer {
    #[derive(Deserialize)]
    struct Params<'a> {
        name: String,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let Params { name, arguments } = request.params()?;
    let nothing;
    let arguments = match arguments {
        Some(arguments) => arguments,
        None => {
            nothing = rpc::result(&json!({}))?;
            &nothing
        }
    };
    let of_v2 = v2::operations().find(|operation| operation.mcp.as_ref().is_some_and(|tool| tool.name == name));
    let done = if let Some(operation) = of_v2 {
        call_v2(api, headers, operation.id, arguments).await
    } else if let Some(native) = natives().find(|native| native.name() == name) {
        let (api, headers, waits) = (api.clone(), headers.clone(), mcp.waits.clone());
        native.call(Call { api, headers, waits, arguments: arguments.to_owned() }).await
    } else {
        return Err(Error::invalid_params(format!("unknown tool {name:?}")));
    };
    render(done)
}

/// An operation of REST v2, for this caller.
pub(super) async fn call_v2(
    api: &Api,
    headers: &HeaderMap,
    operation: &str,
    arguments: &RawValue,
) -> Result<Done, Problem> {
    let (status, body) = Box::pin(v2::call(api, headers, operation, arguments)).await;
    let body = String::from_utf8_lossy(&body);
    if status >= 400 {
        return Err(Problem::new(format!("REST API v2 returned HTTP {status}: {body}")));
    }
    Done::of_json(body.into_owned())
}

fn render(done: Result<Done, Problem>) -> Answer {
    #[derive(Serialize)]
    struct Text {
        r#type: &'static str,
        text: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct CallResult {
        content: [Text; 1],
        #[serde(skip_serializing_if = "Option::is_none")]
        structured_content: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    }
    let is_error = done.is_err();
    let (text, structured_content) = match done {
        Ok(Done { text, json }) => (text, Some(json)),
        Err(problem) => (problem.to_string(), None),
    };
    rpc::result(&CallResult { content: [Text { r#type: "text", text }], structured_content, is_error })
}
