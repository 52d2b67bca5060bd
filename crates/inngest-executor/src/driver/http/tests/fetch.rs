//! Requests of steps: to strangers, with keys.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use inngest_core::limits::FETCH_REDIRECTS_MAX;

use super::app::{App, Then, reply};
use super::{HttpClient, HttpReply, gzip};
use crate::driver::{CallError, Fetcher as _};
use crate::gateway::FetchRequest;

fn request(method: Method, url: String) -> FetchRequest {
    let mut key = HeaderValue::from_static("Bearer SECRET");
    key.set_sensitive(true);
    let headers = HeaderMap::from_iter([
        (http::header::AUTHORIZATION, key),
        (http::header::ACCEPT_ENCODING, HeaderValue::from_static("zstd, br")),
        (http::HeaderName::from_static("x-plain"), HeaderValue::from_static("1")),
    ]);
    FetchRequest { method, url, headers, body: Bytes::from_static(b"{}") }
}

async fn fetch(method: Method, url: String) -> Result<HttpReply, CallError> {
    HttpClient::new().fetch(request(method, url)).await
}

#[tokio::test]
async fn keys_do_not_follow_a_redirect_to_another_host() {
    let stranger = App::start(|_| Then::Reply(reply(200, "", b"ok"))).await;
    let location = format!("location: {}\r\n", stranger.url("/elsewhere?z=1"));
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let provider = App::start(move |seen| {
            let next = if seen.line.contains(" /old") { "location: /new\r\n" } else { &location };
            Then::Reply(reply(status, next, b""))
        })
        .await;
        assert_eq!(fetch(Method::POST, provider.url("/old?key=SECRET")).await.unwrap().body, "ok");
        let at_home = provider.received();
        assert_eq!(at_home[1].header("authorization"), Some("Bearer SECRET"), "the same host");
        let received = stranger.received().pop().unwrap();
        assert!(!format!("{received:?}").contains("SECRET"), "{received:?}");
        assert_eq!(received.header("x-plain"), Some("1"));
        let kept = status >= 307;
        let line = format!("{} /elsewhere?z=1 HTTP/1.1", if kept { "POST" } else { "GET" });
        assert_eq!((received.line, received.body.len()), (line, if kept { 2 } else { 0 }), "{status}");
    }
}

#[tokio::test]
async fn few_redirects_are_followed_and_the_error_names_no_key() {
    let app = App::start(|_| Then::Reply(reply(302, "location: /again?key=SECRET\r\n", b""))).await;
    let outcome = fetch(Method::GET, app.url("/?key=SECRET")).await;
    let Err(CallError::Redirect(problem)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(problem, format!("more than 10 redirects, the last one to {}", app.url("/again")));
    assert_eq!(app.received().len(), FETCH_REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn a_reply_is_decoded_and_does_not_say_how_it_was_encoded() {
    let body: &[u8] = b"hello hello hello";
    let app = App::start(move |seen| {
        let encoded = seen.line.contains("/gzip");
        Then::Reply(match encoded {
            true => reply(200, "content-encoding: gzip\r\nx-a: 1\r\n", &gzip(body)),
            false => reply(200, "x-a: 1\r\n", body),
        })
    })
    .await;
    let encoded = fetch(Method::GET, app.url("/gzip")).await.unwrap();
    assert_eq!(encoded.body, body);
    let names: Vec<&str> = encoded.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-a"]);
    let plain = fetch(Method::GET, app.url("/plain")).await.unwrap();
    assert_eq!(plain.headers["content-length"], "17");
    let received = app.received();
    assert_eq!(received[0].header("accept-encoding"), Some("gzip"), "only what is understood here is offered");
}

#[tokio::test]
async fn what_must_not_be_sent_twice_is_not() {
    // The second request of a connection gets no answer, though it was read.
    let script = |seen: &super::app::Received| match seen.nth {
        1 => Then::Reply(reply(200, "", b"ok")),
        _ => Then::Close,
    };
    for (method, requests) in [(Method::POST, 2), (Method::PATCH, 2), (Method::GET, 3), (Method::PUT, 3)] {
        let app = App::start(script).await;
        let client = HttpClient::new();
        for _ in 0..2 {
            let reply = client.fetch(request(method.clone(), app.url("/"))).await.unwrap();
            assert_eq!(reply.body, "ok", "{method}");
        }
        assert_eq!(app.received().len(), requests, "{method}");
    }
}
