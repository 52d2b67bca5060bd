//! Requests and answers: status codes, forms of errors, limits.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Pos, Request, Response as Answer, ServerError, Value, Variables};
use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, Response, header};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use super::live::Streams;
use super::problem::Problem;
use super::schema::SCHEMA;
use super::session::Session;
use super::{limits, live};
use crate::error::raw_json;
use crate::{Api, body};

/// Body of a request in bytes; a larger one is refused (413).
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request that takes longer is given up.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Errors of one answer; further ones are left out.
const ERRORS_MAX: usize = 100;
/// Characters of the message of an error, which may quote the request; the rest is cut off.
const MESSAGE_CHARS_MAX: usize = 1_000;

const PARSE_FAILED: &str = "GRAPHQL_PARSE_FAILED";
const VALIDATION_FAILED: &str = "GRAPHQL_VALIDATION_FAILED";

/// A request as clients write it.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Variables,
    #[serde(default)]
    extensions: Option<Extensions>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    /// A hash in place of a query that was sent before. None is kept: the client is told to send it whole.
    persisted_query: Option<IgnoredAny>,
}

/// A call that can be executed, again and again.
#[derive(Clone)]
pub(super) struct Prepared {
    call: Call,
    document: ExecutableDocument,
}

/// An answer to send.
pub(super) struct Reply {
    status: u16,
    answer: Box<Answer>,
    truncated: bool,
}

/// How a call came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
}

pub(crate) async fn get(
    State(api): State<Api>,
    Extension(streams): Extension<Streams>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let call = of_query(query.as_deref().unwrap_or_default());
    respond(&api, &streams, &headers, call, Method::Get).await
}

pub(crate) async fn post(
    State(api): State<Api>,
    Extension(streams): Extension<Streams>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let call = of_body(&headers, body).await;
    respond(&api, &streams, &headers, call, Method::Post).await
}

async fn respond(
    api: &Api,
    streams: &Streams,
    headers: &HeaderMap,
    call: Result<Call, Reply>,
    method: Method,
) -> Response<Body> {
    let prepared = match call.and_then(|call| Prepared::of(call, method)) {
        Ok(prepared) => prepared,
        Err(reply) => return reply.render(),
    };
    if live::is_asked_for(headers) {
        return live::respond(api, streams, prepared);
    }
    Box::pin(prepared.execute(api)).await.render()
}

fn of_query(query: &str) -> Result<Call, Reply> {
    let mut call = Call { query: None, operation_name: None, variables: Variables::default(), extensions: None };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "query" => call.query = Some(value.into_owned()),
            "operationName" => call.operation_name = Some(value.into_owned()),
            "variables" if !value.is_empty() => call.variables = parameter(&name, &value)?,
            "extensions" if !value.is_empty() => call.extensions = Some(parameter(&name, &value)?),
            _ => {}
        }
    }
    Ok(call)
}

fn parameter<T: DeserializeOwned>(name: &str, value: &str) -> Result<T, Reply> {
    let problem = |error| Reply::refused(400, format!("{name} could not be decoded: {error}"));
    body::object(value.as_bytes()).map_err(problem)
}

async fn of_body(headers: &HeaderMap, body: Body) -> Result<Call, Reply> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Reply::refused(400, "transport not supported".to_owned()));
    }
    let read = body::read(headers, body, BODY_BYTES_MAX).await;
    let bytes = read.map_err(|error| Reply::refused(error.status(), error.to_string()))?;
    let problem = |error| Reply::refused(400, format!("json request body could not be decoded: {error}"));
    body::object(&bytes).map_err(problem)
}

impl Prepared {
    fn of(mut call: Call, method: Method) -> Result<Self, Reply> {
        call.operation_name = call.operation_name.filter(|name| !name.is_empty());
        let query = call.query.as_deref().unwrap_or_default();
        if query.trim().is_empty() {
            if call.extensions.is_some_and(|extensions| extensions.persisted_query.is_some()) {
                let error = ServerError::new("PersistedQueryNotFound", None);
                return Err(Reply::failed(200, error, "PERSISTED_QUERY_NOT_FOUND"));
            }
            return Err(Reply::invalid("no operation provided", None));
        }
        let document = parse_query(query).map_err(|error| Reply::failed(422, error.into(), PARSE_FAILED))?;
        if limits::is_too_large(&document) {
            let (fields, fragments) = (limits::SELECTIONS_MAX, limits::FRAGMENTS_MAX);
            let text =
                format!("more than {fields} fields or {fragments} fragments, or fragments in circles; ask for less");
            return Err(Reply::invalid(text, None));
        }
        let (operation, at) = operation(&document, call.operation_name.as_deref())?;
        match operation.ty {
            OperationType::Subscription => {
                return Err(Reply::invalid("Schema does not support operation type \"subscription\"", Some(at)));
            }
            OperationType::Mutation if method == Method::Get => {
                return Err(Reply::refused(406, "GET requests only allow query operations".to_owned()));
            }
            OperationType::Query | OperationType::Mutation => {}
        }
        for variable in &operation.variable_definitions {
            let given = call.variables.get(&variable.node.name.node);
            let missing = given.is_none_or(|value| *value == Value::Null) && variable.node.default_value.is_none();
            if missing && !variable.node.var_type.node.nullable {
                let text = format!(
                    "variable ${} of type {} must be defined",
                    variable.node.name.node, variable.node.var_type.node
                );
                return Err(Reply::invalid(text, Some(variable.pos)));
            }
        }
        Ok(Self { call, document })
    }

