//! Server and app are brought together, with the recorder in between.

use serde_json::{Value, json};
use ureq::http::{Method, Request, Uri};

use super::cases;
use super::catalogue::Case;
use super::recorder::Recorder;
use super::report::Outcome;
use super::settings::Settings;
use crate::client::encoded;
use crate::input;

/// An app that the server knows, at the recorder.
pub(super) struct Session {
    pub(super) recorder: Recorder,
    settings: Settings,
    started: i64,
    number: std::sync::atomic::AtomicU64,
}

/// Runs cases one after the other.
pub(super) async fn run(settings: Settings, cases: &[Case]) -> Vec<(Case, Outcome)> {
    let limit = settings.timeout;
    let session = if cases.iter().any(|case| case.is_implemented) { Some(Session::open(settings).await) } else { None };
    let mut outcomes = Vec::new();
    for case in cases {
        let outcome = match &session {
            _ if !case.is_implemented => Outcome::NotImplemented,
            None => Outcome::NotImplemented,
            Some(Err(problem)) => Outcome::NotEvaluable(problem.clone()),
            Some(Ok(session)) => match tokio::time::timeout(limit, Box::pin(cases::run(case.id, session))).await {
                Ok(Ok(())) => Outcome::Passed,
                Ok(Err(problem)) => Outcome::Failed(problem),
                Err(_) => Outcome::Failed(format!("it is not over within {limit:?}")),
            },
        };
        outcomes.push((*case, outcome));
    }
    if let Some(Ok(session)) = session {
        session.close().await;
    }
    outcomes
}

impl Session {
    /// Asks the app for its functions, and registers them with the server, at the recorder.
    async fn open(settings: Settings) -> Result<Self, String> {
        let uri: Uri = settings.sdk_url.parse().map_err(|_| format!("{} is no URL", settings.sdk_url))?;
        let origin = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => {
                return Err(format!(
                    "{} is no URL with a scheme, such as http://localhost:3000/api/inngest",
                    settings.sdk_url
                ));
            }
        };
        let recorder = Recorder::start(origin).await.map_err(|error| format!("no port for the recorder: {error}"))?;
        let started = input::now().0;
        let session = Self { recorder, settings, started, number: 0.into() };
        let app = session.sync().await?;
        session.register(&app).await?;
        Ok(session)
    }

    /// The functions of the app, in its answer.
    async fn sync(&self) -> Result<Value, String> {
        let body = json!({ "url": self.settings.sdk_url }).to_string();
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(&self.settings.sdk_url)
            .header("content-type", "application/json")
            .header("x-inngest-server-kind", "dev")
            .header("x-inngest-sync-kind", "in_band");
        if let Some(key) = &self.settings.key {
            request = request.header("x-inngest-signature", key.sign(body.as_bytes(), self.started / 1_000));
        }
        let answer = self.exchange(request, body).await.map_err(|error| format!("the app at {error}"))?;
        if answer["functions"].is_array() && answer["app_id"].is_string() {
            return Ok(answer);
        }
        Err("the app did not answer the sync with its functions; does its SDK do in-band syncs?".to_owned())
    }

    async fn register(&self, app: &Value) -> Result<(), String> {
        let mut functions = app["functions"].clone();
        for function in functions.as_array_mut().into_iter().flatten() {
            for step in function["steps"].as_object_mut().into_iter().flat_map(|steps| steps.values_mut()) {
                if let Some(url) = step["runtime"]["url"].as_str().and_then(|url| self.at_recorder(url)) {
                    step["runtime"]["url"] = url.into();
                }
            }
        }
        let sdk = [&app["sdk_language"], &app["sdk_version"]].map(|part| part.as_str().unwrap_or("unknown"));
        let body = json!({
            "url": self.url(), "deployType": "ping", "framework": app["framework"], "appName": app["app_id"],
            "functions": functions, "sdk": format!("{}:v{}", sdk[0], sdk[1].trim_start_matches('v')), "v": "0.1",
        });
        let url = format!("{}/fn/register", self.settings.api_url);
        let request = Request::builder().method(Method::POST).uri(url).header("content-type", "application/json");
        let answer = self.exchange(self.authorised(request), body.to_string()).await;
        answer.map(drop).map_err(|error| format!("the server at {error}"))
    }

    fn authorised(&self, request: ureq::http::request::Builder) -> ureq::http::request::Builder {
        match &self.settings.key {
            Some(key) => request.header("authorization", format!("Bearer signkey-test-{}", key.hashed())),
            None => request,
        }
    }

    /// Where the server finds the app.
    fn url(&self) -> String {
        self.at_recorder(&self.settings.sdk_url).unwrap_or_else(|| self.recorder.origin.clone())
    }

    /// The same path at the recorder.
    fn at_recorder(&self, url: &str) -> Option<String> {
        let uri: Uri = url.parse().ok()?;
        Some(format!("{}{}", self.recorder.origin, uri.path_and_query()?))
    }

    /// Sends an event.
    pub(super) async fn send(&self, name: &str, data: &Value) -> Result<(), String> {
        let url = format!("{}/e/{}", self.settings.event_url, encoded(&self.settings.event_key));
        let request = Request::builder().method(Method::POST).uri(url).header("content-type", "application/json");
        let sent = self.exchange(request, json!({ "name": name, "data": data }).to_string()).await;
        sent.map(drop).map_err(|error| format!("the event {name} was not accepted: {error}"))
    }

    /// A text that no other event has.
    pub(super) fn unique(&self) -> String {
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("conformance-{}-{number}", self.started)
    }

    /// The server forgets the app.
    async fn close(&self) {
        let url = format!("{}/fn/remove?url={}", self.settings.api_url, encoded(&self.url()));
        let request = self.authorised(Request::builder().method(Method::DELETE).uri(url));
        // One that is left behind is found unreachable, and does no harm.
        let _removed = self.exchange(request, String::new()).await;
    }

    /// The answer, which must be a success.
    async fn exchange(&self, request: ureq::http::request::Builder, body: String) -> Result<Value, String> {
        let agent = self.settings.agent();
        let request = request.body(body).map_err(|error| format!("this is no URL: {error}"))?;
        let url = request.uri().to_string();
        let asking = tokio::task::spawn_blocking(move || {
            let mut reply = agent.run(request).map_err(|error| format!("{url} cannot be reached: {error}"))?;
            let text = reply.body_mut().read_to_string().map_err(|error| format!("{url}: {error}"))?;
            match reply.status().is_success() {
                true => Ok(serde_json::from_str(&text).unwrap_or_default()),
                false => Err(format!("{url} answered {}: {}", reply.status(), text.trim_end())),
            }
        });
        asking.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}
