//! Calls apps over HTTP.
//!
//! Connections are kept and used again, HTTP/2 where the app offers it. What can be prepared is prepared once
//! per URL ([`target`]); a call costs little more than its request and its reply.

mod body;
mod client;
mod connect;
mod kept;
mod redirect;
mod target;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use inngest_core::canonical::{self, Numbers};
use inngest_core::signing::SigningKey;
use inngest_core::{Clock, limits};
use inngest_state::trace::ResponseHead;

use super::{CallError, CallRequest, Executor};
use crate::response::{FunctionError, RawReply, Reply, ReplyHeaders, SdkResponse, understand};
use crate::spans;
use body::BodyError;
use client::{Answer, Call, JSON, add_usual_headers, causes};
pub use client::{HttpClient, HttpReply};
use kept::Kept;
use redirect::Redirects;
pub(crate) use redirect::without_secrets;
use target::Targets;

/// Bodies larger than this are signed and understood on a thread of their own, since that takes milliseconds.
const INLINE_BYTES_MAX: usize = 256 * 1024;

const ACCOUNT_ID: HeaderName = HeaderName::from_static("account-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const REQ_VERSION: HeaderName = HeaderName::from_static("x-inngest-req-version");
const STEP_ID: HeaderName = HeaderName::from_static("x-inngest-step-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JOB_ID: HeaderName = HeaderName::from_static("x-inngest-job-id");
const GENERATION_ID: HeaderName = HeaderName::from_static("x-inngest-generation-id");
const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");
/// The signature of a request.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-inngest-signature");

/// There is one account on a server of one's own.
const ACCOUNT: HeaderValue = HeaderValue::from_static("00000000-0000-4000-a000-000000000000");

/// Calls apps over HTTP.
pub struct HttpExecutor {
    client: HttpClient,
    targets: Targets,
    kept: Kept,
    clock: Arc<dyn Clock>,
    signing_key: Option<SigningKey>,
    timeout: Duration,
}

impl std::fmt::Debug for HttpExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpExecutor").field("signing_key", &self.signing_key).finish_non_exhaustive()
    }
}

impl HttpExecutor {
    /// With a signing key every request is signed.
    #[must_use]
    pub fn new(client: HttpClient, clock: Arc<dyn Clock>, signing_key: Option<SigningKey>) -> Self {
        Self {
            client,
            targets: Targets::default(),
            kept: Kept::default(),
            clock,
            signing_key,
            timeout: limits::SDK_REQUEST_TIMEOUT,
        }
    }

    /// Another time for a call than [`limits::SDK_REQUEST_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn call(&self, request: &CallRequest) -> Result<SdkResponse, CallError> {
        let uri = self.targets.of(&request.url)?.uri(&request.step_id)?;
        let mut headers = headers(request);
        let mut body = request.body.clone();
        if let Some(key) = &self.signing_key {
            let seconds = self.clock.now().0.div_euclid(1000);
            let (canonical, signature) =
                on_a_thread_if(body.len() > INLINE_BYTES_MAX, sign(key.clone(), body, seconds)).await;
            headers.insert(SIGNATURE, value(&signature));
            body = canonical;
        }
        let call = Call { method: Method::POST, uri, headers, body, redirects: Redirects::Sdk };
        let answer = self.client.call(&call).await?;
        let head =
            ResponseHead { status: answer.status.as_u16(), headers: self.kept.of(answer.status, &answer.headers) };
        if let Err(BodyError::Broken(error)) = &answer.body {
            return Err(CallError::Reset(causes(error), Some(head)));
        }
        let now = self.clock.now();
        let large = answer.body.as_ref().is_ok_and(|body| body.len() > INLINE_BYTES_MAX);
        Ok(on_a_thread_if(large, move || understand_answer(answer, head, now)).await)
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    async fn execute(&self, request: CallRequest) -> Result<SdkResponse, CallError> {
        tokio::time::timeout(self.timeout, self.call(&request)).await.unwrap_or(Err(CallError::TimedOut))
    }
}

/// The body as it is signed, in which numbers are what JavaScript takes them for, and its signature.
fn sign(key: SigningKey, body: Bytes, unix_seconds: i64) -> impl FnOnce() -> (Bytes, String) + Send + 'static {
    move || {
        let canonical = canonical::canonicalise(&body, Numbers::Double).map_or(body, Bytes::from);
        let signature = key.sign(&canonical, unix_seconds);
        (canonical, signature)
    }
}

async fn on_a_thread_if<T: Send + 'static>(apart: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if !apart {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work is never cancelled, so it can only have panicked, and then so do we.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn understand_answer(answer: Answer, head: ResponseHead, now: inngest_core::Millis) -> SdkResponse {
    let ResponseHead { status, headers: kept } = head;
    let headers = ReplyHeaders::read(|name| answer.headers.get(name).and_then(|value| value.to_str().ok()));
    let error = match answer.body {
        Ok(body) => return understand(&RawReply { status, headers, kept, body }, now),
        Err(BodyError::TooLarge(_)) => FunctionError::output_too_large(),
        Err(BodyError::Encoding(problem)) => FunctionError::plain(&problem),
        Err(BodyError::Broken(error)) => FunctionError::plain(&error.to_string()),
    };
    let reply = Reply::Failed(error);
    SdkResponse { status, headers: kept, version: headers.version, no_retry: false, retry_at: None, reply }
}

/// The headers of a call. Its trace is named after the run, its span after the attempt.
fn headers(request: &CallRequest) -> HeaderMap {
    let traceparent = spans::traceparent(request.job, request.attempt);
    let tracestate = format!(
        "inngest@traceref=%7B%22tp%22%3A%22{traceparent}%22%2C%22ts%22%3A%22%22%7D,inngest@fn={},inngest@app={}",
        request.function, request.app
    );
    let mut headers = HeaderMap::with_capacity(16);
    add_usual_headers(&mut headers);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(ACCOUNT_ID, ACCOUNT);
    headers.insert(TRACEPARENT, value(&traceparent));
    headers.insert(TRACESTATE, value(&tracestate));
    headers.insert(REQ_VERSION, HeaderValue::from(request.version));
    headers.insert(STEP_ID, value(&request.step_id));
    headers.insert(REQUEST_ID, value(request.request.encode(&mut [0; 26])));
    headers.insert(JOB_ID, value(&request.job.to_string()));
    headers.insert(GENERATION_ID, HeaderValue::from(request.generation));
    headers.insert(RUN_ID, value(request.run.encode(&mut [0; 26])));
    headers
}

/// Text as a header. Step ids are the app's choice and may hold what a header must not; these are encoded.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        HeaderValue::from_str(&encoded).expect("encoded text is plain ASCII")
    })
}

#[cfg(test)]
mod tests;
