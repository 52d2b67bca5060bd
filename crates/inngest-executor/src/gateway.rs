//! Requests that the server makes in place of an app: from the op to the request, and from the reply to the value
//! of the step.

mod exchange;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use inngest_core::{Payload, canonical};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use url::Url;

use crate::driver::CallError;
use crate::driver::http::{HttpReply, without_secrets};
use crate::response::{Op, OpReport};
pub use exchange::Exchange;

/// Headers that belong to a connection or to how a body is sent over it.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Parts of the names of headers that give access to something: `authorization`, `cookie`, `x-api-key`, ..
const OF_CREDENTIALS: [&str; 7] = ["auth", "cookie", "credential", "key", "password", "secret", "token"];

/// A request to anywhere. What of its headers gives access to something is marked as sensitive, so that it stays with
/// the host it is meant for.
#[derive(Clone)]
pub struct FetchRequest {
    /// How.
    pub method: Method,
    /// Where.
    pub url: String,
    /// With these headers besides the usual ones.
    pub headers: HeaderMap,
    /// With this body.
    pub body: Bytes,
}

/// Without what is secret.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = without_secrets(&self.url);
        write!(f, "{} {url} {:?}, {} bytes", self.method, self.headers, self.body.len())
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfetched {
    /// What went wrong, for the user.
    pub message: String,
    /// What the other side said, if it said something.
    pub body: Option<Bytes>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The result that it stands for.
    pub result: Result<Payload, Unfetched>,
    /// What there is to note about it.
    pub exchange: Exchange,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts<'a> {
    url: String,
    method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    format: Option<String>,
    auth_key: Option<String>,
}

/// The request that an op asks for.
pub fn request(report: &OpReport) -> Result<FetchRequest, Unfetched> {
    build(report).map_err(|problem| failed(report.op, &problem))
}

fn build(report: &OpReport) -> Result<FetchRequest, String> {
    let opts = report.opts.as_deref().unwrap_or(b"{}");
    let opts: Opts<'_> =
        serde_json::from_slice(opts).map_err(|error| format!("the options cannot be used: {error}"))?;
    let mut url =
        Url::parse(&opts.url).map_err(|error| format!("invalid URL {:?}: {error}", without_secrets(&opts.url)))?;
    let mut headers = headers(opts.headers.as_ref(), &url)?;
    if report.op == Op::Gateway {
        let method = opts.method.filter(|method| !method.is_empty()).unwrap_or_else(|| "POST".to_owned());
        let method = Method::from_bytes(method.to_uppercase().as_bytes());
        let method = method.map_err(|_| "invalid method".to_owned())?;
        let body = opts.body.map_or_else(Bytes::new, text);
        return Ok(FetchRequest { method, url: opts.url, headers, body });
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = opts.auth_key.filter(|key| !key.is_empty()) {
        let secret = |text: &str| secret(text).ok_or_else(|| "auth_key cannot be sent in a header".to_owned());
        match opts.format.as_deref().unwrap_or_default() {
            "anthropic" => drop(headers.insert("x-api-key", secret(&key)?)),
            "gemini" => drop(url.query_pairs_mut().append_pair("key", &key)),
            "bedrock" => drop(headers.insert(header::AUTHORIZATION, secret(&key)?)),
            _ => drop(headers.insert(header::AUTHORIZATION, secret(&format!("Bearer {key}"))?)),
        }
    }
    // The options are canonical, and so is the body in them.
    let body = match (opts.body, &report.data) {
        (Some(body), _) => Bytes::copy_from_slice(body.get().as_bytes()),
        (None, Some(data)) => data.clone(),
        (None, None) => Bytes::from_static(b"{}"),
    };
    Ok(FetchRequest { method: Method::POST, url: url.into(), headers, body })
}

/// The headers that the user gave, without those that are about the connection, which is ours.
fn headers(given: Option<&BTreeMap<String, String>>, url: &Url) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given.into_iter().flatten() {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("invalid header name {name:?}"))?;
        if OF_THE_CONNECTION.contains(&name.as_str()) {
            continue;
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| format!("invalid value of header {name}"))?;
        value.set_sensitive(is_credential(name.as_str()));
        headers.insert(name, value);
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user && !headers.contains_key(header::AUTHORIZATION) {
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let pair = [decoded(url.username()), decoded(url.password().unwrap_or_default())].join(&b':');
        headers.extend(secret(&format!("Basic {}", STANDARD.encode(pair))).map(|value| (header::AUTHORIZATION, value)));
    }
    Ok(headers)
}

