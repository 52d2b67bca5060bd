//! The HTTP surface: event API, registration, REST, and the small pages around them.
//!
//! Handlers parse, authorise, call the engine and render; rules of the product are elsewhere. [`Api::respond`]
//! answers any request; the event API is looked at first, because it is the hot one. [`serve`] listens.

mod apps;
mod auth;
mod body;
mod checkpoint;
mod cors;
mod definitions;
mod dev;
mod error;
mod events;
mod fields;
mod finish;
mod function_config;
mod graphql;
mod guard;
mod health;
mod home;
mod invoke;
mod mcp;
mod metrics;
mod openapi;
pub mod operation;
mod overrides;
mod paths;
mod patience;
mod register;
mod rest;
mod serve;
mod test_mode;
#[cfg(test)]
mod testing;
mod trace;
mod userland;
mod v0;
pub mod v2;

pub use apps::{Apps, SyncRequest};
pub use auth::Auth;
pub use dev::{DevInfo, StartOptions};
pub use events::Limits;
pub use guard::Trusted;
pub use health::Readiness;
pub use metrics::Metrics;
pub use serve::{CONNECTIONS_MAX, serve};

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::State;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use http::{HeaderValue, Method, Request, Response};
use inngest_executor::engine::Engine;
use tower_service::Service as _;

use error::ApiError;
use overrides::{StateBytes, Steps};

/// What kind of server this is; SDKs compare it with what they expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// `inngest dev`.
    Dev,
    /// `inngest start`.
    Cloud,
}

impl ServerKind {
    /// The value of `X-Inngest-Server-Kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Cloud => "cloud",
        }
    }
}

/// Everything handlers need. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Does the work.
    pub engine: Engine,
    /// Dev or cloud.
    pub kind: ServerKind,
    /// Who may call.
    pub auth: Arc<Auth>,
    /// Bounds of event requests.
    pub limits: Limits,
    /// What `GET /dev` tells about the process.
    pub info: Arc<DevInfo>,
    /// Whoever keeps apps in sync.
    pub apps: Apps,
    /// Whom it trusts besides this machine.
    pub trusted: Arc<Trusted>,
    /// Whether the process is ready for traffic.
    pub readiness: Readiness,
    /// What the process counts.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Answers requests.
#[derive(Clone, Debug)]
pub struct Handler {
    api: Api,
    router: Router,
}

impl Handler {
    /// A handler for everything the API offers.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let router = router(api.clone());
        Self { api, router }
    }

    /// Answers one request.
    pub async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let origin = cors::granted(self.api.kind, &self.api.trusted, request.uri().path(), request.headers());
        let mut response = match events::key_of(request.uri().path()) {
            _ if cors::is_preflight(&request) => cors::preflight(request.headers(), origin.is_some()),
            Some(key) => {
                let key = key.to_owned();
                events::respond(&self.api, &key, request).await
            }
            None => self.route(request).await,
        };
        cors::allow(origin, response.headers_mut());
        let kind = HeaderValue::from_static(self.api.kind.as_str());
        response.headers_mut().insert("x-inngest-server-kind", kind);
        response
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if let Err(foreign) = guard::check(&self.api.trusted, request.uri().path(), safe, request.headers()) {
            return refused(request.uri().path(), foreign.to_string());
        }
        let mut router = self.router.clone();
        match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Refuses a request from where none may come.
fn refused(path: &str, problem: String) -> Response<Body> {
    if v2::has(path) {
        return v2::Error::forbidden(problem).into_response();
    }
    ApiError::new(403, problem).into_response()
}

/// What those ask for who watch a process is always there. Everything else is made when it is first asked for, so that a server
/// that only waits has no memory of it.
fn router(api: Api) -> Router {
    let (whole, own) = (Arc::new(OnceLock::new()), api.clone());
    let whole = async move |request: Request<Body>| {
        let mut router = whole.get_or_init(|| whole_router(own.clone())).clone();
        router.call(request).await
    };
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .method_not_allowed_fallback(not_allowed)
        .fallback(whole)
        .with_state(api)
}

async fn not_allowed() -> ApiError {
    ApiError::new(405, "Method not allowed")
}

fn whole_router(api: Api) -> Router {
    let signed = Router::new()
        .merge(rest::table::router())
        .merge(mcp::router())
        .route("/invoke/{slug}", post(invoke::invoke))
        .route("/v0/runs/{id}", delete(v0::cancel))
        .route("/v0/runs/{id}/actions", get(v0::actions))
        .route("/v0/runs/{id}/batch", get(v0::batch))
        .route("/v0/telemetry", post(v0::telemetry))
        .route("/fn/register", post(register::register))
        .route("/fn/remove", delete(register::remove))
        .route("/fn/step-limit", post(overrides::set::<Steps>).delete(overrides::reset::<Steps>))
        .route("/fn/state-size-limit", post(overrides::set::<StateBytes>).delete(overrides::reset::<StateBytes>))
        .route("/metrics", get(metrics::get))
        .route("/metrics/", get(metrics::get))
        .layer(middleware::from_fn_with_state(api.clone(), require_signing_key));
    let v2 = v2::router(&api);
    let tests = if api.info.test_mode { test_mode::router() } else { Router::new() };
    let graphql = get(graphql::get).post(graphql::post);
    let graphql = Router::new()
        .route("/v0/gql", graphql.clone())
        .route("/graphql", graphql)
        .layer(Extension(graphql::Streams::default()));
    Router::new()
        .merge(signed)
        .merge(tests)
        .merge(graphql)
        .merge(rest::describe::router())
        .nest("/v2", v2.clone())
        .nest("/api/v2", v2)
        .route("/", get(home::page))
        .route("/dev", get(dev::get))
        .route("/dev/traces", post(dev::traces))
        .fallback(home::other)
        .method_not_allowed_fallback(not_allowed)
        .with_state(api)
}

async fn require_signing_key(State(api): State<Api>, request: Request<Body>, next: Next) -> Response<Body> {
    if api.auth.accepts(request.headers()) {
        next.run(request).await
    } else {
        ApiError::new(401, "Authentication failed").into_response()
    }
}
