//! Calls to real servers on the loopback, which misbehave in each way an app can.

mod app;
mod fetch;

use std::io::Write as _;

use inngest_core::{AppId, FunctionId, Millis, RunId, SystemClock};
use inngest_queue::JobId;
use serde_json::json;

use super::*;
use app::{App, Then, reply};

const RUN: &str = "01M85QRDBHC70063SSP1V76AAN";
const REQUEST: &str = "01M85QRDG76TT6R1ZPYX6N9XV1";
const SDK: &str = "x-inngest-sdk: js:v4.0.0\r\n";
const LIMIT: Duration = Duration::from_secs(20);

fn request(url: &str) -> CallRequest {
    let run: RunId = RUN.parse().unwrap();
    CallRequest {
        url: url.into(),
        step_id: "step".into(),
        run,
        function: FunctionId::of_definition("f", "u"),
        app: AppId::of_name("shop"),
        job: JobId::start(run),
        attempt: 1,
        generation: 3,
        request: REQUEST.parse().unwrap(),
        version: -1,
        body: Bytes::from_static(b"{\"ctx\":{}}"),
    }
}

fn executor() -> HttpExecutor {
    HttpExecutor::new(HttpClient::new(), Arc::new(SystemClock), None).with_timeout(LIMIT)
}

async fn call(url: &str) -> Result<SdkResponse, CallError> {
    executor().execute(request(url)).await
}

/// The public error of a call that brought a reply.
fn failure(outcome: Result<SdkResponse, CallError>) -> String {
    let Reply::Failed(error) = outcome.unwrap().reply else { panic!("not failed") };
    let error: serde_json::Value = serde_json::from_slice(&error.error).unwrap();
    error["message"].as_str().unwrap().to_owned()
}

fn returned(outcome: Result<SdkResponse, CallError>) -> String {
    let Reply::Returned(Some(output)) = outcome.unwrap().reply else { panic!("nothing returned") };
    String::from_utf8(output.to_vec()).unwrap()
}

