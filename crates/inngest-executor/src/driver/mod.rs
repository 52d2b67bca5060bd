//! How an app is called: one trait, whatever the transport.

pub mod http;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use inngest_core::{AppId, FunctionId, RequestId, RunId};
use inngest_queue::JobId;
use inngest_state::trace::ResponseHead;

use self::http::HttpReply;
use crate::SdkResponse;
use crate::gateway::FetchRequest;

/// One call to an app.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The function's step URL, normalised.
    pub url: Arc<str>,
    /// What to run: the function's `step_id` (discovery) or the hashed id of one planned step.
    pub step_id: Arc<str>,
    /// Whose run.
    pub run: RunId,
    /// Whose function.
    pub function: FunctionId,
    /// Whose app.
    pub app: AppId,
    /// The job this call works on.
    pub job: JobId,
    /// Which attempt of that job, from 0.
    pub attempt: u32,
    /// Which dispatch of that job.
    pub generation: u32,
    /// Names this very call.
    pub request: RequestId,
    /// Request version, -1 on a fresh run.
    pub version: i32,
    /// The body, canonical JSON.
    pub body: Bytes,
}

/// Makes one call to an app and reads its answer.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Resolves when the whole reply is read and understood. A reply that is not understood, and a reply that
    /// reports an error of the function, are `Ok` with [`crate::Reply::Failed`]; `Err` means the call itself
    /// failed. Dropping the future aborts the call.
    async fn execute(&self, request: CallRequest) -> Result<SdkResponse, CallError>;
}

/// Makes requests that are no calls to an app.
#[async_trait]
pub trait Fetcher: Send + Sync + 'static {
    /// Resolves when the whole reply is read. Dropping the future aborts the request.
    async fn fetch(&self, request: FetchRequest) -> Result<HttpReply, CallError>;
}

/// The call itself failed: there is no complete reply. Always an attempt that may be retried.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Refused, no route, no such host, TLS failure, or closed before the first byte of a reply.
    #[error("Unable to reach SDK URL: {0}")]
    Unreachable(String),
    /// The connection broke in the middle of the reply, whose beginning may have come.
    #[error("Your server reset the connection while we were reading the reply: {0}")]
    Reset(String, Option<ResponseHead>),
    /// No complete reply within [`inngest_core::limits::SDK_REQUEST_TIMEOUT`].
    #[error("The app did not answer within {} hours", inngest_core::limits::SDK_REQUEST_TIMEOUT.as_secs() / 3600)]
    TimedOut,
    /// More redirects than [`inngest_core::limits::REDIRECTS_MAX`] (or `FETCH_REDIRECTS_MAX`), or a redirect to nowhere.
    #[error("The app's redirects lead nowhere: {0}")]
    Redirect(String),
    /// The URL cannot be called at all.
    #[error("The app's URL cannot be called: {0}")]
    BadUrl(String),
}

impl CallError {
    /// What came of the reply, if anything did.
    #[must_use]
    pub const fn response(&self) -> Option<&ResponseHead> {
        match self {
            Self::Reset(_, response) => response.as_ref(),
            Self::Unreachable(_) | Self::TimedOut | Self::Redirect(_) | Self::BadUrl(_) => None,
        }
    }
}
