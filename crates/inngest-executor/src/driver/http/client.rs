//! Requests over pooled connections: stale connections, redirects, and what broke when none of it helps.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use inngest_core::limits::{RESPONSE_BODY_BYTES_MAX, SDK_REQUEST_TIMEOUT};

use super::body::{self, BodyError};
use super::connect::{Connector, Traffic, connector};
use super::redirect::{Redirects, without_secrets};
use super::target;
use crate::driver::{CallError, Fetcher};
use crate::gateway::FetchRequest;

/// An idle connection is closed after this time: before the servers of Node and Python do it after 5 seconds,
/// so that a call rarely meets a connection that is just going away.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Idle connections kept for one app; more are closed.
const IDLE_PER_HOST_MAX: usize = 512;
/// Sent with every request.
const USER_AGENT: HeaderValue = HeaderValue::from_static("Inngest");
/// Only gzip is asked for, as SDKs are used to; brotli is understood as well.
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("gzip");

/// Makes requests to apps. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    pooled: Client<Connector, Full<Bytes>>,
    /// Opens a connection for each request.
    fresh: Client<Connector, Full<Bytes>>,
    /// The largest body of a reply that is read.
    reply_bytes_max: usize,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// A complete reply. A body that cannot be read, because it is too large or in an unknown encoding, is empty.
#[derive(Clone, Debug)]
pub struct HttpReply {
    /// Status after redirects.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decoded.
    pub body: Bytes,
}

#[async_trait]
impl Fetcher for HttpClient {
    async fn fetch(&self, request: FetchRequest) -> Result<HttpReply, CallError> {
        tokio::time::timeout(SDK_REQUEST_TIMEOUT, self.any(request)).await.unwrap_or(Err(CallError::TimedOut))
    }
}

/// One request, as it is sent again after a redirect or on a fresh connection.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) redirects: Redirects,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}, {} bytes", self.method, self.shown(), self.headers, self.body.len())
    }
}

/// A reply whose body may be unusable.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, BodyError>,
}

impl HttpClient {
    /// A client with no connections yet.
    #[must_use]
    pub fn new() -> Self {
        let connector = connector();
        // `X-Api-Key`, as the Go server writes names: there are apps that look for that letter by letter.
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http1_title_case_headers(true).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
        let pooled = builder.pool_max_idle_per_host(IDLE_PER_HOST_MAX).build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, fresh, reply_bytes_max: RESPONSE_BODY_BYTES_MAX }
    }

    /// Reads replies of up to so many bytes instead of [`RESPONSE_BODY_BYTES_MAX`].
    #[must_use]
    pub fn with_reply_limit(self, reply_bytes_max: usize) -> Self {
        Self { reply_bytes_max, ..self }
    }

    /// `PUT` of a JSON body, with these headers besides the usual ones. Redirects are followed as a `PUT`.
    pub async fn put_json(
        &self,
        url: &str,
        body: Bytes,
        mut headers: HeaderMap,
        timeout: Duration,
    ) -> Result<HttpReply, CallError> {
        headers.insert(header::CONTENT_TYPE, JSON);
        let call = Call { method: Method::PUT, uri: target::uri_of(url)?, headers, body, redirects: Redirects::Sdk };
        self.call_within(call, timeout).await
    }

    /// `GET` with these headers besides the usual ones.
    pub async fn get(&self, url: &str, headers: HeaderMap, timeout: Duration) -> Result<HttpReply, CallError> {
        let (uri, body) = (target::uri_of(url)?, Bytes::new());
        let call = Call { method: Method::GET, uri, headers, body, redirects: Redirects::Sdk };
        self.call_within(call, timeout).await
    }

    /// Any request, which may take as long as a call to an app.
    async fn any(&self, request: FetchRequest) -> Result<HttpReply, CallError> {
        let FetchRequest { method, url, mut headers, body } = request;
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        // Only what this client decodes may be offered, whatever the user can decode.
        headers.insert(header::ACCEPT_ENCODING, ACCEPT_ENCODING);
        let call = Call { method, uri: target::uri_of(&url)?, headers, body, redirects: Redirects::Fetch };
        let Answer { status, mut headers, body } = self.call(&call).await?;
        let body = body.map_err(|error| match error {
            BodyError::Broken(error) => CallError::Reset(causes(&error), None),
            error => CallError::Reset(error.to_string(), None),
        })?;
        // The body is whole and decoded now.
        headers.remove(header::TRANSFER_ENCODING);
        if headers.remove(header::CONTENT_ENCODING).is_some() {
            headers.remove(header::CONTENT_LENGTH);
        }
        Ok(HttpReply { status: status.as_u16(), headers, body })
    }

    async fn call_within(&self, mut call: Call, timeout: Duration) -> Result<HttpReply, CallError> {
        add_usual_headers(&mut call.headers);
        let answer = tokio::time::timeout(timeout, self.call(&call)).await.map_err(|_| CallError::TimedOut)??;
        let Answer { status, headers, body } = answer;
        if let Err(BodyError::Broken(error)) = &body {
            return Err(CallError::Reset(causes(error), None));
        }
        Ok(HttpReply { status: status.as_u16(), headers, body: body.unwrap_or_default() })
    }

    /// Sends the request where redirects lead, and reads the whole reply.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, CallError> {
        let mut hop = Cow::Borrowed(call);
        for _ in 0..=call.redirects.max() {
            let response = self.send(&hop).await?;
            match location(&response) {
                Some(location) => {
                    hop = Cow::Owned(call.redirects.next(call, &hop, response.status(), location)?);
                }
                None => return Ok(receive(response, self.reply_bytes_max).await),
            }
        }
        Err(CallError::Redirect(format!(
            "more than {} redirects, the last one to {}",
            call.redirects.max(),
            hop.shown()
        )))
    }

    /// A connection kept from an earlier call may have been closed by the app in the meantime. When not one
    /// byte came back over it, the app has hardly seen the request, and it is sent once more, over a connection
    /// of its own. A new connection that is closed without a reply is another matter: the app did that.
    ///
    /// Hardly is not never. An app tells a repeated call from another one; a stranger that a step sends something to
    /// does not, so what must not be sent twice has a connection of its own from the start.
    async fn send(&self, call: &Call) -> Result<Response<Incoming>, CallError> {
        if call.redirects == Redirects::Fetch && !call.method.is_idempotent() {
            return self.fresh.request(call.request()).await.map_err(|error| broken(&error, &call.uri));
        }
        let error = match self.pooled.request(call.request()).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if !traffic(&error, &call.uri).is_some_and(|traffic| traffic.was_stale()) {
            return Err(broken(&error, &call.uri));
        }
        tracing::debug!(url = %call.shown(), %error, "the app had closed the connection; sending again on a new one");
        self.fresh.request(call.request()).await.map_err(|error| broken(&error, &call.uri))
    }
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What all requests say.
pub(super) fn add_usual_headers(headers: &mut HeaderMap) {
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT_ENCODING, ACCEPT_ENCODING);
}

