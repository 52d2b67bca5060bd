//! Asking an app for its functions: `PUT <url>`. It pushes them to us, or has them in its answer.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use inngest_executor::CallError;
use inngest_executor::apps::{RegisterError, Registration};
use inngest_executor::driver::http::{HttpClient, HttpReply};
use serde_json::{Value, json};

/// An app that takes longer is taken for unreachable.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Parts of our own refusals, which SDKs hand on as 400 (JS) or 500 (Go, Kotlin), with the code to store; the
/// message itself when there is none.
const REFUSALS: [(&str, &str); 4] = [
    ("function is invalid", "invalid_function"),
    ("App sync was blocked", "sdk_version_denied"),
    ("App ID required", ""),
    ("Invalid request: ", ""),
];

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The functions were in the answer.
    InBand(Box<Registration>),
    /// The app has pushed them, or will.
    Accepted,
    /// The app pushed its functions, and hands on that this server refused them.
    Refused {
        /// Stored with the app, unless the reason is known better.
        code: String,
        /// For the log.
        advice: String,
    },
    /// Something stands in the way.
    Failed {
        /// Stored with the app: a code that UIs know, or a text.
        code: String,
        /// For the log: cause and fix.
        advice: String,
    },
}

pub(super) async fn ping(client: &HttpClient, url: &str) -> Outcome {
    let body = json!({ "url": url }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-inngest-server-kind", HeaderValue::from_static("dev"));
    match client.put_json(url, body.into(), headers, TIMEOUT).await {
        Ok(reply) => understand(url, &reply),
        Err(error) => unreachable(url, &error),
    }
}

fn unreachable(url: &str, error: &CallError) -> Outcome {
    let (code, advice) = match error {
        CallError::BadUrl(cause) => {
            ("unsupported_protocol", format!("{url} cannot be called: {cause}; an http or https URL is needed"))
        }
        CallError::TimedOut => {
            ("unreachable", format!("{url} did not answer within {} s; is the app busy starting?", TIMEOUT.as_secs()))
        }
        error => ("unreachable", format!("nothing answers at {url} ({error}); start your app or fix -u")),
    };
    Outcome::Failed { code: code.to_owned(), advice }
}

fn understand(url: &str, reply: &HttpReply) -> Outcome {
    if let 400 | 500 = reply.status
        && let message = message(reply)
        && let Some(code) = REFUSALS.iter().find(|(part, _)| message.contains(part)).map(|(_, code)| *code)
    {
        let code = if code.is_empty() { message.clone() } else { code.to_owned() };
        return Outcome::Refused { code, advice: format!("the sync of {url} was refused: {message}") };
    }
    let failed = |code: &str, advice: String| Outcome::Failed { code: code.to_owned(), advice };
    match reply.status {
        200..=299 => in_band(reply),
        401 => failed(
            "unauthorized",
            format!(
                "{url} answered 401: the app is in cloud mode or its signing key differs; start it with INNGEST_DEV=1"
            ),
        ),
        403 => failed("forbidden", format!("{url} answered 403: something in front of the app forbids the request")),
        404 => failed(
            "url_not_found",
            format!("{url} answered 404: the app runs, but serves its functions elsewhere; check the path of serve()"),
        ),
        500 => {
            failed("internal_server_error", format!("{url} answered 500: {}; see the app's own log", message(reply)))
        }
        400 => {
            let message = message(reply);
            let code = known_message(&message).map_or_else(|| message.clone(), str::to_owned);
            failed(&code, format!("{url} refused to sync: {message}"))
        }
        status => failed(
            &format!("unexpected status {status}"),
            format!("{url} answered {status}, which no SDK does; is it the right port?"),
        ),
    }
}

fn in_band(reply: &HttpReply) -> Outcome {
    let says_so = reply.headers.get("x-inngest-sync-kind").is_some_and(|kind| kind == "in_band");
    let looks_so = serde_json::from_slice::<Value>(&reply.body).is_ok_and(|body| {
        body.get("app_id").is_some_and(Value::is_string) && body.get("functions").is_some_and(Value::is_array)
    });
    if !says_so && !looks_so {
        return Outcome::Accepted;
    }
    match Registration::parse_in_band(&reply.body) {
        Ok(registration) => Outcome::InBand(Box::new(registration)),
        Err(error) => {
            let code = error.app_problem().map_or_else(|| error.to_string(), |(_, text)| text);
            Outcome::Failed { code, advice: refused(&error) }
        }
    }
}

pub(super) fn refused(error: &RegisterError) -> String {
    format!("the app's functions cannot be used: {error}")
}

fn message(reply: &HttpReply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = body.get("message").or_else(|| body.get("error")).and_then(Value::as_str);
    text.map_or_else(|| String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]).into_owned(), str::to_owned)
}

