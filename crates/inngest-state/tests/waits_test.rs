//! Events find exactly those whose condition holds: the index of the store against evaluating every condition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use inngest_core::event::EventBody;
use inngest_core::{Event, FunctionId, Ids, Millis, Payload, StepId, SystemClock, SystemEntropy};
use inngest_expr::event as content;
use inngest_expr::expression::{Anchors, Bindings, Expression, Roots};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef, WaitFor};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Await, Awaited, Change, Condition, Effect, EventWait, Store, Transition};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// A store with runs that wait.
struct Waiting {
    store: SqliteStore,
    ids: Ids,
    function: FunctionId,
}

/// A condition that somebody waits with.
struct Waiter {
    job: JobId,
    expression: Expression,
    bindings: Bindings,
}

impl Waiting {
    fn new(dir: &std::path::Path) -> Self {
        let store = SqliteStore::open(&Options::new(dir), Arc::new(SystemClock)).expect("opens");
        let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        Self { store, ids, function: FunctionId::of_definition("waits", "u") }
    }

    async fn commit(&self, changes: Vec<Change>) -> BTreeSet<JobId> {
        let committed = self.store.commit(Transition::of(changes).into()).await.expect("commits");
        committed.jobs.iter().map(|job| job.id).collect()
    }

    /// One run for each condition that compiles, which waits for an event of this name.
    async fn wait(&self, name: &str, conditions: &[(String, String)]) -> Vec<Waiter> {
        let now = self.ids.now();
        let event = self.event("waits/start", "{}");
        let (mut awaited, mut admits, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (text, trigger) in conditions {
            let Ok(expression) = Expression::compile(text, Roots::EventAndAsync) else { continue };
            let trigger = content::parse(body(trigger).as_bytes()).expect("JSON");
            let bindings = expression.bind(&trigger).expect("small");
            let run = self.ids.run(event.id, now);
            let start = QueueItem::new(JobId::start(run), self.function, JobKind::Start, now);
            admits.push(Admit {
                run,
                function: self.function,
                idempotency: None,
                flow: None,
                correlation_id: None,
                job: start.clone(),
                deadline: None,
                cancel_on: Vec::new(),
            });
            let step = StepRef { id: StepId::from("w"), name: "w".into() };
            let job = JobId::wait(run, &step.id);
            let until = now.plus(Duration::from_secs(3_600));
            let waits = JobKind::Wait(step, WaitFor::Event);
            let item = QueueItem { due: until, ..QueueItem::new(job, self.function, waits, now) };
            changes.push(Change::RemoveJob(start.id));
            // As the engine does it: what can never hold is not stored.
            let anchors = match expression.anchors(&bindings) {
                Anchors::Never => None,
                Anchors::Any => Some(None),
                Anchors::OneOf(anchors) => Some(Some(anchors)),
            };
            let mut what = Awaited::Nothing;
            if let Some(anchors) = anchors {
                let stored = bindings.to_json().into();
                let condition = Some(Condition { expression: text.as_str().into(), bindings: stored, anchors });
                let (event, effect) = (name.into(), Effect::Resume);
                let wait = EventWait { job, function: self.function, event, condition, until, effect };
                what = Awaited::Event { wait, since: Millis(i64::MAX), own: Arc::from([]) };
            }
            changes.push(Change::Await(Box::new(Await { job: item, awaited: what })));
            awaited.push(Waiter { job, expression, bindings });
        }
        self.commit(vec![Change::PutEvent(Box::new(event), admits)]).await;
        self.commit(changes).await;
        awaited
    }

    fn event(&self, name: &str, body: &str) -> Event {
        let now = self.ids.now();
        let body = EventBody::Stored(Payload::from(body.to_owned()));
        Event { id: self.ids.event(now), name: name.into(), external_id: None, ts: now, body }
    }

    async fn send(&self, name: &str, data: &str) -> BTreeSet<JobId> {
        self.commit(vec![Change::PutEvent(Box::new(self.event(name, &body(data))), Vec::new())]).await
    }
}

fn body(data: &str) -> String {
    format!(r#"{{"data":{data},"name":"e","ts":1,"user":{{}}}}"#)
}

/// JSON and literals that are nearly, but not quite, the same.
fn scalar() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0.0",
        "1",
        "1.0",
        "-1",
        "0.1",
        "0.30000000000000004",
        "0.3",
        "1.7976931348623157e308",
        "5e-324",
        "123456789.12345679",
        "123456789.12345678",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "-9007199254740993",
        "\"\"",
        "\"0\"",
        "\"1\"",
        "\"a\"",
        "\"b\"",
        "\"é\"",
        "\"9007199254740993\"",
        "\"true\"",
    ])
}

