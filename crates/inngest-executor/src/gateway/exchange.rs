//! What is noted about a request that the server made for a step: `inngest.http`, and `inngest.ai` if it went to a model.

use http::header::{self, HeaderMap, HeaderName};
use inngest_core::{Payload, canonical};
use serde_json::{Map, Value, json};
use url::Url;

use super::{FetchRequest, Opts};
use crate::ai;
use crate::driver::CallError;
use crate::driver::http::HttpReply;
use crate::response::{Op, OpReport};

/// A longer path is cut off.
const PATH_BYTES_MAX: usize = 1024;

/// Hosts of providers whose models are asked in the form of another one.
const PROVIDERS: [(&str, &str); 7] = [
    ("openai.com", "openai"),
    ("azure.com", "azure"),
    ("anthropic.com", "anthropic"),
    ("googleapis.com", "gemini"),
    ("amazonaws.com", "bedrock"),
    ("deepseek.com", "deepseek"),
    ("x.ai", "grok"),
];

/// A request, and its reply once there is one.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    http: Map<String, Value>,
    ai: Option<Map<String, Value>>,
    /// HTTP status of the reply.
    pub status: Option<u16>,
}

impl Exchange {
    /// What there is to say of the request. Of its URL only host and path: the rest may be secret.
    pub(crate) fn of(report: &OpReport, request: &FetchRequest) -> Self {
        let url = Url::parse(&request.url).ok();
        let path = url.as_ref().map_or("", Url::path);
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let mut http = Map::new();
        http.insert("method".into(), request.method.as_str().into());
        http.insert("domain".into(), host.into());
        http.insert("path".into(), path[..path.floor_char_boundary(PATH_BYTES_MAX)].into());
        http.insert("request_size".into(), request.body.len().into());
        put(&mut http, "request_content_type", &request.headers, &header::CONTENT_TYPE);
        let ai = (report.op == Op::AiGateway).then(|| ai::asked(&provider(report, host), path, &request.body));
        Self { http, ai, status: None }
    }

    /// Adds what came back.
    pub(crate) fn replied(&mut self, outcome: &Result<HttpReply, CallError>) {
        let Ok(reply) = outcome else { return };
        self.status = Some(reply.status);
        self.http.insert("response_status".into(), reply.status.into());
        self.http.insert("response_size".into(), reply.body.len().into());
        put(&mut self.http, "response_content_type", &reply.headers, &header::CONTENT_TYPE);
        if let Some(values) = &mut self.ai
            && (200..300).contains(&reply.status)
        {
            ai::answered(values, &reply.body);
        }
    }

    /// The notes, by kind. What a model was asked for counts only if it has answered.
    pub(crate) fn notes(&self, latency_ms: i64) -> Vec<(&'static str, Payload)> {
        if self.http.is_empty() {
            return Vec::new();
        }
        let mut notes = vec![("inngest.http", payload(&self.http))];
        if let Some(values) = self.ai.as_ref().filter(|values| values.contains_key("output_tokens")) {
            let mut values = values.clone();
            values.insert("latency_ms".into(), latency_ms.into());
            notes.push(("inngest.ai", payload(&values)));
        }
        notes
    }
}

fn put(values: &mut Map<String, Value>, key: &str, headers: &HeaderMap, name: &HeaderName) {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    values.extend(value.map(|value| (key.to_owned(), value.into())));
}

fn payload(values: &Map<String, Value>) -> Payload {
    let text = json!(values).to_string();
    canonical::canonicalise(text.as_bytes(), canonical::Numbers::Exact).map_or_else(|_| text.into(), Payload::from)
}

/// Whose model it is, by the host, else by the form of the request.
fn provider(report: &OpReport, host: &str) -> String {
    let within = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if let Some((_, provider)) = PROVIDERS.iter().find(|(domain, _)| within(domain)) {
        return (*provider).to_owned();
    }
    let opts = report.opts.as_deref().and_then(|opts| serde_json::from_slice::<Opts<'_>>(opts).ok());
    let format = opts.and_then(|opts| opts.format).unwrap_or_default();
    format.strip_suffix("-chat").unwrap_or(&format).to_owned()
}
