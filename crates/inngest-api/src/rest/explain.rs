//! `GET /v1/runs/{id}/explain`: what a run waits for.

use axum::body::Body;
use axum::extract::State;
use http::Response;
use inngest_core::{Millis, RunId, RunStatus};
use inngest_executor::engine::{Explained, ExplainedJob, ExplainedKey};
use inngest_queue::flow::{Scope, Skip};
use inngest_queue::{Cause, Deadline, JobKind, QueueItem, WaitFor};
use inngest_state::StoreError;
use inngest_state::history::RunRecord;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::runs::{job_kind, parse_id, unknown};
use super::{due, envelope, is_after_another, rfc3339};
use crate::Api;
use crate::definitions::Definitions;
use crate::error::ApiError;
use crate::paths::Path;

pub(crate) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let id = parse_id(&id)?;
    let explained = explained(&api, id).await?.ok_or_else(|| unknown(id))?;
    Ok(envelope(api.engine.ids(), explained))
}

/// What a run waits for; `None` when there is no such run.
pub(crate) async fn explained(api: &Api, id: RunId) -> Result<Option<RunExplained>, StoreError> {
    let Some(Explained { run, jobs }) = api.engine.explain(id).await? else { return Ok(None) };
    let now = api.engine.ids().now();
    let definitions = Definitions::of(api, [run.function].into_iter()).await?;
    Ok(Some(RunExplained {
        run_id: id.to_string(),
        function_id: run.function.to_string(),
        function_slug: definitions.function(run.function).map(|function| function.slug.to_string()),
        status: run.status.as_str(),
        text: summary(&run, &jobs, now),
        jobs: jobs.iter().map(|job| render(job, now)).collect(),
    }))
}

/// What a run waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunExplained {
    run_id: String,
    function_id: String,
    function_slug: Option<String>,
    status: &'static str,
    /// All of it in a sentence.
    text: String,
    jobs: Vec<JobExplained>,
}

/// What a job of a run waits for.
#[derive(Debug, Serialize, JsonSchema)]
struct JobExplained {
    id: String,
    kind: &'static str,
    step: Option<StepName>,
    attempt: u32,
    /// `Running`, `Waiting` or `Queued`.
    status: &'static str,
    due_at: Option<String>,
    /// Its kind, and what else there is to know about it.
    #[schemars(with = "Map<String, Value>")]
    cause: Value,
    /// The same in a sentence.
    text: String,
}

/// A step.
#[derive(Debug, Serialize, JsonSchema)]
struct StepName {
    /// Hashed.
    id: String,
    name: String,
}

/// What holds up the run as a whole: what its nearest job waits for that does not only watch over it.
fn summary(run: &RunRecord, jobs: &[ExplainedJob], now: Millis) -> String {
    if let Some(skip) = run.skip {
        return skipped(skip);
    }
    if run.status.is_final() {
        return match run.ended_at {
            Some(at) => format!("It has ended ({}) at {}.", run.status.as_str(), rfc3339(at)),
            None => format!("It has ended ({}).", run.status.as_str()),
        };
    }
    let watches = |job: &&ExplainedJob| matches!(job.item.kind, JobKind::Deadline(_));
    match jobs.iter().find(|job| !watches(job)) {
        Some(job) => text(job, now),
        None if run.status == RunStatus::Scheduled => "It is about to be started.".to_owned(),
        None => "It has just gone on.".to_owned(),
    }
}

pub(crate) fn skipped(skip: Skip) -> String {
    match skip {
        Skip::Singleton(run) => format!("It was skipped: the singleton was taken by the run {run}."),
        Skip::Paused => "It was skipped: its function was paused.".to_owned(),
        Skip::Draining => "It was skipped: its function was draining.".to_owned(),
        Skip::Duplicate => "It was skipped: an event of the same id has come before.".to_owned(),
        Skip::RateLimited => "It was skipped: a rate limit or an idempotency key was used up.".to_owned(),
        Skip::Debounced => "It was skipped: another event of its debounce counts.".to_owned(),
    }
}

