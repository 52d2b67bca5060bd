//! What follows from a request that the server made in place of the app.

use std::borrow::Cow;

use inngest_core::limits::FAILED_REPLY_BYTES_MAX;
use inngest_core::{Payload, canonical};
use inngest_queue::StepRef;
use inngest_state::trace::ResponseHead;
use inngest_state::{Change, Metadata, StepOp, Transition};

use super::block::Block;
use super::draft::{Answer, Draft, Result};
use super::ops::wrap;
use super::retry::Failure;
use super::{Planning, server_error::ServerError};
use crate::gateway::{Exchange, Fetched, Unfetched};
use crate::response::{Op, OpReport};

/// Records what came back. A failure is tried again like any attempt; after the last one it is the value of the
/// step.
#[must_use]
pub fn fetched(planning: &Planning<'_>, report: &OpReport, fetched: Fetched) -> Transition {
    let Fetched { result, exchange } = fetched;
    let answer = Answer { response: exchange.status.map(ResponseHead::bare), ..Answer::default() };
    let mut draft = Draft::new(planning, answer, Block::inherited(planning));
    note(&mut draft, report, &exchange);
    let (op, name) = match report.op {
        Op::AiGateway => (StepOp::AiGateway, "AIGatewayError"),
        _ => (StepOp::Gateway, "GatewayError"),
    };
    let step = StepRef::from(report);
    let (value, failed) = match result {
        Ok(data) => (wrap("data", &data), false),
        Err(problem) if draft.may_retry_step() => {
            let error = ServerError::new(name, problem.message).into_function_error();
            draft.fail_attempt(Failure { step: Some(step), ..Failure::new(error) });
            return draft.conclude();
        }
        Err(problem) => (error(name, &problem), true),
    };
    draft.record(Result { step, op, value, failed, input: report.input.clone(), timing: None });
    draft.conclude()
}

fn note(draft: &mut Draft<'_>, report: &OpReport, exchange: &Exchange) {
    let planning = draft.planning;
    for (kind, values) in exchange.notes(planning.now.0 - planning.dispatched_at.0) {
        draft.changes.push(Change::PutMetadata(Box::new(Metadata {
            run: planning.run.id,
            step: Some(report.id.clone()),
            attempt: Some(planning.item.attempt),
            span: None,
            scope: "step_attempt".into(),
            kind: kind.into(),
            op: "set".into(),
            values,
            at: planning.now,
        })));
    }
}

fn error(name: &str, problem: &Unfetched) -> Payload {
    let mut out = b"{".to_vec();
    if let Some(body) = &problem.body {
        out.extend_from_slice(b"\"data\":");
        out.extend_from_slice(&json_or_text(body));
        out.push(b',');
    }
    out.extend_from_slice(b"\"message\":");
    canonical::write_string(&mut out, &problem.message);
    out.extend_from_slice(b",\"name\":");
    canonical::write_string(&mut out, name);
    if let Some(body) = &problem.body {
        out.extend_from_slice(b",\"stack\":");
        canonical::write_string(&mut out, &beginning(body));
    }
    out.push(b'}');
    wrap("error", &out)
}

/// A body as JSON: what is no JSON, or too long to be kept, becomes a text.
fn json_or_text(body: &[u8]) -> Vec<u8> {
    let json = (body.len() <= FAILED_REPLY_BYTES_MAX)
        .then(|| canonical::canonicalise(body, canonical::Numbers::Exact).ok())
        .flatten();
    json.unwrap_or_else(|| {
        let mut text = Vec::with_capacity(body.len().min(FAILED_REPLY_BYTES_MAX) + 2);
        canonical::write_string(&mut text, &beginning(body));
        text
    })
}

/// As much of a body as is kept of a failure.
fn beginning(body: &[u8]) -> Cow<'_, str> {
    if body.len() <= FAILED_REPLY_BYTES_MAX {
        return String::from_utf8_lossy(body);
    }
    let text = String::from_utf8_lossy(&body[..FAILED_REPLY_BYTES_MAX]);
    // A character that was cut in two has become a mark of its own.
    Cow::Owned(format!("{}… (truncated)", text.trim_end_matches('\u{fffd}')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(body: Vec<u8>) -> serde_json::Value {
        let problem = Unfetched { message: "m".into(), body: Some(body.into()) };
        serde_json::from_slice(&error("AIGatewayError", &problem)).unwrap()
    }

    #[test]
    fn a_failed_reply_is_kept_as_json_and_as_text_up_to_a_limit() {
        let short = stored(br#"{"b":1,"a":"x"}"#.to_vec());
        assert_eq!(short["error"]["data"], serde_json::json!({ "a": "x", "b": 1 }));
        assert_eq!(short["error"]["stack"], r#"{"b":1,"a":"x"}"#);
        let long = stored(format!("[\"{}\"]", "ä".repeat(FAILED_REPLY_BYTES_MAX)).into_bytes());
        for part in ["data", "stack"] {
            let text = long["error"][part].as_str().unwrap();
            assert!(text.len() < FAILED_REPLY_BYTES_MAX + 20, "{part}: {}", text.len());
            assert!(text.starts_with("[\"ä") && text.ends_with("ä… (truncated)"), "{part}");
        }
    }
}
