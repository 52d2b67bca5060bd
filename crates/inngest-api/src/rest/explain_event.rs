//! `GET /v1/events/{id}/explain`: what became of an event, function by function, as far as it is recorded.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use http::Response;
use inngest_core::FunctionId;
use inngest_state::history::{GatheringFilter, GatheringRecord, RunFilter, RunRecord, SkipFilter, SkipRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::events::parse_id;
use super::explain::skipped;
use super::functions::slugs;
use super::skips::existing_run;
use super::{envelope, gatherings};
use crate::Api;
use crate::error::ApiError;
use crate::paths::Path;

/// Runs, skips and gatherings that are told of one event, of each.
const TOLD_MAX: usize = 1_000;

/// What became of an event in one function.
#[derive(Default)]
struct Outcome {
    runs: Vec<RunRecord>,
    skips: Vec<SkipRecord>,
    gatherings: Vec<GatheringRecord>,
}

pub(crate) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let id = parse_id(&id)?;
    let history = api.engine.history();
    let event = history.event(id).await?.ok_or_else(|| ApiError::not_found("Event not found"))?.event;
    let (event_id, limit) = (Some(id), TOLD_MAX);
    let runs = RunFilter { event: event_id, ascending: true, limit, ..RunFilter::default() };
    let skips = SkipFilter { event: event_id, limit, ..SkipFilter::default() };
    let gatherings = GatheringFilter { event: event_id, limit, ..GatheringFilter::default() };
    let mut outcomes: BTreeMap<FunctionId, Outcome> = BTreeMap::new();
    // What is gathered becomes a run, and never the other way round: in this order nothing is missed.
    for gathering in history.gatherings(gatherings).await? {
        outcomes.entry(gathering.function).or_default().gatherings.push(gathering);
    }
    for skip in history.skips(skips).await? {
        outcomes.entry(skip.function).or_default().skips.push(skip);
    }
    for run in history.runs(runs).await? {
        outcomes.entry(run.function).or_default().runs.push(run);
    }
    let slugs = slugs(&api, outcomes.keys().copied()).await?;
    let functions: Vec<Told> = outcomes
        .iter()
        .map(|(function, outcome)| render(function, slugs.get(function).map(|slug| &**slug), outcome))
        .collect();
    let text = summary(functions.len());
    let event_name = event.name.to_string();
    Ok(envelope(api.engine.ids(), EventExplained { event_id: id.to_string(), event_name, text, functions }))
}

/// What became of an event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EventExplained {
    event_id: String,
    event_name: String,
    /// All of it in a sentence.
    text: String,
    functions: Vec<Told>,
}

/// What became of an event in one function.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FunctionOutcome")]
struct Told {
    function_id: String,
    function_slug: Option<String>,
    /// The same in sentences.
    text: String,
    runs: Vec<RunOfEvent>,
    skips: Vec<SkipOfEvent>,
    gatherings: Vec<gatherings::Gathered>,
}

/// A run, and where it stands.
#[derive(Debug, Serialize, JsonSchema)]
struct RunOfEvent {
    run_id: String,
    status: &'static str,
}

/// Why no run was started.
#[derive(Debug, Serialize, JsonSchema)]
struct SkipOfEvent {
    reason: &'static str,
    existing_run_id: Option<String>,
    run_id: Option<String>,
}

fn summary(functions: usize) -> String {
    match functions {
        0 => "It matched no function, as far as is recorded.".to_owned(),
        1 => "It matched 1 function.".to_owned(),
        functions => format!("It matched {functions} functions."),
    }
}

fn render(function: &FunctionId, slug: Option<&str>, outcome: &Outcome) -> Told {
    let runs = outcome.runs.iter().map(|run| RunOfEvent { run_id: run.id.to_string(), status: run.status.as_str() });
    let skips = outcome.skips.iter().map(|skip| SkipOfEvent {
        reason: skip.reason.as_str(),
        existing_run_id: existing_run(skip.reason),
        run_id: skip.run.map(|run| run.to_string()),
    });
    Told {
        function_id: function.to_string(),
        function_slug: slug.map(str::to_owned),
        text: text(outcome),
        runs: runs.collect(),
        skips: skips.collect(),
        gatherings: outcome.gatherings.iter().map(gatherings::render).collect(),
    }
}