fn render(job: &ExplainedJob, now: Millis) -> JobExplained {
    let step = job.item.step().map(|step| StepName { id: step.id.to_string(), name: step.name.to_string() });
    JobExplained {
        id: job.item.id.to_string(),
        kind: job_kind(&job.item),
        step,
        attempt: job.item.attempt,
        status: match job.cause {
            Cause::Running => "Running",
            Cause::Later => "Waiting",
            _ => "Queued",
        },
        due_at: due(job.item.due),
        cause: cause(job),
        text: text(job, now),
    }
}

fn cause(job: &ExplainedJob) -> Value {
    let mut shown = match &job.cause {
        Cause::Running => json!({ "kind": "running" }),
        Cause::Later if is_after_another(job.item.due) => json!({ "kind": "singleton" }),
        Cause::Later => json!({ "kind": "later" }),
        Cause::Turn { ahead } => json!({ "kind": "turn", "position": ahead + 1 }),
        Cause::Concurrency { limit, of_runs, in_use, holders, ahead } => json!({
            "kind": "concurrency", "of": if *of_runs { "runs" } else { "calls" }, "limit": limit.limit,
            "scope": scope(limit.scope), "key": job.key.as_ref().map(key), "in_use": in_use,
            "holders": holders.iter().map(ToString::to_string).collect::<Vec<_>>(), "position": ahead + 1,
        }),
        Cause::Throttle { next, ahead, .. } => json!({
            "kind": "throttle", "name": job.shared, "key": job.key.as_ref().map(key), "next_at": rfc3339(*next),
            "position": ahead + 1,
        }),
        Cause::Overload { until, ahead } => {
            json!({ "kind": "overload", "until": rfc3339(*until), "position": ahead + 1 })
        }
        Cause::Paused => json!({ "kind": "paused" }),
        Cause::Keys => json!({ "kind": "keys" }),
    };
    shown["expected_at"] = job.expected.and_then(due).into();
    shown
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Function => "fn",
        Scope::Environment => "env",
        Scope::Account => "account",
    }
}

fn key(key: &ExplainedKey) -> Value {
    json!({ "expression": *key.expression, "value": key.value })
}