fn known_message(message: &str) -> Option<&'static str> {
    const TABLE: [(&str, &str); 4] = [
        ("Your signing key is invalid", "invalid_signing_key"),
        ("No functions registered", "no_functions"),
        ("You didn't specify your workspace's signing key", "missing_signing_key"),
        ("No INNGEST_ENV branch name found", "missing_branch_env_name"),
    ];
    TABLE.iter().find(|(part, _)| message.contains(part)).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> String {
        let reply = HttpReply { status, headers: HeaderMap::new(), body: body.to_owned().into() };
        match understand("http://localhost:3000/api/inngest", &reply) {
            Outcome::InBand(registration) => format!("in-band {}", registration.app_name),
            Outcome::Accepted => "accepted".to_owned(),
            Outcome::Refused { code, advice } => {
                assert!(advice.len() > 20, "{advice}");
                format!("refused {code}")
            }
            Outcome::Failed { code, advice } => {
                assert!(advice.len() > 20, "{advice}");
                code
            }
        }
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let table = [
            (200, "", "accepted"),
            (200, r#"{"message":"Successfully registered","modified":true}"#, "accepted"),
            (
                200,
                r#"{"app_id":"shop","functions":[],"url":"http://localhost:1/x","sdk_language":"go","sdk_version":"0.16.0"}"#,
                "in-band shop",
            ),
            (200, r#"{"app_id":"","functions":[],"url":"http://localhost:1/x"}"#, "App ID required"),
            (401, "", "unauthorized"),
            (403, "", "forbidden"),
            (404, "<html>", "url_not_found"),
            (500, r#"{"message":"boom"}"#, "internal_server_error"),
            (400, r#"{"message":"Your signing key is invalid, sorry"}"#, "invalid_signing_key"),
            (400, r#"{"message":"No functions registered within your app"}"#, "no_functions"),
            (400, r#"{"message":"At least one function is invalid: x"}"#, "refused invalid_function"),
            (
                500,
                r#"{"message":"error registering functions: At least one function is invalid: x"}"#,
                "refused invalid_function",
            ),
            (400, r#"{"message":"App sync was blocked because"}"#, "refused sdk_version_denied"),
            (400, r#"{"message":"App ID required"}"#, "refused App ID required"),
            (400, r#"{"message":"You didn't specify your workspace's signing key"}"#, "missing_signing_key"),
            (400, r#"{"message":"No INNGEST_ENV branch name found"}"#, "missing_branch_env_name"),
            (400, r#"{"message":"something else"}"#, "something else"),
            (405, "", "unexpected status 405"),
            (502, "<html>", "unexpected status 502"),
        ];
        for (status, body, expected) in table {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let outcome = ping(&HttpClient::new(), "http://localhost:1/api/inngest").await;
        assert!(matches!(outcome, Outcome::Failed { code, .. } if code == "unreachable"));
        let outcome = ping(&HttpClient::new(), "ftp://localhost/x").await;
        assert!(matches!(outcome, Outcome::Failed { .. }));
    }
}
