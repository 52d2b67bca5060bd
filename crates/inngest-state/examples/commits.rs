//! How many runs a second the store alone commits, and at what CPU: `cargo run --release -p inngest-state
//! --example commits -- [runs] [concurrency] [steps] [onlookers]`. Each run is what the engine does for it: one commit for
//! event, run and job, one for each step, one for the end with its lifecycle event. Onlookers read lists, counts and traces
//! without a pause.

use std::sync::Arc;
use std::time::Instant;

use inngest_core::event::{EventBody, FUNCTION_FINISHED};
use inngest_core::{Event, FunctionId, Ids, Millis, Payload, RunId, RunStatus, StepId, SystemClock, SystemEntropy};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef};
use inngest_state::history::{Between, EventFilter, RunFilter};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Change, FinishRun, History, Requirement, StepOp, StepRecord, Store, Transition, When};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let runs = args.next().transpose()?.unwrap_or(20_000);
    let concurrency = args.next().transpose()?.unwrap_or(64);
    let steps = args.next().transpose()?.unwrap_or(0);
    let onlookers = args.next().transpose()?.unwrap_or(0);
    let dir = tempfile::tempdir()?;
    let store = SqliteStore::open(&Options::new(dir.path()), Arc::new(SystemClock))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let before = cpu_seconds();
    let began = Instant::now();
    runtime.block_on(async {
        for number in 0..onlookers {
            tokio::spawn(look_on(store.clone(), number));
        }
        let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let tasks: Vec<_> = (0..concurrency)
            .map(|_| {
                let (store, ids) = (store.clone(), ids.clone());
                tokio::spawn(async move {
                    for _ in 0..runs / concurrency {
                        one_run(&store, &ids, steps).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - before;
    println!(
        "{runs} runs, {concurrency} at a time, {steps} steps, {onlookers} onlookers: {:.0} runs/s, {:.1} us CPU per run",
        runs as f64 / seconds,
        cpu * 1e6 / runs as f64
    );
    Ok(())
}

/// What a page of a dashboard asks for, again and again; each onlooker has a filter of its own.
async fn look_on(store: SqliteStore, number: usize) {
    let queued = Between { after: Some(Millis(i64::try_from(number).unwrap_or_default())), before: None };
    let filter = RunFilter { queued, limit: 40, ..RunFilter::default() };
    let events = EventFilter { received_after: queued.after, limit: 40, ..EventFilter::default() };
    loop {
        let runs = store.runs(filter.clone()).await.expect("reads");
        store.count_runs(filter.clone()).await.expect("counts");
        store.events(events.clone()).await.expect("reads");
        if let Some(run) = runs.first() {
            store.run_record(run.id).await.expect("reads");
            store.trace(run.id).await.expect("reads");
        }
    }
}

async fn one_run(store: &SqliteStore, ids: &Ids, steps: usize) {
    let function = FunctionId::of_definition("f", "u");
    let now = ids.now();
    let event = ids.event(now);
    let run = ids.run(event, now);
    let body = Payload::from(format!("{{\"data\":{{\"pad\":\"{}\"}}}}", "x".repeat(280)));
    let mut item = QueueItem::new(JobId::start(run), function, JobKind::Start, now);
    let admit = Admit {
        run,
        function,
        idempotency: None,
        flow: None,
        correlation_id: None,
        deadline: None,
        cancel_on: Vec::new(),
        job: item.clone(),
    };
    let put = Change::PutEvent(Box::new(new_event(event, "a/b", EventBody::Stored(body.clone()), now)), vec![admit]);
    store.commit(Transition::of(vec![put]).into()).await.expect("commits");
    for step in 0..steps {
        let id = StepId::from(format!("{step:040}").as_str());
        let next = QueueItem::new(JobId::discovery(run, &[id.as_str()]), function, JobKind::Discovery, now);
        let mut changes = vec![Change::RemoveJob(item.id), Change::RecordStep(Box::new(record(run, id, &body, now)))];
        if step == 0 {
            changes.push(Change::StartRun { run, at: now, job: None });
        }
        changes.push(Change::PutJob(next.clone(), When::Recorded));
        let require = vec![Requirement::Generation(item.id, 1)];
        store.commit(Transition { require, changes }.into()).await.expect("commits");
        item = next;
        store.run(run).await.expect("reads");
    }
    let finish = FinishRun {
        run,
        status: RunStatus::Completed,
        output: Some(body),
        error: None,
        started_at: Some(now),
        ended_at: now,
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    };
    let finished = new_event(ids.event(now), FUNCTION_FINISHED, EventBody::Lifecycle(run), now);
    let changes = vec![Change::FinishRun(Box::new(finish)), Change::PutEvent(Box::new(finished), Vec::new())];
    let require = vec![Requirement::Generation(item.id, 1)];
    store.commit(Transition { require, changes }.into()).await.expect("commits");
}

fn new_event(id: inngest_core::EventId, name: &str, body: EventBody, ts: Millis) -> Event {
    Event { id, name: name.into(), external_id: None, ts, body }
}

fn record(run: RunId, id: StepId, value: &Payload, now: Millis) -> StepRecord {
    StepRecord {
        run,
        step: StepRef { id, name: "step".into() },
        op: StepOp::Run,
        value: value.clone(),
        failed: false,
        attempt: 0,
        input: None,
        queued_at: now,
        started_at: now,
        ended_at: now,
        job: 0,
        resolution: None,
        response: None,
    }
}

/// User and system time of this process, from the clock ticks (1/100 s) of Linux.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
