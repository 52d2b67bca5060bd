//! What an event costs when many runs wait: `cargo run --release -p inngest-state --example waits -- [waits] [events]`.
//!
//! Prints the time of one event through `Store::commit`, on its own and many to a batch, beside that of an event that
//! nobody waits for. The difference is what looking for those who wait costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inngest_core::event::EventBody;
use inngest_core::{Event, FunctionId, Ids, Millis, Payload, StepId, SystemClock, SystemEntropy};
use inngest_expr::expression::{Anchors, Expression, Roots};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef, WaitFor};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Await, Awaited, Change, Condition, Effect, EventWait, Store, Transition};
use serde_json::json;

/// Waits that are put with one commit.
const PUT: usize = 1_000;
/// Events that are sent at the same time.
const TOGETHER: usize = 256;

/// Ten ways to wait for one's own event.
const SHAPES: [&str; 10] = [
    "event.data.id == async.data.id",
    "async.data.id == event.data.id && async.data.n > 5",
    "async.data.n >= 1 && async.data.n < 100 && event.data.id == async.data.id",
    "async.data.id == event.data.id && async.data.kind != 'other'",
    "event.data.id == async.data.id && (async.data.kind == 'a' || async.data.kind == 'b')",
    "async.data.id in [event.data.id, event.data.other]",
    "!(async.data.id != event.data.id)",
    "event.data.id in async.data.ids",
    "async.data.id == event.data.id || async.data.other == event.data.other",
    "async.data.id == event.data.id && async.data.tags.exists(t, t == 'vip')",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let waits = args.next().transpose()?.unwrap_or(100_000);
    let events = args.next().transpose()?.unwrap_or(2_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    for (title, shapes) in [("equality", &SHAPES[..1]), ("equality and range", &SHAPES[1..2]), ("ten shapes", &SHAPES)]
    {
        let dir = tempfile::tempdir()?;
        let bench = Bench {
            store: SqliteStore::open(&Options::new(dir.path()), Arc::new(SystemClock))?,
            ids: Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy)),
            function: FunctionId::of_definition("f", "u"),
        };
        runtime.block_on(async {
            let began = Instant::now();
            bench.wait(waits, shapes).await;
            println!("{title}: {waits} runs wait, {:.1} us each to put", micros(began.elapsed(), waits));
            for (title, name, from) in [
                ("of a name nobody waits for", "b/none", waits),
                ("that matches none", "b/wait", waits),
                ("that matches one", "b/wait", 0),
            ] {
                let single = bench.send(name, from, events, 1).await;
                let batched = bench.send(name, from + events, events, TOGETHER).await;
                println!(
                    "  an event {title:26} {:7.1} us alone, {:6.1} us of {TOGETHER} together ({} and {} resumed)",
                    single.0, batched.0, single.1, batched.1
                );
            }
        });
    }
    Ok(())
}

struct Bench {
    store: SqliteStore,
    ids: Ids,
    function: FunctionId,
}

impl Bench {
    async fn wait(&self, waits: usize, shapes: &[&str]) {
        let shapes: Vec<Expression> =
            shapes.iter().map(|text| Expression::compile(text, Roots::EventAndAsync).expect("compiles")).collect();
        for first in (0..waits).step_by(PUT) {
            let event = self.event("b/start", "{}".to_owned());
            let (mut admits, mut changes) = (Vec::new(), Vec::new());
            for index in first..waits.min(first + PUT) {
                // Events that match come in the order of the runs, so each part of them meets all shapes.
                let (admit, waiting) = self.run(&event, index, &shapes[index % shapes.len()]);
                admits.push(admit);
                changes.extend(waiting);
            }
            self.commit(vec![Change::PutEvent(Box::new(event), admits)]).await;
            self.commit(changes).await;
        }
    }

    fn run(&self, event: &Event, index: usize, expression: &Expression) -> (Admit, [Change; 2]) {
        let now = self.ids.now();
        let run = self.ids.run(event.id, now);
        let start = QueueItem::new(JobId::start(run), self.function, JobKind::Start, now);
        let step = StepRef { id: StepId::from("w"), name: "w".into() };
        let (job, until) = (JobId::wait(run, &step.id), now.plus(Duration::from_secs(24 * 60 * 60)));
        let item =
            QueueItem { due: until, ..QueueItem::new(job, self.function, JobKind::Wait(step, WaitFor::Event), now) };
        let trigger = json!({ "data": { "id": format!("order-{index}"), "other": format!("other-{index}") } });
        let bindings = expression.bind(&trigger).expect("small");
        let Anchors::OneOf(anchors) = expression.anchors(&bindings) else {
            panic!("{} has anchors", expression.text())
        };
        let condition = Condition {
            expression: expression.text().into(),
            bindings: bindings.to_json().into(),
            anchors: Some(anchors),
        };
        let wait = EventWait {
            job,
            function: self.function,
            event: "b/wait".into(),
            condition: Some(condition),
            until,
            effect: Effect::Resume,
        };
        let admit = Admit {
            run,
            function: self.function,
            idempotency: None,
            flow: None,
            correlation_id: None,
            job: start.clone(),
            deadline: None,
            cancel_on: Vec::new(),
        };
        let awaited = Awaited::Event { wait, since: Millis(i64::MAX), own: Arc::from([]) };
        let changes = [Change::RemoveJob(start.id), Change::Await(Box::new(Await { job: item, awaited }))];
        (admit, changes)
    }

    /// Microseconds for one event, and how many runs were resumed.
    async fn send(&self, name: &str, from: usize, count: usize, together: usize) -> (f64, usize) {
        let transitions: Vec<_> = (from..from + count)
            .map(|index| {
                let data = json!({
                    "id": format!("order-{index}"), "other": "x", "ids": ["x", format!("order-{index}")],
                    "kind": "a", "n": 7, "tags": ["new", "vip"], "pad": "x".repeat(280),
                });
                let event = self.event(name, json!({ "data": data, "name": name, "ts": 1, "user": {} }).to_string());
                Arc::new(Transition::of(vec![Change::PutEvent(Box::new(event), Vec::new())]))
            })
            .collect();
        let began = Instant::now();
        let mut resumed = 0;
        for part in transitions.chunks(together) {
            let tasks: Vec<_> = part
                .iter()
                .map(|transition| {
                    let (store, transition) = (self.store.clone(), Arc::clone(transition));
                    tokio::spawn(async move { store.commit(transition).await.expect("commits").jobs.len() })
                })
                .collect();
            for task in tasks {
                resumed += task.await.expect("no panic");
            }
        }
        (micros(began.elapsed(), count), resumed)
    }

    fn event(&self, name: &str, body: String) -> Event {
        let now = self.ids.now();
        let body = EventBody::Stored(Payload::from(body));
        Event { id: self.ids.event(now), name: name.into(), external_id: None, ts: now, body }
    }

    async fn commit(&self, changes: Vec<Change>) {
        self.store.commit(Transition::of(changes).into()).await.expect("commits");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
