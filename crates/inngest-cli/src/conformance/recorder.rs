//! What server and app say to one another: a proxy in between hands requests on, and keeps them with their answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use ureq::http::{Method, StatusCode};

/// A request that is larger is not handed on.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an app may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A request of the server and the answer of the app.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// `fnId`.
    pub(super) function: String,
    pub(super) request: Value,
    pub(super) status: u16,
    pub(super) response: Value,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

impl Exchange {
    /// The ops of the answer.
    pub(super) fn ops(&self) -> &[Value] {
        self.response.as_array().map_or(&[], Vec::as_slice)
    }

    /// The id of the first op of this kind.
    pub(super) fn op(&self, kind: &str) -> Option<&str> {
        self.ops().iter().find(|op| op["op"] == kind)?["id"].as_str()
    }

    pub(super) fn attempt(&self) -> Option<u64> {
        self.request["ctx"]["attempt"].as_u64()
    }
}

/// The proxy.
pub(super) struct Recorder {
    /// `http://127.0.0.1:<port>`
    pub(super) origin: String,
    exchanges: Arc<Exchanges>,
}

struct Exchanges {
    /// The app, without a path.
    app: String,
    all: Mutex<Vec<Exchange>>,
    changed: watch::Sender<()>,
    agent: ureq::Agent,
}

impl Recorder {
    /// Listens, and hands on to the app at this origin.
    pub(super) async fn start(app: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let config =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).http_status_as_error(false);
        let (changed, _) = watch::channel(());
        let exchanges = Arc::new(Exchanges { app, all: Mutex::default(), changed, agent: config.build().into() });
        let router = Router::new().fallback(relay).with_state(Arc::clone(&exchanges));
        // It ends with the process.
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { origin, exchanges })
    }

    /// Waits until `find` finds something among what has been said, or until `limit` has passed.
    pub(super) async fn wait<T>(&self, limit: Duration, find: impl Fn(&[Exchange]) -> Option<T>) -> Option<T> {
        let mut changed = self.exchanges.changed.subscribe();
        let found = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = find(&self.exchanges.all.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return Some(found);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, found).await.ok().flatten()
    }
}

/// Calls are handed on. A server that asks for the functions is told that it has them: those of the app name the app
/// itself, and calls would pass by.
async fn relay(State(exchanges): State<Arc<Exchanges>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return axum::Json(json!({ "message": "Successfully registered", "modified": false })).into_response();
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let query = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let function = query.into_iter().find(|(name, _)| *name == "fnId").map(|(_, value)| value.to_owned());
    let mut request = ureq::http::Request::builder().method("POST").uri(format!("{}{target}", exchanges.app));
    for (name, value) in head.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length")) {
        request = request.header(name, value);
    }
    let (agent, sent, began) = (exchanges.agent.clone(), body.clone(), Instant::now());
    let Ok(request) = request.body(sent.to_vec()) else { return StatusCode::BAD_GATEWAY.into_response() };
    let answered = tokio::task::spawn_blocking(move || {
        let mut reply = agent.run(request)?;
        let body = reply.body_mut().read_to_vec()?;
        Ok::<_, ureq::Error>((reply.status(), reply.headers().clone(), Bytes::from(body)))
    });
    let Ok(Ok((status, headers, answer))) = answered.await else { return StatusCode::BAD_GATEWAY.into_response() };
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into());
    exchanges.all.lock().unwrap_or_else(PoisonError::into_inner).push(Exchange {
        function: function.unwrap_or_default(),
        request: json(&body),
        status: status.as_u16(),
        response: json(&answer),
        began,
        ended: Instant::now(),
    });
    exchanges.changed.send_replace(());
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = status;
    let kept = |name: &str| !matches!(name, "content-length" | "transfer-encoding" | "connection");
    response
        .headers_mut()
        .extend(headers.into_iter().filter(|(name, _)| name.as_ref().is_none_or(|name| kept(name.as_str()))));
    response
}
