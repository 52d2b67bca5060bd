//! A store with a long history, and how long its reads take: `bench history`.
//!
//! The rows are made by the store's own transitions, so that such a store is what a server leaves behind after a month:
//! 50 functions of 5 apps, an event for each run and one that tells of its end, a quarter of the runs with three steps,
//! 2 % failed, 1 % cancelled, 1 % deferred, 0.01 % still asleep.

mod measure;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use inngest_core::event::{DEFERRED_SCHEDULE, EventBody, FUNCTION_FINISHED};
use inngest_core::function::Trigger;
use inngest_core::{
    App, AppId, Clock, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId, SystemClock,
};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef};
use inngest_state::run_state::DeferStatus;
use inngest_state::sqlite::Options as StoreOptions;
use inngest_state::sqlite::bulk::Bulk;
use inngest_state::trace::{Headers, LastCall, ResponseHead};
use inngest_state::{Admit, AttemptRecord, Change, Defer, FinishRun, StepOp, StepRecord, Transition, When};

const APPS: u64 = 5;
const FUNCTIONS: u64 = 50;
const DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Runs of one database transaction.
const BATCH: u64 = 4_096;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Fill an empty store with this many runs first.
    #[arg(long)]
    runs: Option<u64>,
    /// How often each read is measured; 0 measures nothing.
    #[arg(long, default_value_t = 200)]
    repetitions: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(runs) = options.runs {
        fill(options, runs)?;
    }
    if options.repetitions > 0 { measure::run(&options.dir, options.repetitions) } else { Ok(()) }
}

fn fill(options: &Options, runs: u64) -> Result<()> {
    let store = StoreOptions::new(&options.dir);
    ensure!(!options.dir.join("main.db").exists(), "{} holds a store already", options.dir.display());
    let began = Instant::now();
    let history = History::new(runs, SystemClock.now());
    let batches = (0..runs).step_by(BATCH as usize).map(|first| {
        if first % (BATCH * 64) == 0 {
            println!("{first} of {runs} runs after {:.0?}", began.elapsed());
        }
        let numbers = first..runs.min(first + BATCH);
        let now = history.queued_at(numbers.end);
        (now, numbers.map(|number| history.run(number)).collect())
    });
    let definitions = std::iter::once((history.begin, vec![history.definitions()]));
    Bulk::open(&store)?.fill(definitions.chain(batches))?;
    println!("{runs} runs in {:.0?}", began.elapsed());
    Ok(())
}

/// What the store is filled with; the same for the same number of runs and the same end.
struct History {
    runs: u64,
    begin: Millis,
    end: Millis,
    head: ResponseHead,
    value: Payload,
}

