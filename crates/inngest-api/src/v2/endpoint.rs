//! An operation, and what answers it: what a request says becomes typed values, what a handler gives becomes JSON.

use std::fmt;
use std::pin::Pin;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::arguments;
use super::error::{Error, Errors};
use super::wire::Success;
use crate::operation::{Availability, Operation};
use crate::{Api, body};

/// The body of a request, unless its operation says otherwise; a larger one is refused (413).
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a request says.
pub(super) struct Asked {
    pub(super) api: Api,
    pub(super) headers: HeaderMap,
    /// Of the path, decoded.
    pub(super) path: Vec<(String, String)>,
    /// Of the query, decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Body,
}

/// What a request says, in the words of its operation.
pub(super) struct Call<P, B = ()> {
    pub(super) api: Api,
    pub(super) headers: HeaderMap,
    pub(super) parameters: P,
    pub(super) body: B,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// An operation, and what answers it.
pub(super) struct Endpoint {
    pub(super) operation: Operation,
    body_bytes_max: fn(&Api) -> usize,
    answer: Box<dyn Fn(&'static Self, Asked) -> Answering + Send + Sync>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operation.fmt(f)
    }
}

impl Endpoint {
    /// An operation without a body.
    pub(super) fn get<P, R, F>(
        id: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: fn(Call<P>) -> F,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Success,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        let operation = Operation::new(id, Method::GET, path, summary).parameters::<P>();
        let answer = move |endpoint: &'static Self, asked: Asked| -> Answering {
            Box::pin(async move {
                let Asked { api, headers, path, query, .. } = asked;
                let parameters = match arguments::read(&endpoint.operation.parameters, path, query) {
                    Ok(parameters) => parameters,
                    Err(error) => return error.into_response(),
                };
                reply(handler(Call { api, headers, parameters, body: () }).await)
            })
        };
        Self::new::<R>(operation, Box::new(answer))
    }

    /// An operation with a body.
    pub(super) fn send<P, B, R, F>(
        id: &'static str,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: fn(Call<P, B>) -> F,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        B: DeserializeOwned + JsonSchema + Send + 'static,
        R: Success,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        let operation = Operation::new(id, method, path, summary).parameters::<P>().body::<B>();
        let operation = operation
            .reply::<Errors>(408, "The body did not arrive in time.")
            .reply::<Errors>(413, "The body is too large.")
            .reply::<Errors>(415, "The body has an unknown content encoding.");
        let answer = move |endpoint: &'static Self, asked: Asked| -> Answering {
            Box::pin(async move {
                match endpoint.call(asked).await {
                    Ok(call) => reply(handler(call).await),
                    Err(error) => error.into_response(),
                }
            })
        };
        Self::new::<R>(operation, Box::new(answer))
    }

    fn new<R: Success>(
        operation: Operation,
        answer: Box<dyn Fn(&'static Self, Asked) -> Answering + Send + Sync>,
    ) -> Self {
        let operation = operation
            .reply::<R>(200, "It is done.")
            .reply::<Errors>(400, "The request says what it cannot.")
            .reply::<Errors>(401, "There is no key, or none that is known.")
            .reply::<Errors>(403, "Pages of other sites may not call this server.")
            .reply::<Errors>(503, "The store failed; nothing was changed.");
        Self { operation, body_bytes_max: |_| BODY_BYTES_MAX, answer }
    }

    /// Reads what a request says.
    async fn call<P, B>(&'static self, asked: Asked) -> Result<Call<P, B>, Error>
    where
        P: DeserializeOwned,
        B: DeserializeOwned,
    {
        let Asked { api, headers, path, query, body } = asked;
        let parameters = arguments::read(&self.operation.parameters, path, query)?;
        let bytes: Bytes = body::read(&headers, body, (self.body_bytes_max)(&api)).await?;
        Ok(Call { body: arguments::read_body(&self.operation, &bytes)?, api, headers, parameters })
    }

    /// Answers a request.
    pub(super) async fn answer(&'static self, asked: Asked) -> Response<Body> {
        (self.answer)(self, asked).await
    }

    /// As a request of another method.
    pub(super) fn method(mut self, method: Method) -> Self {
        self.operation.method = method;
        self
    }

    pub(super) fn group(mut self, group: &'static str) -> Self {
        self.operation.group = group;
        self
    }

    pub(super) fn describe(mut self, description: &'static str) -> Self {
        self.operation.description = description;
        self
    }

    pub(super) fn header(mut self, name: &str, description: &str) -> Self {
        self.operation = self.operation.header(name, description);
        self
    }

    pub(super) fn cli(mut self, command: &'static str) -> Self {
        self.operation = self.operation.cli(command);
        self
    }

    pub(super) fn tool(mut self, name: &'static str, title: &'static str) -> Self {
        self.operation = self.operation.tool(name, title);
        self
    }

    /// With a status of errors besides the usual ones.
    pub(super) fn error(mut self, status: u16, description: &'static str) -> Self {
        self.operation = self.operation.reply::<Errors>(status, description);
        self
    }

    /// With a status besides 200 that has a body of type `R`.
    pub(super) fn also<R: Success>(mut self, status: u16, description: &'static str) -> Self {
        self.operation = self.operation.reply::<R>(status, description);
        self
    }

    /// With bodies of another size.
    pub(super) fn body_bytes_max(mut self, max: fn(&Api) -> usize) -> Self {
        self.body_bytes_max = max;
        self
    }

    /// One that this server does not do.
    pub(super) fn cloud_only(mut self) -> Self {
        self.operation.availability = Availability::CloudOnly;
        self.operation.replies.remove(&200);
        self.error(501, "Only Inngest Cloud does this.")
    }
}

fn reply<R: Success>(result: Result<R, Error>) -> Response<Body> {
    match result {
        Ok(success) => success.respond(),
        Err(error) => error.into_response(),
    }
}
