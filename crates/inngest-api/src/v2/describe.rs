//! `GET /v2/openapi.json` and `/v2/docs`: what v2 is, for programs and for people.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::State;
use http::{HeaderValue, Response, header};
use serde_json::Value;

use super::operations;
use crate::Api;
use crate::error::raw_json;
use crate::openapi::{self, About};

const ABOUT: &str = "What runs, functions and apps are, and what can be done with them. Names of parameters and members \
are written in camelCase or snake_case. Members that a body does not have are refused, parameters that a query does not \
have are ignored.";

fn openapi(api: &Api) -> Value {
    let version = &api.info.version;
    openapi::document(
        About { title: "Inngest REST API v2", description: ABOUT, version, root: "/v2", has_null: false },
        operations(),
    )
}

/// The document, made once.
pub(super) async fn document(State(api): State<Api>) -> Response<Body> {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    raw_json(200, DOCUMENT.get_or_init(|| openapi(&api).to_string()).clone())
}

/// The same as a page, made once.
pub(super) async fn page(State(api): State<Api>) -> Response<Body> {
    static PAGE: OnceLock<String> = OnceLock::new();
    let mut response = Response::new(Body::from(PAGE.get_or_init(|| openapi::page(&openapi(&api))).clone()));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