/// Whether a header of this lower-case name may give access to something.
pub(crate) fn is_credential(name: &str) -> bool {
    OF_CREDENTIALS.iter().any(|part| name.contains(part))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The body of the request that an op asks for, as it is shown: only if it is JSON, since other forms are those in which
/// passwords and keys are sent.
pub(crate) fn shown(report: &OpReport) -> Option<Payload> {
    let opts: Opts<'_> = serde_json::from_slice(report.opts.as_deref()?).ok()?;
    let body = match (opts.body, &report.data) {
        (Some(body), _) => text(body),
        (None, Some(data)) => data.clone(),
        (None, None) => return None,
    };
    canonical::canonicalise(&body, canonical::Numbers::Exact).ok().map(Into::into)
}

/// A body given as a JSON string is sent as its text, anything else as it stands.
fn text(body: &RawValue) -> Bytes {
    match serde_json::from_str::<Option<String>>(body.get()) {
        Ok(text) => text.unwrap_or_default().into(),
        Err(_) => Bytes::copy_from_slice(body.get().as_bytes()),
    }
}

/// The result that a reply stands for; one of more than `output_bytes_max` is none.
pub fn result(
    report: &OpReport,
    outcome: Result<HttpReply, CallError>,
    output_bytes_max: usize,
) -> Result<Payload, Unfetched> {
    let reply = outcome.map_err(|error| failed(report.op, &causes(&error)))?;
    let data = match report.op {
        Op::AiGateway if reply.status > 299 => {
            let problem = format!("unsuccessful status code: {}", reply.status);
            return Err(Unfetched { body: Some(reply.body), ..failed(report.op, &problem) });
        }
        Op::AiGateway => canonical::canonicalise(&reply.body, canonical::Numbers::Exact)
            .map_err(|error| failed(report.op, &format!("the reply is not JSON: {error}")))?,
        _ => page(report, &reply),
    };
    if data.len() > output_bytes_max {
        return Err(failed(report.op, "step output size is greater than the limit"));
    }
    Ok(data.into())
}

/// A reply as `step.fetch` sees it.
fn page(report: &OpReport, reply: &HttpReply) -> Vec<u8> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &reply.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = headers.entry(capitalised(name.as_str())).or_default();
        *all = if all.is_empty() { value.into_owned() } else { format!("{all},{value}") };
    }
    let opts = report.opts.as_deref().unwrap_or(b"{}");
    let url = serde_json::from_slice::<Opts<'_>>(opts).unwrap_or_default().url;
    let body = String::from_utf8_lossy(&reply.body);
    let page = json!({ "body": body, "headers": headers, "status_code": reply.status, "url": url });
    canonical::canonicalise(page.to_string().as_bytes(), canonical::Numbers::Exact).expect("serde_json writes JSON")
}

/// `content-type` as `Content-Type`, the spelling that users of the Go server match on.
pub(crate) fn capitalised(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}

fn failed(op: Op, problem: &str) -> Unfetched {
    let what = if op == Op::AiGateway { "AI" } else { "gateway" };
    Unfetched { message: format!("Error making {what} request: {problem}"), body: None }
}

