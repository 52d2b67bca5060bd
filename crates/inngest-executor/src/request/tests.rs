//! What a call to an app holds.

use inngest_core::{AppId, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::StepRef;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const RUN: &str = "01M85QRDBHC70063SSP1V76AAN";
const REQUEST: &str = "01M85QRDG76TT6R1ZPYX6N9XV1";

fn payload(value: &Value) -> Payload {
    serde_json_canonicalizer::to_vec(value).unwrap().into()
}

fn event(data: &Value) -> Value {
    json!({"data": data, "id": "01M85QRDAZVNF6CDY4NM5HQPES", "name": "order/created", "ts": 1_795_489_019_231_i64, "user": {}})
}

fn run(events: &[Value], steps: &[(&str, Value)]) -> RunState {
    let step = |(id, value): &(&str, Value)| Arc::new(StepMemo { id: (*id).into(), value: payload(value) });
    RunState {
        id: RUN.parse().unwrap(),
        function: function().id,
        status: RunStatus::Running,
        event_ids: events.iter().map(|_| "01M85QRDAZVNF6CDY4NM5HQPES".parse().unwrap()).collect(),
        event_names: events.iter().map(|_| "order/created".into()).collect(),
        events: events.iter().map(payload).collect(),
        steps: steps.iter().map(step).collect(),
        started_at: None,
        correlation_id: None,
        defers: Vec::new(),
        input: None,
    }
}

fn function() -> Function {
    Function {
        id: FunctionId::of_definition("Order", "http://localhost:3000/api/inngest?fnId=shop-order&stepId=step"),
        app: AppId::of_name("shop"),
        slug: "shop-order".into(),
        name: "Order".into(),
        triggers: vec![],
        url: "http://localhost:3000/api/inngest?fnId=shop-order&stepId=step".into(),
        step_id: "step".into(),
        retries: 2,
        version: 1,
        config: Payload::from_static(b"{}"),
        created_at: Millis(0),
        archived_at: None,
    }
}

fn item(kind: JobKind) -> QueueItem {
    let run: RunId = RUN.parse().unwrap();
    QueueItem::new(JobId::start(run), function().id, kind, Millis(0))
}

fn body(run: &RunState, item: &QueueItem, full_state: bool) -> Bytes {
    let max = if full_state { usize::MAX } else { inngest_core::limits::SDK_REQUEST_BYTES_MAX };
    assemble(run, item, &function(), REQUEST.parse().unwrap(), max)
}

/// The same body in the obvious way.
fn model(run: &RunState, item: &QueueItem, use_api: bool, events: bool) -> Value {
    let of = |payload: &Payload| serde_json::from_slice::<Value>(payload).unwrap();
    let stack: Vec<&str> = run.steps.iter().map(|step| step.id.as_str()).collect();
    let current = if matches!(item.kind, JobKind::Step(_)) { item.stack_current as usize } else { stack.len() };
    let steps: serde_json::Map<_, _> = run.steps.iter().map(|step| (step.id.to_string(), of(&step.value))).collect();
    json!({
        "ctx": {
            "attempt": item.attempt, "disable_immediate_execution": item.plan_only, "env": "",
            "fn_id": function().id.to_string(), "generation_id": item.generation, "job_id": item.id.to_string(),
            "max_attempts": 3, "qi_id": STANDARD.encode(format!("{RUN}:{:016x}:{}", item.id.key, item.generation)),
            "request_id": REQUEST, "run_id": RUN, "stack": {"current": current, "stack": stack},
            "step_id": "step", "use_api": use_api,
        },
        "defers": {},
        "event": of(&run.events[0]),
        "events": if events { run.events.iter().map(of).collect() } else { vec![] },
        "steps": if use_api { serde_json::Map::new() } else { steps },
        "use_api": use_api,
        "version": item.version,
    })
}

#[test]
fn a_fresh_run_has_an_empty_stack() {
    let run = run(&[event(&json!({"id": "i1"}))], &[]);
    let item = item(JobKind::Start);
    let text = body(&run, &item, false);
    assert_eq!(text, payload(&model(&run, &item, false, true)));
    assert!(text.starts_with(br#"{"ctx":{"attempt":0,"disable_immediate_execution":false,"env":"","fn_id":""#));
    assert!(text.ends_with(br#""steps":{},"use_api":false,"version":-1}"#));
}

#[test]
fn a_planned_step_keeps_the_stack_position_of_its_plan() {
    let run = run(&[event(&json!({}))], &[("b", json!({"data": 1})), ("a", json!(null)), ("c", json!({"error": {}}))]);
    let step = StepRef { id: StepId::from("d"), name: "d".into() };
    let mut item = item(JobKind::Step(step));
    item.stack_current = 1;
    item.plan_only = true;
    item.version = 2;
    item.attempt = 1;
    item.generation = 4;
    assert_eq!(body(&run, &item, false), payload(&model(&run, &item, false, true)));
}

#[test]
fn the_queue_item_id_comes_back() {
    let mut item = item(JobKind::Start);
    for generation in [1, 17, u32::MAX] {
        item.generation = generation;
        let mut text = Vec::new();
        write_qi_id(&mut text, &item);
        assert_eq!(parse_qi_id(std::str::from_utf8(&text).unwrap()), Some((item.id, generation)));
    }
    let foreign = [
        "",
        "x",
        "MmcxajAwcHN0NjhwdTo6ZGVmYXVsdA==",
        &STANDARD.encode(format!("{RUN}:00:1")),
        &STANDARD.encode(format!("{RUN}:0000000000000001")),
        &STANDARD.encode(format!("{RUN}:0000000000000001:1:1")),
        &STANDARD.encode(format!("{RUN}:000000000000000g:1")),
        &STANDARD.encode(format!("{RUN}:0000000000000001:-1")),
        &STANDARD.encode(format!("{RUN}:0000000000000001:4294967296")),
        &STANDARD.encode(b"\xff\xff:0000000000000001:1"),
    ];
    for text in foreign {
        assert_eq!(parse_qi_id(text), None, "{text}");
    }
}

#[test]
fn a_large_state_is_left_for_the_api() {
    let mebibyte = "x".repeat(1024 * 1024);
    let item = item(JobKind::Discovery);
    let large_steps = run(&[event(&json!({}))], &[("a", json!(mebibyte.repeat(2))), ("b", json!(mebibyte.repeat(2)))]);
    assert_eq!(body(&large_steps, &item, false), payload(&model(&large_steps, &item, true, true)));
    assert_eq!(body(&large_steps, &item, true), payload(&model(&large_steps, &item, false, true)));

    let large_event = event(&json!(mebibyte.repeat(2)));
    let large_events = run(&[large_event.clone(), large_event], &[]);
    assert_eq!(body(&large_events, &item, false), payload(&model(&large_events, &item, true, false)));
    assert_eq!(body(&large_events, &item, true), payload(&model(&large_events, &item, false, true)));

    // A state that would fit is left out as well when it does not fit beside an event that is sent twice.
    let mut twice = run(&[event(&json!(mebibyte))], &[("a", json!(mebibyte))]);
    assert_eq!(body(&twice, &item, false), payload(&model(&twice, &item, false, true)));
    twice = run(&[event(&json!(mebibyte))], &[("a", json!(mebibyte.repeat(2)))]);
    assert_eq!(body(&twice, &item, false), payload(&model(&twice, &item, true, true)));
}

#[test]
fn only_sdks_that_can_fetch_the_state_are_asked_to() {
    for (sdk_language, can) in [("js", true), ("py", true), ("go", false), ("inngest-kt", false), ("", false)] {
        let app = App {
            id: AppId::of_name("shop"),
            name: "shop".into(),
            url: "".into(),
            sdk_language: sdk_language.into(),
            sdk_version: String::new(),
            framework: String::new(),
            app_version: None,
            feature_observations: None,
            error: None,
            checksum: String::new(),
            created_at: Millis(0),
            archived_at: None,
        };
        assert_eq!(can_fetch_state(&app), can, "{sdk_language}");
    }
}

#[test]
fn the_api_gives_steps_in_the_order_of_the_stack() {
    let run = run(&[event(&json!(1)), event(&json!(2))], &[("b", json!({"data": 1})), ("a", json!(null))]);
    assert_eq!(actions_json(&run), &br#"{"b":{"data":1},"a":null}"#[..]);
    assert_eq!(batch_json(&run), payload(&json!([event(&json!(1)), event(&json!(2))])));
}

proptest! {
    #[test]
    fn a_body_is_the_canonical_form_of_its_content(
        ids in prop::collection::hash_set("\\PC{0,6}|[0-9a-f]{40}", 0..8),
        data in "\\PC{0,20}",
        number in any::<i32>(),
        attempt in 0_u32..30,
        plan_only in any::<bool>(),
    ) {
        let steps: Vec<_> = ids.iter().map(|id| (id.as_str(), json!({"data": {"t": data, "n": number, "id": id}}))).collect();
        let run = run(&[event(&json!({"text": data, "n": number}))], &steps);
        let mut item = item(JobKind::Discovery);
        item.attempt = attempt;
        item.plan_only = plan_only;
        prop_assert_eq!(body(&run, &item, false), payload(&model(&run, &item, false, true)));
    }
}
