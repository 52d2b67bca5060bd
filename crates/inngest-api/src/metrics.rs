//! `GET /metrics` and `/v1/prom/{env}`: what the process counts, for Prometheus.

use std::sync::OnceLock;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Api;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Jobs that wait, for their time, however far, or for their turn, and jobs that are worked on.
const QUEUE_DEPTH: &str = "inngest_queue_depth";

/// Reads what the process counts.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Begins to count, in the whole process. What was counted before is lost, so this goes first.
    #[must_use]
    pub fn install() -> Self {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        let install = || {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another recorder of metrics is installed; GET /metrics shows nothing");
            }
            describe_gauge!(QUEUE_DEPTH, "Jobs that wait, for their time or their turn, or are worked on");
            handle
        };
        Self(INSTALLED.get_or_init(install).clone())
    }
}

pub(crate) async fn get(State(api): State<Api>) -> impl IntoResponse {
    match api.engine.depth().await {
        Ok(depth) => {
            let jobs = u32::try_from(depth.waiting + depth.leased).unwrap_or(u32::MAX);
            gauge!(QUEUE_DEPTH).set(f64::from(jobs));
        }
        // What was counted last is shown.
        Err(error) => tracing::warn!(%error, "the jobs could not be counted"),
    }
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, api.metrics.0.render())
}