/// One sentence for people.
fn text(job: &ExplainedJob, now: Millis) -> String {
    let keyed =
        || job.key.as_ref().map_or_else(String::new, |key| format!(" for {} = {:?}", key.expression, key.value));
    match &job.cause {
        Cause::Running => "It is being worked on.".to_owned(),
        Cause::Later => later(&job.item, now),
        Cause::Turn { ahead: 0 } => "It is next, as soon as there is a worker for it.".to_owned(),
        Cause::Turn { ahead } => format!("It waits for its turn: {} before it.", count(*ahead, "job")),
        Cause::Concurrency { limit, of_runs, in_use, holders, ahead } => {
            let what = if *of_runs { "runs" } else { "calls" };
            let whom = match limit.scope {
                Scope::Function => "",
                Scope::Environment => " of all functions with this key",
                Scope::Account => " of all functions of the account with this key",
            };
            let holders = match &holders[..] {
                [] => String::new(),
                holders => format!(", by {}", holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            };
            let (limit, keyed) = (limit.limit, keyed());
            format!("{in_use} of {limit} {what}{whom}{keyed} are in use{holders}; {} before it.", count(*ahead, "job"))
        }
        Cause::Throttle { next, ahead, .. } => {
            let name = job.shared.as_deref().map_or_else(String::new, |name| format!(" {name:?}"));
            let (keyed, next) = (keyed(), rfc3339(*next));
            format!("The throttle{name}{keyed} lets the next run start at {next}; {} before it.", count(*ahead, "run"))
        }
        Cause::Overload { until, ahead } => {
            let (until, ahead) = (rfc3339(*until), count(*ahead, "job"));
            format!("Its app answered that it is too much, and rests until {until}; {ahead} before it.")
        }
        Cause::Paused => "Its function is paused.".to_owned(),
        Cause::Keys => {
            "Its function is registered with other keys now, and they are being evaluated for it.".to_owned()
        }
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// What the time is for that a job waits for.
fn later(item: &QueueItem, now: Millis) -> String {
    let at = rfc3339(item.due);
    match &item.kind {
        _ if is_after_another(item.due) => {
            "It takes the place of another run of its singleton, and starts when that one has ended.".to_owned()
        }
        _ if item.due <= now => "It is due, and about to be looked at.".to_owned(),
        JobKind::Start if item.attempt == 0 => format!("It starts at {at}, as its event says."),
        JobKind::Sleep(_) => format!("It sleeps until {at}."),
        JobKind::Wait(_, WaitFor::Event) => format!("It waits for an event, until {at} at most."),
        JobKind::Wait(_, WaitFor::Signal) => format!("It waits for a signal, until {at} at most."),
        JobKind::Wait(_, WaitFor::Invoke) => format!("It waits for the run that it invoked, until {at} at most."),
        JobKind::Deadline(Deadline::Start) => {
            format!("If it has not started at {at}, it is cancelled (timeouts.start).")
        }
        JobKind::Deadline(Deadline::Finish) => {
            format!("If it has not ended at {at}, it is cancelled (timeouts.finish).")
        }
        JobKind::Cancel => "It is about to be cancelled.".to_owned(),
        JobKind::Start | JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) if item.attempt > 0 => {
            format!("It failed, and is tried again at {at}.")
        }
        JobKind::Start | JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) | JobKind::Gathered(_) => {
            format!("It is due at {at}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inngest_core::{FunctionId, RunId, StepId};
    use inngest_queue::flow::{Bucket, Concurrency};
    use inngest_queue::{JobId, StepRef};

    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn run() -> RunId {
        "01M85QRDBHC70063SSP1V76AAN".parse().unwrap()
    }

    fn job(kind: JobKind, due: Millis, cause: Cause) -> ExplainedJob {
        let item =
            QueueItem { due, ..QueueItem::new(JobId::start(run()), FunctionId::of_definition("f", "u"), kind, NOW) };
        ExplainedJob { item, cause, expected: Some(due), shared: None, key: None }
    }

    #[test]
    fn every_cause_is_told_in_a_sentence_and_in_json() {
        let key = ExplainedKey { expression: "event.data.account".into(), value: "a".to_owned() };
        let limit = Concurrency { limit: 2, scope: Scope::Environment, key: None };
        let held = |of_runs| Cause::Concurrency { limit, of_runs, in_use: 2, holders: vec![run()], ahead: 1 };
        let throttle = Cause::Throttle { bucket: Bucket(1), next: NOW, ahead: 0 };
        let start = |cause| job(JobKind::Start, NOW, cause);
        let keyed = |cause| ExplainedJob { key: Some(key.clone()), ..start(cause) };
        let table = [
            (start(Cause::Running), json!({ "kind": "running" }), "It is being worked on."),
            (start(Cause::Turn { ahead: 0 }), json!({ "kind": "turn", "position": 1 }), "It is next,"),
            (
                start(Cause::Turn { ahead: 2 }),
                json!({ "kind": "turn", "position": 3 }),
                "It waits for its turn: 2 jobs before it.",
            ),
            (
                keyed(held(false)),
                json!({ "kind": "concurrency", "of": "calls", "limit": 2, "scope": "env", "in_use": 2,
                    "key": { "expression": "event.data.account", "value": "a" },
                    "holders": ["01M85QRDBHC70063SSP1V76AAN"], "position": 2 }),
                "2 of 2 calls of all functions with this key for event.data.account = \"a\" are in use, by \
                 01M85QRDBHC70063SSP1V76AAN; 1 job before it.",
            ),
            (
                start(held(true)),
                json!({ "kind": "concurrency", "of": "runs", "limit": 2, "scope": "env", "in_use": 2, "key": null,
                    "holders": ["01M85QRDBHC70063SSP1V76AAN"], "position": 2 }),
                "2 of 2 runs of all functions with this key are in use, by",
            ),
            (
                ExplainedJob { shared: Some("openai".into()), ..keyed(throttle.clone()) },
                json!({ "kind": "throttle", "name": "openai", "key": { "expression": "event.data.account", "value": "a" },
                    "next_at": "2027-01-15T08:00:00Z", "position": 1 }),
                "The throttle \"openai\" for event.data.account = \"a\" lets the next run start at 2027-01-15T08:00:00Z; no run",
            ),
            (
                start(throttle),
                json!({ "kind": "throttle", "name": null, "key": null, "next_at": "2027-01-15T08:00:00Z", "position": 1 }),
                "The throttle lets the next run start at 2027-01-15T08:00:00Z; no run before it.",
            ),
            (
                start(Cause::Overload { until: NOW, ahead: 0 }),
                json!({ "kind": "overload", "until": "2027-01-15T08:00:00Z", "position": 1 }),
                "Its app answered that it is too much, and rests until 2027-01-15T08:00:00Z",
            ),
            (start(Cause::Paused), json!({ "kind": "paused" }), "Its function is paused."),
            (start(Cause::Keys), json!({ "kind": "keys" }), "Its function is registered with other keys now"),
        ];
        for (job, mut expected, sentence) in table {
            expected["expected_at"] = json!("2027-01-15T08:00:00Z");
            assert_eq!(cause(&job), expected);
            assert!(text(&job, NOW).starts_with(sentence), "{}", text(&job, NOW));
        }
    }

    #[test]
    fn what_only_waits_for_its_time_says_for_what() {
        let step = StepRef { id: StepId::from("a"), name: Arc::from("nap") };
        let (soon, never) = (Millis(NOW.0 + 1_000), Millis(i64::MAX));
        let at = |kind| job(kind, soon, Cause::Later);
        let table = [
            (at(JobKind::Start), "It starts at 2027-01-15T08:00:01Z, as its event says."),
            (job(JobKind::Start, never, Cause::Later), "It takes the place of another run"),
            (job(JobKind::Step(step.clone()), never, Cause::Later), "It takes the place of another run"),
            (job(JobKind::Discovery, NOW, Cause::Later), "It is due, and about to be looked at."),
            (at(JobKind::Discovery), "It is due at 2027-01-15T08:00:01Z."),
            (at(JobKind::Sleep(step.clone())), "It sleeps until 2027-01-15T08:00:01Z."),
            (at(JobKind::Wait(step.clone(), WaitFor::Event)), "It waits for an event, until"),
            (at(JobKind::Wait(step.clone(), WaitFor::Signal)), "It waits for a signal, until"),
            (at(JobKind::Wait(step, WaitFor::Invoke)), "It waits for the run that it invoked, until"),
            (at(JobKind::Deadline(Deadline::Start)), "If it has not started at"),
            (at(JobKind::Deadline(Deadline::Finish)), "If it has not ended at"),
            (at(JobKind::Cancel), "It is about to be cancelled."),
        ];
        for (job, sentence) in table {
            assert!(text(&job, NOW).starts_with(sentence), "{:?}: {}", job.item.kind, text(&job, NOW));
        }
        let mut retry = at(JobKind::Start);
        retry.item.attempt = 1;
        assert_eq!(text(&retry, NOW), "It failed, and is tried again at 2027-01-15T08:00:01Z.");
        let successor = job(JobKind::Start, never, Cause::Later);
        assert_eq!(cause(&successor), json!({ "kind": "singleton", "expected_at": null }));
    }

    #[test]
    fn a_run_is_summed_up_by_what_holds_it_up() {
        let record = |status, skip| RunRecord {
            id: run(),
            function: FunctionId::of_definition("f", "u"),
            status,
            event_ids: Vec::new(),
            event_name: "e".into(),
            queued_at: NOW,
            started_at: None,
            ended_at: Some(NOW).filter(|_| status == RunStatus::Completed),
            output: None,
            error: None,
            original_run: None,
            skip,
            gathering: None,
            finished: None,
        };
        let watched = job(JobKind::Deadline(Deadline::Start), NOW, Cause::Later);
        let paused = job(JobKind::Start, NOW, Cause::Paused);
        let table = [
            (record(RunStatus::Scheduled, None), vec![watched, paused], "Its function is paused."),
            (record(RunStatus::Scheduled, None), vec![], "It is about to be started."),
            (record(RunStatus::Running, None), vec![], "It has just gone on."),
            (record(RunStatus::Completed, None), vec![], "It has ended (Completed) at 2027-01-15T08:00:00Z."),
            (
                record(RunStatus::Skipped, Some(Skip::Singleton(run()))),
                vec![],
                "It was skipped: the singleton was taken by",
            ),
            (record(RunStatus::Skipped, Some(Skip::Paused)), vec![], "It was skipped: its function was paused."),
        ];
        for (run, jobs, sentence) in table {
            assert!(summary(&run, &jobs, NOW).starts_with(sentence), "{}", summary(&run, &jobs, NOW));
        }
    }
}
