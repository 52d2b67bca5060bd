//! REST v2: what runs, functions and apps are, and what can be done with them.
//!
//! [`table`] is the only list of what there is: a route that is not in it does not exist, and what describes the API is
//! made from it.

mod account;
mod apps;
mod arguments;
mod catalogue;
mod cloud_only;
mod definitions;
mod describe;
mod endpoint;
mod error;
mod events;
mod functions;
mod invoke;
mod runs;
mod wire;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::value::RawValue;

use crate::Api;
use crate::operation::Operation;
use arguments::Parts;
use endpoint::{Asked, Endpoint};
pub(crate) use error::Error;
pub(crate) use wire::raw;

static TABLE: LazyLock<Vec<Endpoint>> = LazyLock::new(table);

fn table() -> Vec<Endpoint> {
    let parts = [
        account::endpoints(),
        apps::endpoints(),
        functions::endpoints(),
        invoke::endpoints(),
        events::endpoints(),
        runs::endpoints(),
        cloud_only::endpoints(),
    ];
    parts.into_iter().flatten().collect()
}

/// Everything that v2 offers.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    TABLE.iter().map(|endpoint| &endpoint.operation)
}

/// Does what an operation does, for a caller who has these headers. Its arguments are the members of an object, those of
/// the path, the query and the body alike. The status, and the body of the reply.
pub(crate) async fn call(api: &Api, headers: &HeaderMap, id: &str, arguments: &RawValue) -> (u16, Bytes) {
    let response = match answer(api, headers, id, arguments) {
        Ok((endpoint, asked)) => endpoint.answer(asked).await,
        Err(error) => error.into_response(),
    };
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    (status, body.unwrap_or_default())
}

fn answer(api: &Api, headers: &HeaderMap, id: &str, arguments: &RawValue) -> Result<(&'static Endpoint, Asked), Error> {
    let endpoint = TABLE.iter().find(|endpoint| endpoint.operation.id == id);
    let endpoint = endpoint.ok_or_else(|| Error::not_found(format!("There is no operation {id}")))?;
    if !api.auth.accepts(headers) {
        return Err(Error::unauthorised(headers));
    }
    let Parts { path, query, body } = Parts::of(&endpoint.operation, arguments)?;
    let headers = HeaderMap::new();
    Ok((endpoint, Asked { api: api.clone(), headers, path, query, body: body.into() }))
}

/// Whether a path is one of v2.
pub(crate) fn has(path: &str) -> bool {
    let rest = path.strip_prefix("/api").unwrap_or(path).strip_prefix("/v2");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All routes of v2, below its root.
pub(crate) fn router(api: &Api) -> Router<Api> {
    let mut paths: BTreeMap<&str, MethodRouter<Api>> = BTreeMap::new();
    for endpoint in TABLE.iter() {
        let filter = MethodFilter::try_from(endpoint.operation.method.clone()).unwrap_or(MethodFilter::GET);
        let route = on(filter, async move |State(api), path, RawQuery(query), headers, body| {
            respond(endpoint, api, path, query.as_deref(), headers, body).await
        });
        let known = paths.remove(endpoint.operation.path).unwrap_or_default();
        paths.insert(endpoint.operation.path, known.merge(route));
    }
    let signed = paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    signed
        .layer(middleware::from_fn_with_state(api.clone(), authorise))
        .route("/openapi.json", get(describe::document))
        .route("/docs", get(describe::page))
        .route("/operations", get(catalogue::get))
        .route("/operations/{*rest}", get(catalogue::get))
        .fallback(async || Error::no_route(404, "Not Found"))
        .method_not_allowed_fallback(async || Error::no_route(405, "Method Not Allowed"))
}

/// Lets requests with a signing key pass.
async fn authorise(State(api): State<Api>, request: Request<Body>, next: Next) -> Response<Body> {
    if api.auth.accepts(request.headers()) {
        return next.run(request).await;
    }
    Error::unauthorised(request.headers()).into_response()
}

async fn respond(
    endpoint: &'static Endpoint,
    api: Api,
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Option<&str>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let Ok(path) = path else {
        return Error::bad_field("The path is not UTF-8, once its percent signs are decoded").into_response();
    };
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    endpoint.answer(Asked { api, headers, path, query, body }).await
}