impl History {
    fn new(runs: u64, end: Millis) -> Self {
        let json = Payload::from_static(br#"{"Content-Type":"application/json","X-Inngest-Sdk":"js:v4.0.0"}"#);
        Self {
            runs,
            begin: Millis(end.0 - DAYS * DAY_MS),
            end,
            head: ResponseHead { status: 206, headers: Arc::new(Headers { hash: 1, json }) },
            value: Payload::from(format!(r#"{{"data":{{"text":"{}"}}}}"#, "x".repeat(100))),
        }
    }

    fn queued_at(&self, number: u64) -> Millis {
        let span = u128::from(self.end.0.abs_diff(self.begin.0));
        Millis(self.begin.0 + i64::try_from(span * u128::from(number) / u128::from(self.runs)).unwrap_or_default())
    }

    fn definitions(&self) -> Transition {
        let apps = (0..APPS).map(|app| {
            Change::PutApp(Box::new(App {
                id: AppId::of_name(&app_name(app)),
                name: app_name(app).into(),
                url: url(app).into(),
                sdk_language: "js".into(),
                sdk_version: "v4.0.0".into(),
                framework: "express".into(),
                app_version: None,
                feature_observations: None,
                error: None,
                checksum: "history".into(),
                created_at: self.begin,
                archived_at: None,
            }))
        });
        let functions = (0..FUNCTIONS).map(|number| {
            let app = number % APPS;
            Change::PutFunction(Box::new(Function {
                id: function(number),
                app: AppId::of_name(&app_name(app)),
                slug: format!("{}-fn-{number}", app_name(app)).into(),
                name: format!("Function {number}").into(),
                triggers: vec![Trigger::Event { name: event_name(number).into(), expression: None }],
                url: url(app).into(),
                step_id: "step".into(),
                retries: 4,
                version: 1,
                config: Payload::from_static(b"{}"),
                created_at: self.begin,
                archived_at: None,
            }))
        });
        Transition::of(apps.chain(functions).collect())
    }

    /// Everything that ever happened to one run.
    fn run(&self, number: u64) -> Transition {
        let dice = scattered(number);
        let at = self.queued_at(number);
        let event = EventId::from_bytes(ulid(at, dice));
        let run = RunId::from_bytes(ulid(Millis(at.0 + 1), dice));
        let function = function(dice % FUNCTIONS);
        let is = |per_10_000, salt: u64| scattered(dice ^ salt) % 10_000 < per_10_000;
        let name = match number {
            _ if is(100, 1) => DEFERRED_SCHEDULE.to_owned(),
            _ if number % 100_000 == 77 => "shop/rare".to_owned(),
            _ => event_name(dice % FUNCTIONS),
        };
        let body = format!(
            r#"{{"data":{{"order":{number},"text":"{}"}},"id":"{event}","name":"{name}","ts":{at},"user":{{}}}}"#,
            "x".repeat(80)
        );
        let job = QueueItem::new(JobId::start(run), function, JobKind::Start, at);
        let admit = Admit {
            run,
            function,
            idempotency: None,
            flow: None,
            correlation_id: None,
            job: job.clone(),
            deadline: None,
            cancel_on: Vec::new(),
        };
        let mut changes =
            vec![Change::PutEvent(Box::new(self.event(event, &name, EventBody::Stored(body.into()), at)), vec![admit])];
        let started_at = Millis(at.0 + 2 + i64::try_from(dice >> 32).unwrap_or_default() % 200);
        if is(1, 2) {
            let step = StepRef { id: StepId::from("asleep"), name: "asleep".into() };
            let mut sleep = QueueItem::new(JobId::step(run, &step.id), function, JobKind::Sleep(step), at);
            sleep.due = Millis(self.end.0 + 365 * DAY_MS);
            changes.push(Change::StartRun { run, at: started_at, job: None });
            changes.extend([Change::PutJob(sleep, When::Always), Change::RemoveJob(job.id)]);
            return Transition::of(changes);
        }
        let mut ended_at = Millis(started_at.0 + 5);
        if is(2_500, 3) {
            for step in 0..3 {
                let model = step == 2 && is(100, 4);
                changes.push(Change::RecordStep(Box::new(self.step(run, step, model, ended_at))));
                ended_at.0 += 20;
            }
        }
        if is(50, 5) {
            changes.push(Change::PutDefer(
                run,
                Box::new(Defer {
                    id: StepId::from("later"),
                    name: "later".into(),
                    function: "app-0-fn-0".into(),
                    input: self.value.clone(),
                    meta: None,
                    status: DeferStatus::AfterRun,
                }),
            ));
        }
        let status = match () {
            () if is(200, 6) => RunStatus::Failed,
            () if is(100, 7) => RunStatus::Cancelled,
            () => RunStatus::Completed,
        };
        let error = Payload::from_static(br#"{"error":"boom","name":"Error","message":"boom","stack":"Error: boom"}"#);
        if status == RunStatus::Failed {
            changes.push(Change::RecordAttempt(Box::new(AttemptRecord {
                job: job.id,
                step: None,
                attempt: 0,
                generation: 1,
                queued_at: at,
                started_at,
                ended_at,
                response: Some(self.head.clone()),
                error: error.clone(),
                retry_at: None,
            })));
        }
        let finished = EventId::from_bytes(ulid(ended_at, scattered(dice)));
        changes.push(Change::FinishRun(Box::new(FinishRun {
            run,
            status,
            output: (status == RunStatus::Completed).then(|| self.value.clone()),
            error: (status == RunStatus::Failed).then_some(error),
            started_at: Some(started_at),
            ended_at,
            last_call: Some(LastCall {
                job: job.id,
                queued_at: at,
                started_at,
                attempt: 0,
                response: Some(self.head.clone()),
            }),
            in_flight: Vec::new(),
            finished: Some(finished),
        })));
        let finished = self.event(finished, FUNCTION_FINISHED, EventBody::Lifecycle(run), ended_at);
        changes.push(Change::PutEvent(Box::new(finished), Vec::new()));
        Transition::of(changes)
    }

    fn event(&self, id: EventId, name: &str, body: EventBody, ts: Millis) -> Event {
        Event { id, name: name.into(), external_id: None, ts, body }
    }

    fn step(&self, run: RunId, number: u64, model: bool, at: Millis) -> StepRecord {
        let id = StepId::from(format!("{number:040}").as_str());
        StepRecord {
            run,
            step: StepRef { id, name: format!("step {number}").into() },
            op: if model { StepOp::AiGateway } else { StepOp::Run },
            value: self.value.clone(),
            failed: false,
            attempt: 0,
            input: None,
            queued_at: at,
            started_at: Millis(at.0 + 1),
            ended_at: Millis(at.0 + 19),
            job: number,
            resolution: None,
            response: Some(self.head.clone()),
        }
    }
}

fn app_name(app: u64) -> String {
    format!("app-{app}")
}

fn url(app: u64) -> String {
    format!("http://127.0.0.1:9/app-{app}")
}

fn function(number: u64) -> FunctionId {
    FunctionId::of_definition(&format!("fn-{number}"), &url(number % APPS))
}

/// Two and a half functions are started by events of one name.
fn event_name(function: u64) -> String {
    format!("shop/event.{}", function % 20)
}

/// A ULID of this time.
fn ulid(at: Millis, random: u64) -> [u8; 16] {
    ((u128::from(at.0.unsigned_abs()) << 80) | u128::from(random)).to_be_bytes()
}

/// A number that has nothing to do with its neighbours'.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1;
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    mixed ^ (mixed >> 29)
}
