//! What follows from a request that the server made in place of the app.

use inngest_core::{Payload, canonical};
use inngest_queue::StepRef;
use inngest_state::{StepOp, Transition};

use super::block::Block;
use super::draft::{Answer, Draft, Result};
use super::ops::wrap;
use super::retry::Failure;
use super::{Planning, server_error::ServerError};
use crate::gateway::Unfetched;
use crate::response::{Op, OpReport};

/// Records what came back. A failure is tried again like any attempt; after the last one it is the value of the
/// step.
#[must_use]
pub fn fetched(
    planning: &Planning<'_>,
    report: &OpReport,
    outcome: std::result::Result<Payload, Unfetched>,
) -> Transition {
    let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
    let (op, name) = match report.op {
        Op::AiGateway => (StepOp::AiGateway, "AIGatewayError"),
        _ => (StepOp::Gateway, "GatewayError"),
    };
    let step = StepRef::from(report);
    let (value, failed) = match outcome {
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
        canonical::write_string(&mut out, &String::from_utf8_lossy(body));
    }
    out.push(b'}');
    wrap("error", &out)
}

/// A body as JSON: what is no JSON becomes a text.
fn json_or_text(body: &[u8]) -> Vec<u8> {
    canonical::canonicalise(body, canonical::Numbers::Exact).unwrap_or_else(|_| {
        let mut text = Vec::with_capacity(body.len() + 2);
        canonical::write_string(&mut text, &String::from_utf8_lossy(body));
        text
    })
}
