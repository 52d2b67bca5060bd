//! `--demo`: a small app in this process, so that a newcomer sees runs at once.
//!
//! It is a real app: served over HTTP on a port of its own, it registers itself and speaks the SDK protocol.
//! An order is validated, charged (the bank fails once), rests for two seconds and is shipped; orders of
//! nothing are refused for good, and a failure handler hears of it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use inngest_core::StepId;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const APP: &str = "demo-store";

/// Serves the app and sends it a few orders; it ends with the task.
pub(crate) fn start(server: SocketAddr) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = run(server).await {
            tracing::error!(%error, "the demo app could not be started");
        }
    })
}

async fn run(server: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://localhost:{}/api/inngest", listener.local_addr()?.port());
    let registration = registration(&url);
    let router = Router::new().route(
        "/api/inngest",
        post(call).get(async || sdk(StatusCode::OK, &json!({ "mode": "dev" }))).put(async move || {
            sdk(StatusCode::OK, &json!({ "message": "Successfully registered", "modified": false }))
        }),
    );
    let serving = axum::serve(listener, router).into_future();
    let trading = async move {
        send(server, "/fn/register", &registration).await?;
        send_orders(server, &url).await?;
        std::future::pending().await
    };
    tokio::select! {
        ended = serving => ended,
        ended = trading => ended,
    }
}

async fn send_orders(server: SocketAddr, url: &str) -> std::io::Result<()> {
    tracing::info!(%url, "demo app started: POST an event shop/order.placed with data {{\"item\":\"tea\",\"amount\":3}} to see it work");
    for (item, amount) in [("tea", 3), ("coffee", 1), ("air", 0)] {
        let order = json!({ "name": "shop/order.placed", "data": { "item": item, "amount": amount } });
        send(server, "/e/demo", &order).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// Posts to our own server, over its real API.
async fn send(server: SocketAddr, path: &str, body: &Value) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {server}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    if reply.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{path} answered {}", String::from_utf8_lossy(&reply))))
}

fn registration(url: &str) -> Value {
    let function = |id: &str, name: &str, trigger: Value| {
        let step = json!({
            "id": "step", "name": "step", "retries": { "attempts": 3 },
            "runtime": { "type": "http", "url": format!("{url}?fnId={APP}-{id}&stepId=step") },
        });
        json!({ "id": format!("{APP}-{id}"), "name": name, "triggers": [trigger], "steps": { "step": step } })
    };
    let failed = json!({
        "event": "inngest/function.failed",
        "expression": format!("event.data.function_id == '{APP}-process-order'"),
    });
    json!({
        "url": url, "deployType": "ping", "framework": "demo", "appName": APP, "sdk": "js:v4.0.0", "v": "0.1",
        "functions": [
            function("process-order", "Process order", json!({ "event": "shop/order.placed" })),
            function("send-receipt", "Send receipt", json!({ "event": "shop/order.*" })),
            function("process-order-failure", "Process order (failure)", failed),
        ],
    })
}

#[derive(Deserialize)]
struct Target {
    #[serde(rename = "fnId")]
    function: String,
}

async fn call(Query(target): Query<Target>, body: Bytes) -> Response {
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    match target.function.strip_prefix(APP).unwrap_or_default() {
        "-process-order" => process_order(&call),
        "-send-receipt" => sdk(StatusCode::OK, &json!({ "receipt_for": call["event"]["data"]["item"] })),
        "-process-order-failure" => sdk(
            StatusCode::OK,
            &json!({ "told": "the customer", "because": call["event"]["data"]["error"]["message"] }),
        ),
        _ => sdk(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "message": "Function was not found" })),
    }
}

fn process_order(call: &Value) -> Response {
    let order = &call["event"]["data"];
    let amount = order["amount"].as_i64().unwrap_or(0);
    let memo = |name: &str| call["steps"].get(step_id(name));
    if memo("validate").is_none() {
        if amount <= 0 {
            let error =
                json!({ "name": "EmptyOrder", "message": "an order of nothing cannot be processed", "stack": "" });
            let mut response = sdk(StatusCode::BAD_REQUEST, &error);
            response.headers_mut().insert("x-inngest-no-retry", http::HeaderValue::from_static("true"));
            return response;
        }
        return op("StepRun", "validate", json!({ "data": { "ok": true } }));
    }
    let Some(charged) = memo("charge") else {
        if call["ctx"]["attempt"] == 0 {
            let error = json!({ "name": "BankError", "message": "the bank did not answer", "stack": "" });
            let mut response = op("StepError", "charge", json!({ "error": error }));
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static("2"));
            return response;
        }
        return op("StepRun", "charge", json!({ "data": { "paid": amount * 5 } }));
    };
    if memo("rest").is_none() {
        return op("Sleep", "rest", json!({ "name": "2s" }));
    }
    if memo("ship").is_none() {
        return op("StepRun", "ship", json!({ "data": { "parcel": "on its way" } }));
    }
    sdk(StatusCode::OK, &json!({ "item": order["item"], "amount": amount, "paid": charged["data"]["paid"] }))
}

fn op(op: &str, name: &str, more: Value) -> Response {
    let mut report = json!({ "op": op, "id": step_id(name), "name": name, "displayName": name, "opts": {} });
    if let (Some(report), Value::Object(more)) = (report.as_object_mut(), more) {
        report.extend(more);
    }
    sdk(StatusCode::PARTIAL_CONTENT, &json!([report]))
}

fn step_id(name: &str) -> String {
    StepId::hashed(name, 0).to_string()
}

fn sdk(status: StatusCode, body: &Value) -> Response {
    let headers =
        [("content-type", "application/json"), ("x-inngest-sdk", "inngest-js:v4.0.0"), ("x-inngest-req-version", "2")];
    (status, headers, body.to_string()).into_response()
}
