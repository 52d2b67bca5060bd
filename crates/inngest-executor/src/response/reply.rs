//! From a raw reply to what it says: the table of statuses.

use std::sync::Arc;

use bytes::Bytes;
use inngest_core::Millis;
use inngest_expr::time_spec;
use inngest_state::trace::Headers;

use super::{FunctionError, Reply, ReplyHeaders, Sdk, SdkResponse, ops, output, stream};

/// A complete reply as it came, decoded and after redirects.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// HTTP status.
    pub status: u16,
    /// The headers that matter.
    pub headers: ReplyHeaders,
    /// All that are kept.
    pub kept: Arc<Headers>,
    /// The body, at most [`inngest_core::limits::RESPONSE_BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// What a reply says. Every reply says something: one that cannot be understood is a failed attempt with the reason.
#[must_use]
pub fn understand(reply: &RawReply, now: Millis) -> SdkResponse {
    if reply.status != 201 || !reply.headers.sdk.is_present() {
        return decide(reply, now);
    }
    match stream::unwrap(reply) {
        Ok(inner) => decide(&inner, now),
        Err(text) => SdkResponse {
            status: reply.status,
            headers: Arc::clone(&reply.kept),
            version: reply.headers.version,
            no_retry: false,
            retry_at: None,
            reply: Reply::Failed(FunctionError::plain(&text)),
        },
    }
}

fn decide(reply: &RawReply, now: Millis) -> SdkResponse {
    let RawReply { status, headers, kept, body } = reply;
    let said = match status {
        206 if headers.sdk.is_present() => match ops::read(body) {
            Ok(ops) => Reply::Ops(ops),
            Err(text) => Reply::Failed(FunctionError::plain(&text)),
        },
        200..=299 if headers.sdk.is_present() => Reply::Returned(output::read(body)),
        206 => Reply::Failed(FunctionError::not_sdk(ops::read(body).err().as_deref(), body)),
        200..=299 => Reply::Failed(FunctionError::not_sdk(None, body)),
        _ if headers.sdk.is_present() => Reply::Failed(FunctionError::of_body(body, &transport_error(reply))),
        _ => Reply::Failed(FunctionError::upstream(*status, headers.content_type.as_deref(), body)),
    };
    // A 2xx that fails is a misunderstanding between app and server: what its headers say about retries was
    // said about something else.
    let heed = matches!(said, Reply::Ops(_)) || !(200..300).contains(status);
    let retry_after = headers.retry_after.as_deref().filter(|_| heed);
    SdkResponse {
        status: *status,
        headers: Arc::clone(kept),
        version: headers.version,
        no_retry: heed && is_final(reply),
        retry_at: retry_after.and_then(|text| time_spec::retry_after(text, now)),
        reply: said,
    }
}

fn is_final(reply: &RawReply) -> bool {
    reply.headers.no_retry || (reply.headers.sdk == Sdk::OldJs && (400..500).contains(&reply.status))
}

/// What went wrong as seen from outside; the public `error` of a function that failed.
fn transport_error(reply: &RawReply) -> String {
    if is_final(reply) { "NonRetriableError".to_owned() } else { format!("invalid status code: {}", reply.status) }
}

#[cfg(test)]
mod tests;
