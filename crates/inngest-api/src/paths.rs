//! Which paths belong to whom, and what they say. Paths are compared by whole segments: `/events` is no path of `/e`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// What a path says. One that cannot be read is refused in the form of all errors.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|path| Self(path.0)).map_err(|rejection| ApiError::bad_request(rejection.body_text()))
    }
}

/// What programs ask for; whatever else is asked for is a page of the UI.
const API_ROOTS: [&str; 17] = [
    "/e", "/v0", "/v1", "/v2", "/api", "/fn", "/dev", "/invoke", "/metrics", "/debug", "/test", "/graphql", "/x",
    "/ui", "/admin", "/health", "/ready",
];

/// Whether a path is this one, or lies below it.
pub(crate) fn is_at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is a page of the UI. One that a browser could take for the name of another host is not, and none lies
/// below a dot (`/.well-known`), where programs look for documents.
pub(crate) fn is_page(path: &str) -> bool {
    let of_programs = path == "/mcp" || API_ROOTS.iter().any(|root| is_at_or_below(path, root));
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    !of_programs && !last.contains('.') && !path.contains("/.") && !path.contains("//") && !path.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_what_no_program_asks_for() {
        for page in ["/", "/runs", "/runs/", "/events", "/developer", "/mcp/setup", "/apps/a.b/functions", "/exit"] {
            assert!(is_page(page), "{page}");
        }
        for other in [
            "/e",
            "/e/key",
            "/v1/nope",
            "/api/v1",
            "/dev/traces",
            "/mcp",
            "/ready",
            "/logo.svg",
            "/openapi.json",
            "//evil.example/",
            "/a//b",
            "/\\evil.example/",
            "/runs/../..",
            "/health/x",
            "/.well-known/oauth-protected-resource/mcp",
        ] {
            assert!(!is_page(other), "{other}");
        }
    }
}
