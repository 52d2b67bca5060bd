//! `/openapi.json`, `/v1/openapi.json` and `/v1/docs`: what v1 and the event API are, for programs and for people.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::Response;
use serde_json::Value;

use super::table;
use crate::error::raw_json;
use crate::openapi::{self, About};
use crate::{Api, home};

const ABOUT: &str = "Events, and what becomes of them. All paths of `/v1` exist below `/api/v1`, too.";

/// The routes of the document; they need no key.
pub(crate) fn router() -> Router<Api> {
    let mut router = Router::new().route("/openapi.json", get(document));
    for root in ["/v1", "/api/v1"] {
        router = router.route(&format!("{root}/openapi.json"), get(document)).route(&format!("{root}/docs"), get(page));
    }
    router
}

fn openapi(api: &Api) -> Value {
    let rows = table::rows();
    let (title, version) = ("Inngest event API and REST API v1", &api.info.version);
    let about = About { title, description: ABOUT, version, root: "", has_null: true };
    openapi::document(about, rows.iter().map(|row| &row.operation))
}

/// The document, made once.
async fn document(State(api): State<Api>) -> Response<Body> {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    raw_json(200, DOCUMENT.get_or_init(|| openapi(&api).to_string()).clone())
}

/// The same as a page, made once.
async fn page(State(api): State<Api>) -> Response<Body> {
    static PAGE: OnceLock<String> = OnceLock::new();
    home::html(PAGE.get_or_init(|| openapi::page(&openapi(&api))).clone())
}