#[tokio::test]
async fn a_call_says_whose_it_is() {
    let app = App::start(|_| Then::Reply(reply(200, SDK, b"1"))).await;
    assert_eq!(returned(call(&app.url("/api/inngest?stepId=x&fnId=shop-f")).await), "1");
    let received = app.received();
    let [received] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!(received.line, "POST /api/inngest?fnId=shop-f&stepId=step HTTP/1.1");
    assert_eq!(received.body, b"{\"ctx\":{}}");
    let (fn_id, app_id) = (FunctionId::of_definition("f", "u"), AppId::of_name("shop"));
    for (name, expected) in [
        ("host", app.host.as_str()),
        ("user-agent", "Inngest"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json"),
        ("content-length", "10"),
        ("account-id", "00000000-0000-4000-a000-000000000000"),
        ("x-inngest-req-version", "-1"),
        ("x-inngest-step-id", "step"),
        ("x-request-id", REQUEST),
        ("x-run-id", RUN),
        ("x-inngest-generation-id", "3"),
        ("x-inngest-job-id", &JobId::start(RUN.parse().unwrap()).to_string()),
    ] {
        assert_eq!(received.header(name), Some(expected), "{name}");
    }
    let parent = received.header("traceparent").unwrap();
    let run: RunId = RUN.parse().unwrap();
    assert!(parent.len() == 55 && parent.starts_with(&format!("00-{:032x}-", run.0.0)), "{parent}");
    assert_eq!(parent, spans::traceparent(JobId::start(run), 1));
    let state = format!(
        "inngest@traceref=%7B%22tp%22%3A%22{parent}%22%2C%22ts%22%3A%22%22%7D,inngest@fn={fn_id},inngest@app={app_id}"
    );
    assert_eq!(received.header("tracestate"), Some(state.as_str()));
    assert!(received.header("connection").is_none() && received.header("x-inngest-signature").is_none());
}

#[tokio::test]
async fn a_targeted_call_names_its_step_in_url_and_header() {
    let app = App::start(|_| Then::Reply(reply(200, SDK, b"1"))).await;
    let executor = executor();
    for step in ["86f7e437", "odd \n&step"] {
        let outcome = executor.execute(CallRequest { step_id: step.into(), ..request(&app.url("/x")) }).await;
        assert_eq!(returned(outcome), "1");
    }
    let received = app.received();
    assert_eq!(received[0].line, "POST /x?stepId=86f7e437 HTTP/1.1");
    assert_eq!(received[0].header("x-inngest-step-id"), Some("86f7e437"));
    assert_eq!(received[1].line, "POST /x?stepId=odd+%0A%26step HTTP/1.1");
}

#[tokio::test]
async fn a_signed_call_sends_what_was_signed() {
    struct Fixed;
    impl Clock for Fixed {
        fn now(&self) -> Millis {
            Millis(1_700_000_000_999)
        }
    }
    let app = App::start(|_| Then::Reply(reply(200, SDK, b"1"))).await;
    let key = SigningKey::parse("signkey-test-8ee2262a15ac8d42").unwrap();
    let executor = HttpExecutor::new(HttpClient::new(), Arc::new(Fixed), Some(key.clone()));
    let small = Bytes::from_static(br#"{"ctx":{"attempt":0},"event":{"data":{"n":1}},"steps":{}}"#);
    let exact = Bytes::from_static(br#"{"n":12345678901234567890}"#);
    let large = Bytes::from(format!("{{\"t\":\"{}\"}}", "x".repeat(INLINE_BYTES_MAX)));
    for body in [&small, &exact, &large] {
        executor.execute(CallRequest { body: body.clone(), ..request(&app.url("/x")) }).await.unwrap();
    }
    let received = app.received();
    assert_eq!(
        received[0].header("x-inngest-signature"),
        Some("t=1700000000&s=786dd92c38030e249b9ed00792361cb577d0bae8ded9eba2869da4f124dc826f")
    );
    assert_eq!(received[1].body, br#"{"n":12345678901234567000}"#);
    assert_eq!(received[2].body, large);
    for received in received {
        assert!(key.verifies(&received.body, received.header("x-inngest-signature").unwrap()));
    }
}

#[tokio::test]
async fn a_connection_serves_many_calls() {
    let app = App::start(|_| Then::Reply(reply(200, SDK, b"1"))).await;
    let executor = executor();
    for _ in 0..20 {
        assert_eq!(returned(executor.execute(request(&app.url("/"))).await), "1");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_app_that_closes_after_each_reply_makes_no_call_fail() {
    let app = App::start(|_| Then::ReplyAndClose(reply(200, SDK, b"1"))).await;
    let executor = executor();
    for _ in 0..300 {
        assert_eq!(returned(executor.execute(request(&app.url("/"))).await), "1");
    }
}

#[tokio::test]
async fn a_request_that_met_a_closed_connection_is_sent_again_once() {
    // The second request of the first connection gets no answer.
    let app = App::start(|seen| match (seen.connection, seen.nth) {
        (1, 2) => Then::Close,
        _ => Then::Reply(reply(200, SDK, b"1")),
    })
    .await;
    let executor = executor();
    for _ in 0..2 {
        assert_eq!(returned(executor.execute(request(&app.url("/"))).await), "1");
    }
    assert_eq!((app.received().len(), app.connections()), (3, 2));
}

#[tokio::test]
async fn a_request_is_not_sent_again_on_a_new_connection_or_after_a_reply_began() {
    let app = App::start(|_| Then::Close).await;
    assert!(matches!(call(&app.url("/")).await, Err(CallError::Unreachable(_))));
    assert_eq!(app.received().len(), 1);

    let app = App::start(|seen| match seen.nth {
        1 => Then::Reply(reply(200, SDK, b"1")),
        _ => Then::ReplyAndClose(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
    })
    .await;
    let executor = executor();
    executor.execute(request(&app.url("/"))).await.unwrap();
    assert!(matches!(executor.execute(request(&app.url("/"))).await, Err(CallError::Reset(..))));
    assert_eq!(app.received().len(), 2);
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_told_from_an_app_that_is_not_there() {
    let cut = b"HTTP/1.1 200 OK\r\nx-inngest-sdk: js:v4\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let cut_chunk =
        b"HTTP/1.1 201 Created\r\nx-inngest-sdk: js:v4\r\ntransfer-encoding: chunked\r\n\r\n5\r\n     \r\n".to_vec();
    for broken in [cut, cut_chunk] {
        let app = App::start(move |_| Then::ReplyAndClose(broken.clone())).await;
        let outcome = call(&app.url("/")).await;
        let Err(error @ CallError::Reset(..)) = outcome else { panic!("{outcome:?}") };
        let head = error.response().expect("its beginning came");
        assert!(matches!(head.status, 200 | 201), "{head:?}");
        assert_eq!(head.headers.json, r#"{"X-Inngest-Sdk":"js:v4"}"#);
    }
    let gone = App::start(|_| Then::Close).await.stopped().await;
    let Err(CallError::Unreachable(reason)) = call(&format!("http://{gone}/")).await else { panic!() };
    assert!(reason.contains("refused"), "{reason}");
    let Err(CallError::Unreachable(_)) = call("http://no-such-host.invalid/").await else { panic!() };
}

#[tokio::test]
async fn another_protocol_is_a_mistake_in_the_url() {
    let app =
        App::start(|_| Then::ReplyAndClose(b"\x15\x03\x03\x00\x02\x02\x16 not http at all\r\n\r\n".to_vec())).await;
    let outcome = call(&app.url("/")).await;
    assert!(matches!(outcome, Err(CallError::BadUrl(_))), "{outcome:?}");
    let plain = App::start(|_| Then::Reply(reply(400, "", b""))).await;
    let outcome = call(&plain.url("/").replace("http:", "https:")).await;
    assert!(matches!(outcome, Err(CallError::BadUrl(_))), "{outcome:?}");
    let outcome = call("gopher://localhost/").await;
    assert!(matches!(outcome, Err(CallError::BadUrl(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_slow_app_runs_into_the_timeout() {
    let app = App::start(|_| Then::Hang).await;
    let executor = executor().with_timeout(Duration::from_millis(50));
    assert!(matches!(executor.execute(request(&app.url("/"))).await, Err(CallError::TimedOut)));
}

#[tokio::test]
async fn answers_that_are_no_sdks_are_failures_that_quote_them() {
    let html: &[u8] = b"<html>hi</html>";
    for (status, expected) in [
        (200, "The response did not come from an Inngest SDK"),
        (404, "Your server returned HTTP 404 before the SDK responded."),
        (500, "Your server returned HTTP 500 before the SDK responded."),
    ] {
        let app = App::start(move |_| Then::Reply(reply(status, "content-type: text/html\r\n", html))).await;
        let outcome = call(&app.url("/")).await;
        let Reply::Failed(error) = &outcome.as_ref().unwrap().reply else { panic!() };
        assert!(String::from_utf8_lossy(error.output.as_ref().unwrap()).contains("hi"));
        assert_eq!(failure(outcome), expected);
    }
}

#[tokio::test]
async fn a_reply_may_come_in_pieces() {
    let chunked = |body: &str| {
        let chunks: String = body
            .as_bytes()
            .chunks(3)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        format!("HTTP/1.1 201 Created\r\n{SDK}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    };
    let body = chunked(r#"         {"status":200,"headers":{},"body":"{\"a\":1}"}"#);
    let app = App::start(move |_| Then::Reply(body.clone())).await;
    assert_eq!(returned(call(&app.url("/")).await), r#"{"a":1}"#);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let too_large = "Your function's response body exceeds the maximum size limit";
    let body = vec![b'1'; 10 * 1024 * 1024];
    let counted = reply(200, SDK, &body);
    let mut endless = format!("HTTP/1.1 200 OK\r\n{SDK}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(64 * 1024) {
        endless.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        endless.extend_from_slice(chunk);
        endless.extend_from_slice(b"\r\n");
    }
    let bomb = reply(200, &format!("{SDK}content-encoding: gzip\r\n"), &gzip(&body));
    for answer in [counted, endless, bomb] {
        let app = App::start(move |_| Then::Reply(answer.clone())).await;
        assert_eq!(failure(call(&app.url("/")).await), too_large);
    }
    let mut largest = vec![b'1'; limits::RESPONSE_BODY_BYTES_MAX];
    (largest[0], largest[limits::RESPONSE_BODY_BYTES_MAX - 1]) = (b'"', b'"');
    let answer = reply(200, SDK, &largest);
    let app = App::start(move |_| Then::Reply(answer.clone())).await;
    assert_eq!(returned(call(&app.url("/")).await).len(), largest.len());
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 20);
    encoder.write_all(body).unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn encoded_replies_are_decoded_or_named() {
    let small: &[u8] = br#"{"a":1}"#;
    let numbers: Vec<String> = (0..20_000).map(|n| (n * 7919 % 10_007).to_string()).collect();
    let large = format!("[{}]", numbers.join(",")).into_bytes();
    for body in [small, &large] {
        for (encoding, encoded) in [("gzip", gzip(body)), ("BR", brotli(body)), ("identity", body.to_vec())] {
            let answer = reply(200, &format!("{SDK}content-encoding: {encoding}\r\n"), &encoded);
            let app = App::start(move |_| Then::Reply(answer.clone())).await;
            assert_eq!(returned(call(&app.url("/")).await).as_bytes(), body, "{encoding}");
        }
    }
    for (encoding, body, expected) in [
        ("content-encoding: deflate\r\n", small, "unsupported content encoding: \"deflate\""),
        ("content-encoding: gzip, br\r\n", small, "unsupported content encoding: \"gzip, br\""),
        ("content-encoding: gzip\r\ncontent-encoding: br\r\n", small, "unsupported content encoding: \"gzip, br\""),
        ("content-encoding: gzip\r\n", small, "error decoding gzip response: "),
        ("content-encoding: br\r\n", b"\xff\xff\xff\xff", "error decoding br response: "),
        ("content-encoding: gzip\r\n", &gzip(small)[..15], "error decoding gzip response: "),
    ] {
        let answer = reply(200, &format!("{SDK}{encoding}"), body);
        let app = App::start(move |_| Then::Reply(answer.clone())).await;
        let problem = failure(call(&app.url("/")).await);
        assert!(problem.starts_with(expected), "{encoding}: {problem}");
    }
}

#[tokio::test]
async fn a_redirected_call_stays_a_call() {
    for status in [301, 302, 303, 307, 308] {
        let app = App::start(move |seen| {
            let moved = seen.line.contains(" /old");
            Then::Reply(if moved {
                reply(status, "location: /new?x=1&fnId=other\r\n", b"")
            } else {
                reply(200, SDK, b"1")
            })
        })
        .await;
        assert_eq!(returned(call(&app.url("/old?fnId=f")).await), "1");
        let received = app.received();
        assert_eq!(received[1].line, "POST /new?fnId=f&stepId=step&x=1 HTTP/1.1", "{status}");
        assert_eq!(received[1].body, received[0].body);
        assert_eq!(received[1].header("x-run-id"), Some(RUN));
    }
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    let app = App::start(|_| Then::Reply(reply(302, "location: /again\r\n", b""))).await;
    assert!(matches!(call(&app.url("/")).await, Err(CallError::Redirect(_))));
    assert_eq!(app.received().len(), limits::REDIRECTS_MAX + 1);

    let app = App::start(|_| Then::Reply(reply(302, "location: ftp://a.b/\r\n", b""))).await;
    assert!(matches!(call(&app.url("/")).await, Err(CallError::Redirect(_))));

    let app = App::start(|_| Then::Reply(reply(302, "", b""))).await;
    assert_eq!(failure(call(&app.url("/")).await), "Your server returned HTTP 302 before the SDK responded.");
}

#[tokio::test]
async fn localhost_is_either_loopback_address() {
    let four = App::start(|_| Then::Reply(reply(200, SDK, b"4"))).await;
    assert_eq!(returned(call(&four.url("/").replace("127.0.0.1", "localhost")).await), "4");
    // Where there is no IPv6 there is nothing to show.
    let Some(six) = App::start_at("[::1]:0", |_| Then::Reply(reply(200, SDK, b"6"))).await else { return };
    assert_eq!(returned(call(&six.url("/").replace("[::1]", "localhost")).await), "6");
}

#[tokio::test]
async fn apps_are_pinged_with_the_same_client() {
    let client = HttpClient::new();
    let app = App::start(|seen| {
        let answer =
            if seen.line.contains("/old") { reply(307, "location: /api\r\n", b"") } else { reply(401, SDK, b"{}") };
        Then::Reply(answer)
    })
    .await;
    let mut headers = HeaderMap::new();
    headers.insert("x-inngest-server-kind", HeaderValue::from_static("dev"));
    let reply =
        client.put_json(&app.url("/old?deployId=1"), Bytes::from_static(b"{\"url\":1}"), headers, LIMIT).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (401, &b"{}"[..]));
    assert_eq!(reply.headers["x-inngest-sdk"], "js:v4.0.0");
    let received = app.received();
    assert_eq!(received[1].line, "PUT /api?deployId=1 HTTP/1.1");
    assert_eq!(received[1].body, b"{\"url\":1}");
    assert_eq!(received[1].header("x-inngest-server-kind"), Some("dev"));
    assert_eq!(received[1].header("content-type"), Some("application/json"));

    let reply = client.get(&app.url("/api"), HeaderMap::new(), LIMIT).await.unwrap();
    assert_eq!(reply.status, 401);
    assert_eq!(app.received()[2].line, "GET /api HTTP/1.1");

    let silent = App::start(|_| Then::Hang).await;
    let outcome = client.get(&silent.url("/"), HeaderMap::new(), Duration::from_millis(50)).await;
    assert!(matches!(outcome, Err(CallError::TimedOut)));
}

#[tokio::test]
async fn status_and_headers_of_every_reply_are_kept() {
    for (status, said, body, kept) in [
        (200, SDK, "1", json!({ "X-Inngest-Sdk": "js:v4.0.0" })),
        (
            206,
            "x-inngest-sdk: js\r\nset-cookie: a=SECRET\r\ndate: today\r\n",
            "[]",
            json!({ "X-Inngest-Sdk": "js", "Set-Cookie": "[hidden]" }),
        ),
        (502, "content-type: text/html\r\n", "<html>", json!({ "Content-Type": "text/html" })),
        (201, SDK, r#"{"status":206,"body":"[]"}"#, json!({ "X-Inngest-Sdk": "js:v4.0.0" })),
    ] {
        let app = App::start(move |_| Then::Reply(reply(status, said, body.as_bytes()))).await;
        let head = call(&app.url("/")).await.unwrap().head();
        let headers: serde_json::Value = serde_json::from_slice(&head.headers.json).unwrap();
        assert_eq!((head.status, headers), (if status == 201 { 206 } else { status }, kept));
    }
}

#[tokio::test]
async fn replies_with_the_same_headers_share_them() {
    let app = App::start(|seen| Then::Reply(reply(200, &format!("{SDK}date: {}\r\n", seen.nth), b"1"))).await;
    let executor = executor();
    let first = executor.execute(request(&app.url("/"))).await.unwrap();
    let second = executor.execute(request(&app.url("/"))).await.unwrap();
    assert!(Arc::ptr_eq(&first.headers, &second.headers));
}