/// What an error of a call says, without that it was a call to an app.
fn causes(error: &CallError) -> String {
    match error {
        CallError::Unreachable(cause)
        | CallError::Reset(cause, _)
        | CallError::Redirect(cause)
        | CallError::BadUrl(cause) => cause.clone(),
        CallError::TimedOut => "no complete reply in time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use inngest_core::StepId;

    use super::*;

    fn report(op: Op, opts: &serde_json::Value) -> OpReport {
        OpReport {
            op,
            id: StepId::from("s"),
            display_name: "s".into(),
            name: None,
            opts: Some(opts.to_string().into()),
            input: None,
            data: None,
            error: None,
            metadata: Vec::new(),
            timing: None,
        }
    }

    fn reply(status: u16, body: &'static str) -> HttpReply {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/plain"));
        headers.append("x-multi", HeaderValue::from_static("a"));
        headers.append("x-multi", HeaderValue::from_static("b"));
        HttpReply { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn each_provider_gets_its_key_where_it_looks_for_it() {
        let table = [
            ("openai-chat", "authorization", "Bearer K"),
            ("anthropic", "x-api-key", "K"),
            ("bedrock", "authorization", "K"),
            ("", "authorization", "Bearer K"),
        ];
        for (format, header, expected) in table {
            let opts = json!({ "url": "http://h/v1", "format": format, "auth_key": "K", "body": { "a": 1 } });
            let request = request(&report(Op::AiGateway, &opts)).unwrap();
            assert_eq!(request.headers[header], expected, "{format}");
            assert_eq!((request.method, &request.body[..]), (Method::POST, &b"{\"a\":1}"[..]));
        }
        let opts = json!({ "url": "http://h/v1?x=1", "format": "gemini", "auth_key": "K k", "body": {} });
        let request = request(&report(Op::AiGateway, &opts)).unwrap();
        assert_eq!(request.url, "http://h/v1?x=1&key=K+k");
        assert!(!request.headers.contains_key("authorization"));
    }

    #[test]
    fn any_status_is_a_result_of_fetch() {
        let opts = json!({ "url": "http://h", "method": "get", "headers": { "x-a": "1" }, "body": "te\"xt" });
        let report = report(Op::Gateway, &opts);
        let request = request(&report).unwrap();
        assert_eq!(
            (request.method, &request.body[..], &request.headers["x-a"]),
            (Method::GET, &b"te\"xt"[..], &HeaderValue::from_static("1"))
        );
        let data = result(&report, Ok(reply(500, "no")), 200).unwrap();
        let expected = r#"{"body":"no","headers":{"Content-Type":"text/plain","X-Multi":"a,b"},"status_code":500,"url":"http://h"}"#;
        assert_eq!(std::str::from_utf8(&data), Ok(expected));
        let error = result(&report, Ok(reply(500, "no")), data.len() - 1).unwrap_err();
        assert!(error.message.ends_with("step output size is greater than the limit"), "{error:?}");
    }

    #[test]
    fn headers_of_the_connection_are_ours_and_credentials_are_marked() {
        let given = json!({ "Host": "evil", "content-length": "7", "Transfer-Encoding": "chunked", "connection": "close",
            "te": "trailers", "Upgrade": "h2c", "X-Goog-Api-Key": "K", "cookie": "c=1", "Authorization": "A", "x-plain": "1" });
        let request = request(&report(Op::Gateway, &json!({ "url": "http://u:p@h", "headers": given }))).unwrap();
        let mut names: Vec<(&str, bool)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.is_sensitive())).collect();
        names.sort_unstable();
        assert_eq!(names, [("authorization", true), ("cookie", true), ("x-goog-api-key", true), ("x-plain", false)]);
        assert_eq!(request.headers["authorization"], "A", "what is given goes before what the URL says");
    }

    #[test]
    fn user_and_password_of_a_url_become_basic_authorization() {
        for (url, expected) in
            [("http://u:p%40ss@h/", "Basic dTpwQHNz"), ("http://u@h/", "Basic dTo="), ("http://:p@h/", "Basic OnA=")]
        {
            let request = request(&report(Op::Gateway, &json!({ "url": url }))).unwrap();
            assert_eq!(request.headers["authorization"], expected, "{url}");
            assert!(request.headers["authorization"].is_sensitive());
        }
    }

    #[test]
    fn keys_are_not_printed() {
        for format in ["openai-chat", "anthropic", "gemini"] {
            let opts = json!({ "url": "https://u:SECRET@h/v1?a=SECRET", "format": format, "auth_key": "SECRET",
                "headers": { "x-api-key": "SECRET" }, "body": {} });
            let report = report(Op::AiGateway, &opts);
            let printed = format!("{report:?} {:?}", request(&report).unwrap());
            assert!(!printed.contains("SECRET"), "{printed}");
        }
    }

    #[test]
    fn what_cannot_be_asked_or_fails_says_why() {
        for (opts, problem) in [
            (json!({ "url": "nowhere" }), "Error making gateway request: invalid URL \"nowhere\""),
            (
                json!({ "url": "http://h", "headers": { "b c": "1" } }),
                "Error making gateway request: invalid header name",
            ),
            (json!({ "url": "http://h", "method": "G T" }), "Error making gateway request: invalid method"),
            (json!({ "url": 1 }), "Error making gateway request: the options cannot be used"),
        ] {
            let error = request(&report(Op::Gateway, &opts)).unwrap_err();
            assert!(error.message.starts_with(problem), "{error:?}");
        }
        let ai = report(Op::AiGateway, &json!({ "url": "http://h" }));
        let error = result(&ai, Ok(reply(405, "{\"e\":1}")), 0).unwrap_err();
        assert_eq!(error.message, "Error making AI request: unsuccessful status code: 405");
        assert_eq!(error.body.as_deref(), Some(&b"{\"e\":1}"[..]));
        let error = result(&ai, Err(CallError::Unreachable("refused".into())), 0).unwrap_err();
        assert_eq!(error.message, "Error making AI request: refused");
    }
}