/// A value of an event, as JSON.
fn value() -> impl Strategy<Value = String> {
    let list = proptest::collection::vec(scalar(), 0..6).prop_map(|items| format!("[{}]", items.join(",")));
    let repeated = (scalar(), scalar(), 1..400_usize).prop_map(|(a, b, times)| {
        let numbers: Vec<String> = (1_000..1_000 + times).map(|number| number.to_string()).collect();
        format!("[{}{a},{},{b}]", format!("{a},").repeat(times), numbers.join(","))
    });
    let map = scalar().prop_map(|value| format!(r#"{{"a":{value},"1":2,"":null}}"#));
    let deep = (90..140_usize, scalar())
        .prop_map(|(levels, inner)| format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels)));
    let large = prop_oneof![Just("1e999".to_owned()), Just("-1e999".to_owned())];
    prop_oneof![8 => scalar().prop_map(str::to_owned), 2 => list, 1 => repeated, 1 => map, 1 => deep, 1 => large]
}

fn data() -> impl Strategy<Value = String> {
    proptest::collection::btree_map(proptest::sample::select(vec!["x", "y"]), value(), 0..3).prop_map(|entries| {
        let entries: Vec<String> = entries.iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
        format!("{{{}}}", entries.join(","))
    })
}

fn operand() -> impl Strategy<Value = String> {
    let chain = proptest::sample::select(vec![
        "async.data.x",
        "async.data.x",
        "async.data.y",
        "async.data.x.a",
        "event.data.x",
        "event.data.y",
        "event.data.x.a",
    ]);
    prop_oneof![2 => chain.prop_map(str::to_owned), 1 => scalar().prop_map(str::to_owned)]
}

fn condition() -> impl Strategy<Value = String> {
    let operator = proptest::sample::select(vec!["==", "==", "!=", "<", "<=", ">", ">="]);
    let comparison = (operand(), operator, operand()).prop_map(|(a, op, b)| format!("({a} {op} {b})"));
    let listed = (operand(), operand(), scalar()).prop_map(|(a, b, c)| format!("({a} in [{b}, {c}])"));
    let within = operand().prop_map(|a| format!("({a} in async.data.x)"));
    let plain = prop_oneof![Just("(async.data.x)".to_owned()), Just("async.data.x.exists(i, i == 1)".to_owned())];
    let leaf = prop_oneof![6 => comparison, 1 => listed, 2 => within, 1 => plain];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

#[test]
fn an_event_finds_whoever_it_is_meant_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::new(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let waits = proptest::collection::vec((condition(), data()), 1..12);
    let events = proptest::collection::vec(data(), 1..5);
    let (mut name, mut compared, mut found) = (0, 0, 0);
    let cases = std::cell::RefCell::new((&mut name, &mut compared, &mut found));
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(waits, events), |(conditions, events)| {
            let mut counts = cases.borrow_mut();
            *counts.0 += 1;
            let name = format!("e/{}", counts.0);
            runtime.block_on(async {
                let mut awaited = waiting.wait(&name, &conditions).await;
                for data in events {
                    let event = content::parse(body(&data).as_bytes()).expect("JSON");
                    let holds = |one: &Waiter| one.expression.matches_bound(&one.bindings, &event, Millis(0));
                    let expected: BTreeSet<JobId> =
                        awaited.iter().filter(|one| holds(one) == Ok(true)).map(|one| one.job).collect();
                    let resumed = waiting.send(&name, &data).await;
                    prop_assert_eq!(&resumed, &expected, "{}", data);
                    *counts.1 += awaited.len();
                    *counts.2 += resumed.len();
                    awaited.retain(|one| !resumed.contains(&one.job));
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    println!("{compared} conditions compared, {found} hold");
    assert!(found > 300 && compared > 2 * found, "{found} of {compared} hold");
}

#[tokio::test]
async fn a_deep_event_of_somebody_else_matches_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::new(dir.path());
    let id = |id: &str, more: &str| format!(r#"{{"id":"{id}",{more}}}"#);
    let odd = [format!(r#""deep":{}{}"#, "[".repeat(5_000), "]".repeat(5_000)), r#""n":1e999"#.to_owned()];
    for (index, odd) in odd.iter().enumerate() {
        let name = format!("odd/{index}");
        let condition = ("event.data.id == async.data.id".to_owned(), id("mine", odd));
        let awaited = waiting.wait(&name, &[condition]).await;
        assert!(waiting.send(&name, &id("yours", odd)).await.is_empty(), "{name}");
        assert_eq!(waiting.send(&name, &id("mine", odd)).await, BTreeSet::from([awaited[0].job]), "{name}");
    }
}

/// Many items, of which many are the same, find each wait once.
#[tokio::test]
async fn a_long_list_finds_its_members() {
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::new(dir.path());
    let conditions: Vec<_> = ["5.0", "'a'", "true", "7000", "'zz'", "false", "-0.0"]
        .map(|item| (format!("{item} in async.data.l"), "{}".to_owned()))
        .into();
    for (name, distinct) in [("l/short", 10), ("l/long", 5_000)] {
        let awaited = waiting.wait(name, &conditions).await;
        let numbers: Vec<String> = (0..distinct).map(|number| format!("{number},{number},\"a\",true")).collect();
        let resumed = waiting.send(name, &format!(r#"{{"l":[{}]}}"#, numbers.join(","))).await;
        let expected: BTreeSet<JobId> = [0, 1, 2, 6].iter().map(|index| awaited[*index].job).collect();
        assert_eq!(resumed, expected, "{name}");
    }
}
