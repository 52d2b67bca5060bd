//! `GET /` and all other pages: what runs here and where to look, until the dashboard comes.

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::error::ApiError;
use crate::{Api, paths, v2};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#1f2328;background:#fff}\
code{background:#f1f3f5;padding:.1em .35em;border-radius:4px}table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0}\
.bad{color:#b42318}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code{background:#21262d}.bad{color:#ff7b72}}";

pub(crate) async fn page(State(api): State<Api>) -> Response<Body> {
    let registry = api.engine.registry();
    let mut rows = String::new();
    for app in registry.apps().filter(|app| app.archived_at.is_none()) {
        let functions = registry
            .functions()
            .filter(|function| function.app == app.id && function.archived_at.is_none())
            .map(|function| format!("<code>{}</code>", escape(&function.slug)))
            .collect::<Vec<_>>()
            .join(" ");
        let name = if app.name.is_empty() { "not synced yet" } else { &app.name };
        let state = match &app.error {
            Some(error) => format!("<span class=bad>{}</span>", escape(error)),
            None => functions,
        };
        rows.push_str(&format!("<tr><td>{}<td>{}<td>{state}", escape(name), escape(&app.url)));
    }
    let apps = if rows.is_empty() {
        "<p>No app is connected. Start one with <code>INNGEST_DEV=1</code>, or name it: <code>inngest dev -u http://localhost:3000/api/inngest</code>.".to_owned()
    } else {
        format!("<table><tr><th>App<th>URL<th>Functions{rows}</table>")
    };
    // A store that cannot tell is told of by `/ready`.
    let depth = api.engine.depth().await.unwrap_or_default();
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Inngest</title><style>{STYLE}</style>\
         <h1>Inngest {kind} server</h1><p>Version {version}. It runs, and works on {leased} jobs now; {waiting} wait for their time.\
         <h2>Apps</h2>{apps}\
         <h2>Send an event</h2><p><code>curl -X POST http://localhost:{port}/e/key -d '{{\"name\":\"test/hello\",\"data\":{{}}}}'</code>\
         <h2>Look at what happens</h2><p><a href=/api/v1/runs>runs</a> &middot; <a href=/v1/events>events</a> &middot; <a href=/api/v1/functions>functions</a> &middot; \
         <a href=/dev>configuration</a> &middot; <a href=/ready>readiness</a><p>The dashboard comes to this page in a later version.</html>",
        kind = api.kind.as_str(),
        version = escape(&api.info.version),
        leased = depth.leased,
        waiting = depth.waiting,
        port = api.info.port,
    );
    html(page)
}

/// A page that needs nothing of other sites, and that no other site may show as its own.
pub(crate) fn html(page: String) -> Response<Body> {
    let mut response = Response::new(Body::from(page));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; style-src 'unsafe-inline'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What no route is for: a page, or nothing.
pub(crate) async fn other(State(api): State<Api>, request: Request<Body>) -> Response<Body> {
    let (method, uri) = (request.method(), request.uri());
    if v2::has(uri.path()) {
        return v2::Error::no_route(404, "Not Found").into_response();
    }
    if !matches!(*method, Method::GET | Method::HEAD) || !paths::is_page(uri.path()) {
        return ApiError::not_found("Not found").into_response();
    }
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else {
        return page(State(api)).await;
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    (StatusCode::SEE_OTHER, [(header::LOCATION, format!("{path}{query}"))]).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use inngest_core::{Clock as _, SystemClock};
    use serde_json::json;

    use crate::testing::World;

    #[tokio::test]
    async fn the_page_tells_how_much_there_is_to_do_however_far_it_is() {
        let world = World::new().await;
        world.register(&[("hello", json!({ "event": "a" }), json!({}))]).await;
        let year = SystemClock.now().0 + 365 * 86_400_000;
        world.send(json!([{ "name": "a" }, { "name": "a", "ts": year }])).await;
        let page = world.request("GET", "/", &[], "").await.text;
        assert!(page.contains("works on 0 jobs now; 2 wait for their time"), "{page}");
    }
}
