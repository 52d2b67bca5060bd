//! `POST /v1/traces/userland`: spans of the user's own code, as OpenTelemetry exporters send them (OTLP over HTTP).

use std::io::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::error::ApiError;
use crate::operation::JSON;
use crate::{Api, body};

/// The decoded body of one request.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The types of its bodies.
pub(crate) const MEDIA: [&str; 2] = [Encoding::Json.content_type(), Encoding::Protobuf.content_type()];

/// How a request and its reply are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

/// `google.rpc.Status`: how OTLP tells errors.
#[derive(Clone, PartialEq, Message, Serialize, JsonSchema)]
pub(crate) struct Refused {
    #[prost(int32, tag = "1")]
    #[serde(skip)]
    code: i32,
    /// What is wrong, for people.
    #[prost(string, tag = "2")]
    message: String,
}

pub(crate) async fn take(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response<Body> {
    let encoding = Encoding::of(&headers);
    let (status, reply) = match rejected(&api, encoding, &headers, body).await {
        Ok(rejected) => (200, encoding.success(rejected)),
        Err(error) => (error.status, encoding.failure(&error.text)),
    };
    respond(status, encoding, reply, accepts_gzip(&headers))
}

/// Stores the spans of a request; how many could not be.
async fn rejected(api: &Api, encoding: Encoding, headers: &HeaderMap, body: Body) -> Result<usize, ApiError> {
    let body = body::read_whole(headers, body, BODY_BYTES_MAX).await?;
    let export = encoding.read(&body).ok_or_else(|| ApiError::bad_request("Invalid payload"))?;
    Ok(api.engine.take_spans(export).await?)
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.contains("json") { Self::Json } else { Self::Protobuf }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => "application/x-protobuf",
        }
    }

    fn read(self, body: &[u8]) -> Option<ExportTraceServiceRequest> {
        match self {
            Self::Json => body::object(body).ok(),
            Self::Protobuf => ExportTraceServiceRequest::decode(body).ok(),
        }
    }

    fn success(self, rejected: usize) -> Vec<u8> {
        match self {
            Self::Json if rejected == 0 => b"{}".to_vec(),
            // 64-bit integers are strings in the JSON of protobuf.
            Self::Json => {
                json!({ "partialSuccess": { "rejectedSpans": rejected.to_string() } }).to_string().into_bytes()
            }
            Self::Protobuf => {
                let rejected_spans = i64::try_from(rejected).unwrap_or(i64::MAX);
                let partial = ExportTracePartialSuccess { rejected_spans, ..ExportTracePartialSuccess::default() };
                let partial_success = (rejected > 0).then_some(partial);
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
        }
    }

    fn failure(self, message: &str) -> Vec<u8> {
        let refused = Refused { code: 0, message: message.to_owned() };
        match self {
            Self::Json => json!(refused).to_string().into_bytes(),
            Self::Protobuf => refused.encode_to_vec(),
        }
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

fn respond(status: u16, encoding: Encoding, reply: Vec<u8>, gzip: bool) -> Response<Body> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped = gzip.then(|| encoder.write_all(&reply).and_then(|()| encoder.finish()).ok()).flatten();
    let is_zipped = zipped.is_some();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, zipped.unwrap_or(reply)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
    if is_zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_read_and_answered() {
        let (json, protobuf) = (Encoding::Json, Encoding::Protobuf);
        let span = json!({ "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "s" });
        let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string();
        let read = json.read(request.as_bytes()).unwrap();
        assert_eq!(protobuf.read(&read.encode_to_vec()), Some(read));
        assert_eq!(json.read(b"{\"resourceSpans\":[]}"), Some(ExportTraceServiceRequest::default()));
        for junk in ["", "[]", "junk", r#"{"resourceSpans":7}"#] {
            assert_eq!(json.read(junk.as_bytes()), None, "{junk}");
        }
        assert_eq!(protobuf.read(b"junk"), None);
        assert_eq!((json.success(0), protobuf.success(0)), (b"{}".to_vec(), Vec::new()));
        assert_eq!(json.success(1), br#"{"partialSuccess":{"rejectedSpans":"1"}}"#);
        let reply = ExportTraceServiceResponse::decode(&*protobuf.success(2)).unwrap();
        assert_eq!(reply.partial_success.map(|partial| partial.rejected_spans), Some(2));
        assert_eq!(json.failure("Invalid payload"), br#"{"message":"Invalid payload"}"#);
        assert_eq!(Refused::decode(&*protobuf.failure("no")).unwrap().message, "no");
    }

    #[test]
    fn gzip_is_used_only_where_it_is_named() {
        for (accepted, expected) in [("gzip", true), ("br, gzip;q=0.5", true), ("br", false), ("", false)] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted.parse().unwrap())]);
            assert_eq!(accepts_gzip(&headers), expected, "{accepted}");
        }
    }
}
