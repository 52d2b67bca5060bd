//! `GET /dev`: what the dev server is and knows. SDKs take any JSON here as "a dev server is there".
//! `POST /dev/traces`: where other servers of this protocol report their own spans.

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use http::Response;
use inngest_core::Function;
use inngest_core::function::Trigger;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, raw_json};
use crate::{Api, ServerKind, body};

/// What the process was started with.
#[derive(Clone, Debug, Default)]
pub struct DevInfo {
    /// Version text.
    pub version: String,
    /// The API port in use.
    pub port: u16,
    /// Options, as `startOpts` shows them.
    pub options: StartOptions,
    /// Feature flags, by name.
    pub features: Vec<(String, bool)>,
    /// Whether there are endpoints for tests of servers (`TEST_MODE=true`).
    pub test_mode: bool,
}

/// The part of the options that `GET /dev` shows. Secrets are not among them.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// `-u` URLs.
    pub urls: Vec<String>,
    /// Looks for apps by itself.
    pub autodiscover: bool,
    /// Asks apps again and again.
    pub poll: bool,
    /// Seconds between two rounds.
    pub poll_interval: u64,
    /// Seconds between attempts; 0 = back-off table.
    pub retry_interval: u64,
    /// Calls in flight at a time.
    pub queue_workers: usize,
    /// Accepted and without effect.
    pub tick_ms: u64,
    /// Keeps its database.
    pub persist: bool,
    /// Directory of the database.
    pub sqlite_dir: String,
}

pub(crate) async fn get(State(api): State<Api>) -> Response<Body> {
    if api.kind == ServerKind::Cloud {
        // Not JSON: SDKs would take it for a dev server.
        return (http::StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let registry = api.engine.registry();
    let functions: Vec<Value> = registry
        .functions()
        .filter(|function| function.archived_at.is_none())
        .map(|function| describe(function))
        .collect();
    let features: Map<String, Value> =
        api.info.features.iter().map(|(name, on)| (name.clone(), Value::Bool(*on))).collect();
    let body = json!({
        "version": api.info.version, "authed": false, "startOpts": start_options(&api.info.options), "functions": functions,
        "handlers": null, "isSingleNodeService": false, "isMissingSigningKey": false, "isMissingEventKeys": false,
        "features": features,
    });
    raw_json(200, format!("{body:#}"))
}

/// Accepted and dropped: this server derives its traces from what it stores.
pub(crate) async fn traces(State(api): State<Api>, body: Body) -> Result<(), ApiError> {
    if api.kind == ServerKind::Cloud {
        return Err(ApiError::not_found("Not found"));
    }
    body::discard(body).await;
    Ok(())
}

fn start_options(options: &StartOptions) -> Value {
    json!({
        "dir": "", "urls": options.urls, "autodiscover": options.autodiscover, "poll": options.poll,
        "poll_interval": options.poll_interval, "tick": options.tick_ms * 1_000_000, "retry_interval": options.retry_interval,
        "queue_workers": options.queue_workers, "require_keys": false, "connectGatewayPort": 8289, "connectGatewayHost": "",
        "connectGRPCConfig": { "Gateway": { "IP": "127.0.0.1", "Port": 50052 }, "Executor": { "IP": "127.0.0.1", "Port": 50053 } },
        "NoUI": false, "persist": options.persist, "redis_uri": "", "postgres_uri": "", "postgres-max-idle-conns": 10,
        "postgres-max-open-conns": 10, "postgres-conn-max-idle-time": 5, "postgres-conn-max-lifetime": 30,
        "sqlite_dir": options.sqlite_dir, "debugAPIPort": 7777,
    })
}

/// A function as `/dev` and the REST API show its configuration.
pub(crate) fn describe(function: &Function) -> Value {
    let triggers: Vec<Value> = function.triggers.iter().map(trigger).collect();
    json!({
        "id": function.id.to_string(), "fv": function.version, "name": function.name, "slug": function.slug, "triggers": triggers,
        "steps": [{ "id": function.step_id, "name": function.step_id, "uri": function.url, "retries": function.retries }],
    })
}

/// A trigger as registered.
pub(crate) fn trigger(trigger: &Trigger) -> Value {
    match trigger {
        Trigger::Event { name, expression: None } => json!({ "event": name }),
        Trigger::Event { name, expression } => json!({ "event": name, "expression": expression }),
        Trigger::Cron { schedule, .. } => json!({ "cron": schedule }),
    }
}
