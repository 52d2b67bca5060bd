//! Where redirects lead, and what goes along.
//!
//! A call to an app stays that call wherever the app moved, because hardly any app has another handler for it. A
//! request that a step asked for is a request to a stranger: it follows the rules of browsers, and what gives access
//! to one host is not shown to another one.

use std::borrow::Cow;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, Uri};
use inngest_core::limits::{FETCH_REDIRECTS_MAX, REDIRECTS_MAX};
use url::Url;

use super::client::Call;
use super::target;
use crate::driver::CallError;

/// Who is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// A call to an app.
    Sdk,
    /// A request of a step.
    Fetch,
}

impl Redirects {
    /// Redirects that are followed.
    pub(super) const fn max(self) -> usize {
        match self {
            Self::Sdk => REDIRECTS_MAX,
            Self::Fetch => FETCH_REDIRECTS_MAX,
        }
    }

    /// The request that follows `last`, which `location` answered; `first` began it all.
    pub(super) fn next(self, first: &Call, last: &Call, status: StatusCode, location: &str) -> Result<Call, CallError> {
        match self {
            Self::Sdk => Ok(Call { uri: with_query_of(&first.uri, &last.uri, location)?, ..first.clone() }),
            Self::Fetch => {
                let mut next = Call { uri: joined(&last.uri, location)?, ..last.clone() };
                if becomes_get(status, &last.method) {
                    next.method = Method::GET;
                    next.body = Bytes::new();
                    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION] {
                        next.headers.remove(name);
                    }
                }
                if (last.uri.scheme(), last.uri.authority()) != (next.uri.scheme(), next.uri.authority()) {
                    next.headers = without_credentials(&next.headers);
                }
                Ok(next)
            }
        }
    }
}

fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        303 => !matches!(*method, Method::GET | Method::HEAD),
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

/// Who makes a request marks what is secret of it as sensitive.
fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    let open = headers.iter().filter(|(_, value)| !value.is_sensitive());
    open.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn joined(from: &Uri, location: &str) -> Result<Uri, CallError> {
    resolved(from, location).and_then(|to| target::uri(&to).map_err(|error| nowhere(location, &error)))
}

/// The query parameters of the original call go along, and win.
fn with_query_of(original: &Uri, from: &Uri, location: &str) -> Result<Uri, CallError> {
    let mut to = resolved(from, location)?;
    let original: Vec<_> = form_urlencoded::parse(original.query().unwrap_or_default().as_bytes()).collect();
    if !original.is_empty() {
        let added = to.query_pairs().filter(|(name, _)| original.iter().all(|(known, _)| known != name));
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = original.iter().cloned().chain(added).collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        let query = Serializer::new(String::new()).extend_pairs(pairs).finish();
        to.set_query(Some(&query));
    }
    target::uri(&to).map_err(|error| nowhere(location, &error))
}

fn resolved(from: &Uri, location: &str) -> Result<Url, CallError> {
    let to = Url::parse(&from.to_string()).and_then(|from| from.join(location));
    let to = to.map_err(|error| nowhere(location, &error))?;
    match to.scheme() {
        "http" | "https" => Ok(to),
        _ => Err(nowhere(location, &"only http and https can be called")),
    }
}

fn nowhere(location: &str, problem: &dyn std::fmt::Display) -> CallError {
    CallError::Redirect(format!("{:?}: {problem}", without_secrets(location)))
}

