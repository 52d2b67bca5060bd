//! Cross-origin requests: events may come from any site, and so may whoever follows a run by its token. In `dev` pages
//! of this machine, and the web site that talks to dev servers, may look at what runs here. Everything else is for the
//! server's own pages.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use crate::ServerKind;
use crate::guard::{Trusted, host_of, is_local};
use crate::paths::is_at_or_below;

/// For pages of any site.
const OPEN: [&str; 3] = ["/e", "/v1/realtime", "/api/v1/realtime"];

/// The output of a run, for whoever has its token: below these roots, at this end.
const OUTPUT_ROOTS: [&str; 4] = ["/v1/checkpoint", "/v1/http/runs", "/api/v1/checkpoint", "/api/v1/http/runs"];
const OUTPUT: &str = "/output";

/// In `dev`, for pages of this machine and for [`WEB_SITE`].
const LOCAL: [&str; 5] = ["/", "/dev", "/v0/gql", "/graphql", "/mcp"];

/// Inngest's own web site, which talks to dev servers.
pub(crate) const WEB_SITE: &str = "https://app.inngest.com";

/// What a preflight may ask for.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];

/// Whether pages of any site may call this path.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.iter().any(|root| is_at_or_below(path, root))
        || path.ends_with(OUTPUT) && OUTPUT_ROOTS.iter().any(|root| is_at_or_below(path, root))
}

/// The origin of a request, if its page may read the answer.
pub(crate) fn granted(kind: ServerKind, trusted: &Trusted, path: &str, asked: &HeaderMap) -> Option<HeaderValue> {
    let origin = asked.get(header::ORIGIN)?;
    let is_known = |origin: &HeaderValue| origin.to_str().is_ok_and(|text| text == WEB_SITE || is_local(host_of(text)));
    let is_trusted = origin.to_str().is_ok_and(|text| trusted.has_origin(text));
    let granted = is_trusted || is_open(path) || kind == ServerKind::Dev && LOCAL.contains(&path) && is_known(origin);
    granted.then(|| origin.clone())
}

/// Whether a request asks for permission.
pub(crate) fn is_preflight(request: &Request<Body>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight: without permission it says nothing.
pub(crate) fn preflight(asked: &HeaderMap, is_granted: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| is_granted);
    let Some(method) = method.filter(|asked| METHODS.iter().any(|known| known.as_str() == **asked)) else {
        return response;
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

/// Lets the page of this origin read the answer.
pub(crate) fn allow(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Link, Mcp-Session-Id"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_may_read_what_is_meant_for_them() {
        let (dev, start) = (ServerKind::Dev, ServerKind::Cloud);
        for (kind, path, origin, is_granted) in [
            (start, "/e/key", "https://any.example", true),
            (start, "/events", "https://any.example", false),
            (start, "/v1/realtime/sse", "https://any.example", true),
            (start, "/v1/http/runs/x/output", "https://any.example", true),
            (start, "/v1/runs/x/output", "https://any.example", false),
            (start, "/v0/gql", "https://any.example", false),
            (start, "/v0/gql", "http://localhost:3000", false),
            (start, "/v0/gql", WEB_SITE, false),
            (dev, "/v0/gql", "https://any.example", false),
            (dev, "/v0/gql", "http://localhost:3000", true),
            (dev, "/graphql", "http://127.0.0.1:3000", true),
            (dev, "/mcp", "http://localhost:6274", true),
            (start, "/mcp", "http://localhost:6274", false),
            (dev, "/mcp", "https://any.example", false),
            (dev, "/dev", WEB_SITE, true),
            (dev, "/", "http://[::1]:5173", true),
            (dev, "/v1/runs", "http://localhost:3000", false),
            (dev, "/dev", "https://localhost.evil.example", false),
            (dev, "/dev", "null", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
            let granted = granted(kind, &Trusted::default(), path, &headers);
            assert_eq!(granted.is_some(), is_granted, "{kind:?} {path} {origin}");
        }
        let trusted = Trusted { origins: vec!["https://ops.example".to_owned()], ..Trusted::default() };
        let headers = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("https://ops.example"))]);
        assert!(granted(start, &trusted, "/v1/runs", &headers).is_some());
        assert_eq!(granted(dev, &trusted, "/e/key", &HeaderMap::new()), None);
    }
}
