//! Exports as the JavaScript SDK makes them.

use inngest_core::RunId;

use super::*;

const RUN: &str = "01M85QRDBHC70063SSP1V76AAN";
const FUNCTION: &str = "6e9a7d6e-0c8b-5c62-9d7c-0d0c3a3a3a3a";

fn run() -> RunId {
    RUN.parse().unwrap()
}

/// `inngest.traceref` as the call to the app has told it.
fn reference(job: JobId, attempt: u32) -> String {
    let json = json!({ "tp": traceparent(job, attempt), "ts": "" }).to_string();
    form_urlencoded::byte_serialize(json.as_bytes()).collect()
}

/// An export in JSON of one span, with these attributes besides those that say where it belongs.
fn export(span: &Value, attributes: &Value, belongs: bool) -> ExportTraceServiceRequest {
    let mut all = json!({});
    if belongs {
        all = json!({ "sdk.run.id": RUN, "sys.function.id": FUNCTION,
            "inngest.traceref": reference(JobId::start(run()), 1), "inngest.traceparent": "00-x" });
    }
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let attribute = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
            Value::Number(number) => json!({ "intValue": number.to_string() }),
            Value::Array(list) => {
                json!({ "arrayValue": { "values": list.iter().map(|text| json!({ "stringValue": text })).collect::<Vec<_>>() } })
            }
            other => json!({ "boolValue": other }),
        };
        json!({ "key": key, "value": value })
    };
    let attributes: Vec<Value> = all.as_object().unwrap().iter().map(attribute).collect();
    let mut whole = json!({ "traceId": "0123456789abcdef0123456789abcdef", "spanId": "00000000000000aa",
        "parentSpanId": "00000000000000bb", "name": "work", "kind": 3, "startTimeUnixNano": "1800000000000000000",
        "endTimeUnixNano": "1800000000002500000", "attributes": attributes });
    whole.as_object_mut().unwrap().extend(span.as_object().unwrap().clone());
    serde_json::from_value(json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
        "scopeSpans": [{ "scope": { "name": "otel-http", "version": "1.2" }, "spans": [whole] }],
    }] }))
    .unwrap()
}

fn only(export: ExportTraceServiceRequest) -> Found {
    let (mut found, rejected) = read(export);
    assert_eq!((found.len(), rejected), (1, 0));
    found.remove(0)
}

fn content(span: &UserSpan) -> Value {
    serde_json::from_slice(&span.content).unwrap()
}

#[test]
fn a_span_says_where_it_belongs_and_what_it_did() {
    let attributes = json!({ "inngest.step.hash": "abc", "inngest.step.attempt": 2, "inngest.step.id": "a", "mine": 7,
        "sdk.app.id": "x", "sys.app.id": "x" });
    let Found { function, span, notes } = only(export(&json!({ "status": { "code": 2 } }), &attributes, true));
    assert_eq!(function, Some(FUNCTION.parse().unwrap()));
    assert_eq!(
        (span.run, span.id, span.parent),
        (run(), [0, 0, 0, 0, 0, 0, 0, 0xaa], Some([0, 0, 0, 0, 0, 0, 0, 0xbb]))
    );
    assert_eq!((span.step.as_ref().map(StepId::as_str), span.attempt), (Some("abc"), Some(2)));
    assert_eq!((&*span.name, span.failed), ("work", true));
    assert_eq!((span.started_ns, span.ended_ns), (1_800_000_000_000_000_000, 1_800_000_000_002_500_000));
    let call = hex(call_span(JobId::start(run()), 1));
    let expected = json!({ "call": call, "spanKind": "client", "serviceName": "shop", "scopeName": "otel-http",
        "scopeVersion": "1.2", "spanAttrs": { "mine": 7 }, "resourceAttrs": { "service.name": "shop" } });
    assert_eq!(content(&span), expected);
    assert_eq!(notes, []);
}

#[test]
fn the_wrapper_is_kept_without_what_it_says() {
    let wrapper = json!({ "name": WRAPPER, "status": {} });
    let Found { span, .. } = only(export(&wrapper, &json!({ "process.command": "secret" }), true));
    assert_eq!((&*span.name, span.parent, span.step.clone(), span.failed), (WRAPPER, None, None, false));
    assert!(!String::from_utf8_lossy(&span.content).contains("secret"));
}

#[test]
fn spans_that_belong_nowhere_are_counted() {
    let other: RunId = "01M85QRDG76TT6R1ZPYX6N9XV1".parse().unwrap();
    for (span, attributes, belongs) in [
        (json!({}), json!({}), false),
        (json!({ "spanId": "" }), json!({}), true),
        (json!({ "spanId": "0000000000000000" }), json!({}), true),
        (json!({}), json!({ "sdk.run.id": "x" }), true),
        (json!({}), json!({ "sys.function.id": "x" }), true),
        (json!({}), json!({ "inngest.traceref": "%7B" }), true),
        (json!({}), json!({ "inngest.traceref": "%7B%22tp%22%3A%22ä-ö-ü%22%7D" }), true),
        (json!({}), json!({ "inngest.traceref": reference(JobId::start(other), 0) }), true),
    ] {
        let export = export(&span, &attributes, belongs);
        assert_eq!(read(export), (Vec::new(), 1), "{span} {attributes}");
    }
}

#[test]
fn models_and_requests_are_noted() {
    let attributes = json!({ "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1,
        "http.request.method": "POST", "url.full": "https://api.openai.com/v1/chat?key=SECRET",
        "http.response.status_code": 200, "http.response.header.content-type": ["application/json"] });
    let Found { notes, .. } = only(export(&json!({}), &attributes, true));
    let shown: Vec<(&str, &str, Value)> =
        notes.iter().map(|note| (&*note.scope, &*note.kind, serde_json::from_slice(&note.values).unwrap())).collect();
    let ai = json!({ "request_model": "gpt-4o", "input_tokens": 5, "output_tokens": 1, "latency_ms": 2.5 });
    let http = json!({ "method": "POST", "domain": "api.openai.com", "path": "/v1/chat", "response_status": 200,
        "response_content_type": "application/json" });
    assert_eq!(shown, [("extended_trace", "inngest.ai", ai), ("extended_trace", "inngest.http", http)]);
}

#[test]
fn what_is_kept_of_a_span_is_bounded() {
    let mut attributes = json!({});
    for index in 0..100 {
        attributes[format!("a{index:02}")] = "ä".repeat(10_000).into();
    }
    let name = "ö".repeat(10_000);
    let Found { span, .. } = only(export(&json!({ "name": name }), &attributes, true));
    assert!(span.name.len() <= NAME_BYTES_MAX && span.content.len() < 16 * 1024, "{}", span.content.len());
}

#[test]
fn spans_of_attempts_differ_and_are_never_zero() {
    let job = JobId::start(run());
    assert_ne!(call_span(job, 0), call_span(job, 1));
    assert_ne!(call_span(JobId { key: u64::MAX, ..job }, 1), [0; 8]);
}