/// A sentence for each thing that happened.
fn text(outcome: &Outcome) -> String {
    let started = |run: &RunRecord| match run.original_run {
        None => format!("It started the run {} ({}).", run.id, run.status.as_str()),
        Some(_) => format!("It was run again as {} ({}).", run.id, run.status.as_str()),
    };
    let runs = outcome.runs.iter().map(started);
    let skips = outcome.skips.iter().map(|skip| skipped(skip.reason));
    let gatherings = outcome.gatherings.iter().map(gatherings::text);
    runs.chain(skips).chain(gatherings).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use inngest_core::{EventId, Millis, RunId, RunStatus};
    use inngest_queue::Gathering;
    use inngest_queue::flow::Skip;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_thing_that_happened_is_told_in_a_sentence_and_in_json() {
        let function = FunctionId::of_definition("f", "u");
        let run: RunId = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
        let event: EventId = "01M85QRDBHC70063SSP1V76AAP".parse().unwrap();
        let at = Millis(1_800_000_000_000);
        let record = |original_run| RunRecord {
            id: run,
            function,
            status: RunStatus::Running,
            event_ids: vec![event],
            event_name: "e".into(),
            queued_at: at,
            started_at: None,
            ended_at: None,
            output: None,
            error: None,
            original_run,
            skip: None,
            gathering: None,
            finished: None,
        };
        let skip = |reason| SkipRecord { event, function, reason, run: None };
        let gathering = |kind, count| GatheringRecord {
            id: run,
            function,
            kind,
            first_at: at,
            deadline: at,
            count,
            events: vec![event],
        };
        let of = |runs, skips, gatherings| Outcome { runs, skips, gatherings };
        let table = [
            (of(vec![record(None)], vec![], vec![]), "It started the run 01M85QRDBHC70063SSP1V76AAN (Running)."),
            (of(vec![record(Some(run))], vec![], vec![]), "It was run again as 01M85QRDBHC70063SSP1V76AAN (Running)."),
            (
                of(vec![], vec![skip(Skip::Duplicate)], vec![]),
                "It was skipped: an event of the same id has come before.",
            ),
            (of(vec![], vec![skip(Skip::RateLimited)], vec![]), "It was skipped: a rate limit or an idempotency key"),
            (of(vec![], vec![skip(Skip::Debounced)], vec![]), "It was skipped: another event of its debounce counts."),
            (
                of(vec![], vec![], vec![gathering(Gathering::Debounce, 1)]),
                "It is debounced: its run starts at 2027-01-15T08:00:00Z if no other event comes.",
            ),
            (
                of(vec![], vec![], vec![gathering(Gathering::Batch, 1)]),
                "It waits in a batch, alone so far, that starts",
            ),
            (of(vec![], vec![], vec![gathering(Gathering::Batch, 3)]), "It waits in a batch of 3 events so far that"),
        ];
        for (outcome, sentence) in table {
            assert!(text(&outcome).starts_with(sentence), "{}", text(&outcome));
        }
        let all = of(vec![record(None)], vec![skip(Skip::Singleton(run))], vec![gathering(Gathering::Batch, 1)]);
        let shown = serde_json::to_value(render(&function, Some("shop-f"), &all)).unwrap();
        assert_eq!(shown["function_slug"], "shop-f");
        assert_eq!(shown["runs"], json!([{ "run_id": run.to_string(), "status": "Running" }]));
        assert_eq!(
            shown["skips"],
            json!([{ "reason": "Singleton", "existing_run_id": run.to_string(), "run_id": null }])
        );
        let waits = &shown["gatherings"][0];
        assert_eq!((&waits["kind"], &waits["count"]), (&json!("batch"), &json!(1)));
        assert_eq!(
            (&waits["starts_at"], &waits["event_ids"]),
            (&json!("2027-01-15T08:00:00Z"), &json!([event.to_string()]))
        );
        assert_eq!(shown["text"].as_str().unwrap().matches("It ").count(), 3);
    }
}