    pub(super) fn is_query(&self) -> bool {
        operation(&self.document, self.call.operation_name.as_deref())
            .is_ok_and(|(operation, _)| operation.ty == OperationType::Query)
    }

    pub(super) async fn execute(self, api: &Api) -> Reply {
        let session = Arc::new(Session::new(api.clone()));
        let mut request = Request::new("").variables(self.call.variables).data(Arc::clone(&session));
        request.operation_name = self.call.operation_name;
        request.set_parsed_query(self.document);
        let answer = tokio::time::timeout(TIME_MAX, Box::pin(SCHEMA.execute(request))).await;
        let Ok(mut answer) = answer else {
            let text = format!("the request took longer than {} s; ask for less", TIME_MAX.as_secs());
            return Reply::failed(200, ServerError::new(text, None), "timeout");
        };
        if !session.spend(0) {
            return Reply::failed(200, limits::too_long(), "invalid_argument");
        }
        // What is wrong before anything is executed lies at no path.
        let refused = !answer.errors.is_empty() && answer.errors.iter().all(|error| error.path.is_empty());
        answer.errors.truncate(ERRORS_MAX);
        for error in &mut answer.errors {
            tell(error, refused);
        }
        Reply { status: if refused { 422 } else { 200 }, answer: Box::new(answer), truncated: session.is_truncated() }
    }
}

fn operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<(&'d OperationDefinition, Pos), Reply> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations
            .find(|(known, _)| known.is_some_and(|known| known == name))
            .ok_or_else(|| Reply::invalid(format!("operation {name} not found"), None))?,
        None => match (operations.next(), operations.next()) {
            (Some(only), None) => only,
            _ => return Err(Reply::invalid("operationName is required: there are several operations", None)),
        },
    };
    Ok((&found.1.node, found.1.pos))
}

/// Gives an error its code, and its text the form that clients know.
fn tell(error: &mut ServerError, refused: bool) {
    let code = if refused {
        VALIDATION_FAILED
    } else if let Some(problem) = error.source::<Problem>() {
        if let Problem::Store(cause) = problem {
            tracing::error!(error = %cause, "a GraphQL request failed in the store");
        }
        problem.code()
    } else {
        // "Failed to parse "ULID": .."
        if let Some((_, rest)) =
            error.message.strip_prefix("Failed to parse \"").and_then(|text| text.split_once("\": "))
        {
            error.message = rest.to_owned();
        }
        "invalid_argument"
    };
    code_of(error, code);
}

fn code_of(error: &mut ServerError, code: &str) {
    error.extensions.get_or_insert_default().set("code", code);
    if let Some((end, _)) = error.message.char_indices().nth(MESSAGE_CHARS_MAX) {
        error.message.truncate(end);
        error.message.push_str(" ..");
    }
}

impl Reply {
    fn failed(status: u16, mut error: ServerError, code: &str) -> Self {
        code_of(&mut error, code);
        Self { status, answer: Box::new(Answer::from_errors(vec![error])), truncated: false }
    }

    /// What cannot even be read as a request.
    pub(super) fn refused(status: u16, text: String) -> Self {
        let code = if status == 503 { "unavailable" } else { "invalid_argument" };
        Self::failed(status, ServerError::new(text, None), code)
    }

    fn invalid(text: impl Into<String>, at: Option<Pos>) -> Self {
        Self::failed(422, ServerError::new(text, at), VALIDATION_FAILED)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The answer as JSON: errors first.
    pub(super) fn json(&self) -> String {
        let part = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
        let mut out = String::from("{");
        if !self.answer.errors.is_empty() {
            out.push_str(&format!("\"errors\":{},", part(serde_json::to_string(&self.answer.errors))));
        }
        out.push_str(&format!("\"data\":{}", part(serde_json::to_string(&self.answer.data))));
        if self.truncated {
            out.push_str(&format!(",\"extensions\":{}", json!({ "truncated": true })));
        }
        out.push('}');
        out
    }

    pub(super) fn render(&self) -> Response<Body> {
        raw_json(self.status, self.json())
    }
}
