//! `GET /health` (is it alive) and `GET /ready` (may it get traffic).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::body::Body;
use axum::extract::State;
use http::Response;
use serde_json::json;

use crate::Api;
use crate::error::{json_reply, raw_json};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// How far the process is between its start and its end.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Jobs are being worked on.
    pub fn set_ready(&self) {
        self.0.store(READY, Ordering::Relaxed);
    }

    /// The process is on its way down.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }
}

pub(crate) async fn health() -> Response<Body> {
    raw_json(200, "{\"status\":200,\"message\":\"OK\"}\n")
}

pub(crate) async fn ready(State(api): State<Api>) -> Response<Body> {
    let store = api.engine.history().apps().await;
    let (status, message) = match (api.readiness.0.load(Ordering::Relaxed), &store) {
        (_, Err(_)) => (503, "store down"),
        (STARTING, _) => (503, "starting"),
        (READY, _) => (200, "OK"),
        _ => (503, "draining"),
    };
    let store = store.map_or_else(|error| error.to_string(), |_| "ok".to_owned());
    json_reply(
        status,
        &json!({ "status": status, "message": message, "components": { "store": store, "queue": "ok" } }),
    )
}