/// A URL as it may be shown: without user, password and query, where keys are.
pub(crate) fn without_secrets(url: &str) -> Cow<'_, str> {
    let open = url.split(['?', '#']).next().unwrap_or_default();
    let start = open.find("//").map_or(0, |slashes| slashes + 2);
    let host_end = open[start..].find('/').map_or(open.len(), |slash| start + slash);
    match open[start..host_end].rfind('@') {
        Some(at) => Cow::Owned(format!("{}{}", &open[..start], &open[start + at + 1..])),
        None => Cow::Borrowed(open),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn call(method: Method, uri: &str) -> Call {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_static("K");
        key.set_sensitive(true);
        headers.insert("authorization", key);
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert("x-a", HeaderValue::from_static("1"));
        let body = Bytes::from_static(b"body");
        Call { method, uri: uri.parse().unwrap(), headers, body, redirects: Redirects::Fetch }
    }

    fn follow(redirects: Redirects, call: &Call, status: u16, location: &str) -> Result<Call, CallError> {
        redirects.next(call, call, StatusCode::from_u16(status).unwrap(), location)
    }

    #[test]
    fn a_call_to_an_app_keeps_its_parameters() {
        let original = call(Method::POST, "http://a.b/x?fnId=f&stepId=s");
        for (location, expected) in [
            ("/y", "http://a.b/y?fnId=f&stepId=s"),
            ("y/", "http://a.b/y/?fnId=f&stepId=s"),
            ("https://c.d/?q=1&fnId=other#f", "https://c.d/?fnId=f&q=1&stepId=s"),
            ("//c.d", "http://c.d/?fnId=f&stepId=s"),
        ] {
            let next = follow(Redirects::Sdk, &original, 303, location).unwrap();
            assert_eq!((next.uri.to_string().as_str(), next.method), (expected, Method::POST), "{location}");
        }
        for location in ["http://", "ftp://a.b/", "http://[x]/"] {
            for redirects in [Redirects::Sdk, Redirects::Fetch] {
                let outcome = follow(redirects, &original, 302, location);
                assert!(matches!(outcome, Err(CallError::Redirect(_))), "{location}");
            }
        }
        let bare = call(Method::POST, "http://a.b/x");
        let next = follow(Redirects::Sdk, &bare, 302, "/y?z=1&a=2").unwrap();
        assert_eq!(next.uri.to_string(), "http://a.b/y?z=1&a=2");
    }

    #[test]
    fn a_request_of_a_step_becomes_a_get_as_in_browsers() {
        for (method, status, expected) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("POST", 303, "GET"),
            ("POST", 307, "POST"),
            ("POST", 308, "POST"),
            ("PUT", 301, "PUT"),
            ("DELETE", 302, "DELETE"),
            ("PUT", 303, "GET"),
            ("HEAD", 303, "HEAD"),
        ] {
            let original = call(method.parse().unwrap(), "http://a.b/x?key=K");
            let next = follow(Redirects::Fetch, &original, status, "/y?z=1").unwrap();
            assert_eq!(next.method.as_str(), expected, "{method} {status}");
            let changed = method != expected;
            assert_eq!(next.body.is_empty(), changed, "{method} {status}");
            assert_eq!(next.headers.contains_key("content-type"), !changed, "{method} {status}");
            assert_eq!(next.uri.to_string(), "http://a.b/y?z=1", "the query is that of the location alone");
        }
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let original = call(Method::GET, "https://a.b/x");
        for (location, stays) in [
            ("/y", true),
            ("https://A.b:443/y", true),
            ("http://a.b/y", false),
            ("https://a.b:8443/y", false),
            ("https://c.a.b/y", false),
            ("//c.d/y", false),
        ] {
            let next = follow(Redirects::Fetch, &original, 307, location).unwrap();
            assert_eq!(next.headers.contains_key("authorization"), stays, "{location}");
            assert_eq!(next.headers["x-a"], "1", "{location}");
        }
        let away = follow(Redirects::Fetch, &original, 307, "https://c.d/").unwrap();
        let back = Redirects::Fetch.next(&original, &away, StatusCode::FOUND, "https://a.b/x").unwrap();
        assert!(!back.headers.contains_key("authorization"), "who sends it back does not get it sent");
    }

    #[test]
    fn secrets_of_urls_are_not_shown() {
        for (url, shown) in [
            ("https://u:p@a.b/x?key=K#f", "https://a.b/x"),
            ("https://a.b?key=K", "https://a.b"),
            ("//u@a.b", "//a.b"),
            ("/x@y?key=K", "/x@y"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
        let outcome =
            follow(Redirects::Fetch, &call(Method::GET, "http://a.b/"), 302, "ftp://u:SECRET@a.b/?key=SECRET");
        assert!(!format!("{outcome:?}").contains("SECRET"), "{outcome:?}");
    }
}
