//! A small HTTP client for JSON over keep-alive connections.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// A client of the server at `base`, for example `http://127.0.0.1:8288`.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), pool: Pool::builder(TokioExecutor::new()).build_http() }
    }

    /// The server's base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request; any status is a reply.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        let exchange = async {
            let response = self.pool.request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("{method} {path}: no reply in time"))?
    }

    /// `GET`, as JSON; fails unless 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let reply = self.request("GET", path, &[], Bytes::new()).await?;
        anyhow::ensure!(reply.status == 200, "GET {path}: {} {}", reply.status, reply.text());
        Ok(reply.json())
    }

    /// `POST` of JSON; any status is a reply.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Sends events and returns their ids; fails unless 200.
    pub async fn send(&self, events: &Value) -> anyhow::Result<Vec<String>> {
        let reply = self.post("/e/test", events).await?;
        anyhow::ensure!(reply.status == 200, "event refused: {} {}", reply.status, reply.text());
        let reply = reply.json();
        let ids = reply["ids"].as_array().context("no ids in the reply")?;
        Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    /// Runs that an event started.
    pub async fn runs_of(&self, event: &str) -> anyhow::Result<Vec<Value>> {
        let reply = self.get(&format!("/v1/events/{event}/runs")).await?;
        Ok(reply["data"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the event has started `count` runs and all of them have ended.
    pub async fn ended_runs(&self, event: &str, count: usize, limit: Duration) -> anyhow::Result<Vec<Value>> {
        let what = format!("{count} ended runs of event {event}");
        crate::wait_until(&what, limit, async || {
            let runs = self.runs_of(event).await.ok()?;
            let ended = runs.iter().filter(|run| is_final(run["status"].as_str())).count();
            (ended == count && runs.len() == count).then_some(runs)
        })
        .await
    }
}

/// Whether a status text is one that a run keeps.
#[must_use]
pub fn is_final(status: Option<&str>) -> bool {
    matches!(status, Some("Completed" | "Failed" | "Cancelled" | "Skipped"))
}