impl Call {
    /// Where it goes, without what is secret of it.
    fn shown(&self) -> String {
        without_secrets(&self.uri.to_string()).into_owned()
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn location(response: &Response<Incoming>) -> Option<&str> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    moved.then(|| response.headers().get(header::LOCATION)).flatten()?.to_str().ok()
}

async fn receive(response: Response<Incoming>, max: usize) -> Answer {
    let (parts, incoming) = response.into_parts();
    let body = body::read(&parts.headers, incoming, max).await;
    Answer { status: parts.status, headers: parts.headers, body }
}

/// What is known of the connection that a request failed on. Under TLS bytes are no sign of a reply, and an
/// HTTP/2 connection has many calls at a time, so only plain HTTP tells.
fn traffic(error: &Error, uri: &Uri) -> Option<Traffic> {
    let connected = error.connect_info().filter(|_| uri.scheme_str() == Some("http"))?;
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.get().cloned()
}

fn broken(error: &Error, uri: &Uri) -> CallError {
    let causes = causes(error);
    if speaks_another_protocol(error) {
        return CallError::BadUrl(format!("no {} is spoken there: {causes}", uri.scheme_str().unwrap_or("HTTP")));
    }
    if traffic(error, uri).is_some_and(|traffic| traffic.is_answered()) {
        return CallError::Reset(causes, None);
    }
    CallError::Unreachable(causes)
}

/// Whether the other side answered, but neither in HTTP nor, where the URL says so, in TLS.
fn speaks_another_protocol(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let not_tls = matches!(within_io(error).downcast_ref(), Some(rustls::Error::InvalidMessage(_)));
        let http = error.downcast_ref::<hyper::Error>();
        if not_tls || http.is_some_and(|error| error.is_parse() && !error.is_parse_too_large()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What an IO error was made from; its `source` passes over that.
fn within_io<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        error = inner;
    }
    error
}

/// The causes below an error of the client, whose own text says only in which phase it happened.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        let text = error.to_string();
        // Some errors repeat the text of their cause.
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}
