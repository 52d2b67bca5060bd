//! Everything that v1 and the event API offer, as data: the only source of the routes of v1, and of the OpenAPI document
//! of both.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, any, on, post};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::wire::{Error, Json, Many, One};
use super::{
    cancellations, events, explain, explain_event, flow_control, functions, gatherings, metadata, reruns, runs,
    signals, skips,
};
use crate::operation::{Operation, Parameter, Place};
use crate::{Api, checkpoint, metrics, userland};

/// An operation, and what answers it; nothing, if that is done elsewhere.
pub(super) struct Row {
    pub(super) operation: Operation,
    methods: Option<MethodRouter<Api>>,
}

/// All routes of v1, below both of its roots.
pub(crate) fn router() -> Router<Api> {
    let mut router = Router::new();
    for Row { operation, methods } in rows() {
        let Some(methods) = methods else { continue };
        router = router.route(operation.path, methods.clone()).route(&format!("/api{}", operation.path), methods);
    }
    for root in ["/v1", "/api/v1"] {
        router = router.route(&format!("{root}/webhooks"), any(super::webhooks));
        router = router.route(&format!("{root}/webhooks/{{id}}"), any(super::webhooks));
        router = router.route(&format!("{root}/http/runs/{{id}}/async"), post(checkpoint::asynchronous));
    }
    router
}

/// A body that is empty.
struct Nothing;

impl JsonSchema for Nothing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Nothing".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(false)
    }
}

/// One event, or several.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Events {
    One(Box<NewEvent>),
    Many(Vec<NewEvent>),
}

/// An event.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct NewEvent {
    /// Not empty, and not one of `inngest/`.
    name: String,
    data: Option<Map<String, Value>>,
    user: Option<Map<String, Value>>,
    /// Of events with one id, a function starts for the first one in 24 hours only.
    id: Option<String>,
    /// When it happened: milliseconds since 1970, or a date of RFC 3339. A later time puts off its runs.
    ts: Json,
    /// The version of its form.
    v: Option<String>,
    /// Its sessions.
    meta: Option<Map<String, Value>>,
}

/// What became of events.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct EventIds {
    /// Their ULIDs, in order; empty if one of them was refused.
    ids: Vec<String>,
    /// HTTP status.
    status: u16,
    /// What is wrong.
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// With which of several events, counted from 0.
    #[schemars(skip_serializing_if = "Option::is_none")]
    event: Option<usize>,
}

/// Whether the server is well.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Health {
    /// HTTP status.
    status: u16,
    message: String,
    /// What it depends on, and how that is.
    #[schemars(skip_serializing_if = "Option::is_none")]
    components: Option<Map<String, Value>>,
}

/// A row of what is answered by a handler.
fn row<H, T>(id: &'static str, method: Method, path: &'static str, summary: &'static str, handler: H) -> Row
where
    H: Handler<T, Api>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let row = Row { methods: Some(on(filter, handler)), ..elsewhere(id, method, path, summary) };
    row.error(401, "There is no key, or none that is known.")
        .error(403, "Pages of other sites may not call this server.")
        .error(503, "The store failed; nothing was changed.")
}

/// A row of what is answered elsewhere.
fn elsewhere(id: &'static str, method: Method, path: &'static str, summary: &'static str) -> Row {
    let mut operation = Operation::new(id, method, path, summary);
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    operation.parameters = names.map(|name| parameter(name, Place::Path, json!({ "type": "string" }), "")).collect();
    Row { operation, methods: None }
}

fn parameter(name: &str, place: Place, schema: Value, description: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        place,
        is_required: place == Place::Path,
        is_repeated: schema["type"] == "array",
        description: description.to_owned(),
        schema,
    }
}

impl Row {
    fn group(mut self, group: &'static str) -> Self {
        self.operation.group = group;
        self
    }

    fn open(mut self) -> Self {
        self.operation.is_open = true;
        self
    }

    fn describe(mut self, description: &'static str) -> Self {
        self.operation.description = description;
        self
    }

    fn query(mut self, name: &str, kind: &str, description: &str) -> Self {
        self.operation.parameters.push(parameter(name, Place::Query, json!({ "type": kind }), description));
        self
    }

    fn repeated(mut self, name: &str, description: &str) -> Self {
        let schema = json!({ "type": "array", "items": { "type": "string" } });
        self.operation.parameters.push(parameter(name, Place::Query, schema, description));
        self
    }

    /// A page of a list: how long, and from where on.
    fn pages(self, limit: &str, cursor: &str) -> Self {
        self.query("limit", "integer", limit).query("cursor", "string", cursor).bad()
    }

    fn body<B: JsonSchema>(mut self) -> Self {
        self.operation = self.operation.body::<B>();
        self.bad()
            .error(408, "The body did not arrive in time.")
            .error(413, "The body, or a part of it, is too large.")
            .error(415, "The body has an unknown content encoding.")
    }

    fn reply<R: JsonSchema>(mut self, description: &'static str) -> Self {
        self.operation = self.operation.reply::<R>(200, description);
        self
    }

    fn error(mut self, status: u16, description: &'static str) -> Self {
        self.operation = self.operation.reply::<Error>(status, description);
        self
    }

    /// Errors in a form of their own.
    fn refused<E: JsonSchema>(mut self, statuses: &[u16], description: &'static str) -> Self {
        for status in statuses {
            self.operation = self.operation.reply::<E>(*status, description);
        }
        self
    }

    /// Bodies of other types than JSON.
    fn media(mut self, media: &'static [&'static str]) -> Self {
        self.operation.media = media;
        self
    }

    fn bad(self) -> Self {
        self.error(400, "The request says what it cannot.")
    }

    fn unknown(self) -> Self {
        self.bad().error(404, "There is no such thing.")
    }
}

/// What there is.
pub(super) fn rows() -> Vec<Row> {
    let groups = [
        ("Events", of_events()),
        ("Runs", of_runs()),
        ("Functions", of_functions()),
        ("Cancellations", of_cancellations()),
        ("Server", of_the_server()),
    ];
    groups.into_iter().flat_map(|(group, rows)| rows.into_iter().map(move |row| row.group(group))).collect()
}

const CURSOR: &str = "Of the last page: `page.cursor`.";

fn of_events() -> Vec<Row> {
    let refused = [400, 401, 408, 413, 415, 503];
    let sent = elsewhere("SendEvents", Method::POST, "/e/{key}", "Sends events, and starts what they trigger")
        .describe("All of them are stored, and on disk, when the reply says so; or none is. `[..]` sends several.")
        .open()
        .body::<Events>()
        .refused::<EventIds>(&refused, "None of them is stored.")
        .reply::<EventIds>("They are stored.");
    let taken =
        row("SendEventsSigned", Method::POST, "/v1/events", "As `/e/{key}`, with a signing key", crate::events::post)
            .body::<Events>()
            .refused::<EventIds>(&refused, "None of them is stored.")
            .reply::<EventIds>("They are stored.");
    vec![
        sent,
        row("ListEvents", Method::GET, "/v1/events", "Events, newest first", events::list)
            .describe("Of the last hour, unless it is asked for others; without those of the server itself.")
            .pages("20 unless it says otherwise, 100 at most.", "`internal_id` of the last event of the page before.")
            .query("name", "string", "Only events of this name.")
            .query("received_after", "string", "A date, or milliseconds since 1970.")
            .query("received_before", "string", "A date, or milliseconds since 1970.")
            .query("include_internal", "boolean", "Also events of the server itself.")
            .reply::<One<Vec<events::Event>>>("A page; one that is not full is the last."),
        taken,
        row("GetEvent", Method::GET, "/v1/events/{id}", "An event by its ULID", events::get).unknown().reply::<One<
            events::Event,
        >>(
            "The event."
        ),
        row("GetEventRuns", Method::GET, "/v1/events/{id}/runs", "The runs that an event started", events::runs)
            .describe("A run of a batch is among the runs of each of its events.")
            .bad()
            .reply::<One<Vec<runs::Run>>>("The runs with their output; none if there is no such event."),
        row("ExplainEvent", Method::GET, "/v1/events/{id}/explain", "What became of an event", explain_event::get)
            .unknown()
            .reply::<One<explain_event::EventExplained>>("Function by function."),
        row("GetEventSkips", Method::GET, "/v1/events/{id}/skips", "Why an event started no run", skips::of_event)
            .pages("20 unless it says otherwise, 100 at most.", CURSOR)
            .reply::<Many<skips::Skipped>>("A page."),
        row("SendSignal", Method::POST, "/v1/signals", "Resumes the run that waits for a signal", signals::send)
            .body::<signals::Signal<'static>>()
            .error(404, "Nobody waits for it.")
            .reply::<One<signals::Resumed>>("The run goes on."),
    ]
}

fn of_runs() -> Vec<Row> {
    vec![
        row("ListRuns", Method::GET, "/v1/runs", "Runs, newest first", runs::list)
            .pages("20 unless it says otherwise, 100 at most.", CURSOR)
            .repeated("status", "Only runs that stand there; all but skipped ones if none is named.")
            .query("app", "string", "Only runs of this app.")
            .query("function", "string", "Only runs of this function, by its id with or without the name of its app.")
            .query("event_id", "string", "Only runs that this event started.")
            .query("started_after", "string", "A date, or milliseconds since 1970.")
            .query("started_before", "string", "A date, or milliseconds since 1970.")
            .query("queued_after", "string", "A date, or milliseconds since 1970.")
            .query("queued_before", "string", "A date, or milliseconds since 1970.")
            .query("order", "string", "`desc`, or `asc` for the oldest first.")
            .query("include_output", "boolean", "Also what they gave.")
            .reply::<Many<runs::Run>>("A page."),
        row("GetRun", Method::GET, "/v1/runs/{id}", "A run, with its output", runs::get)
            .unknown()
            .reply::<One<runs::Run>>("The run."),
        row("CancelRun", Method::DELETE, "/v1/runs/{id}", "Cancels a run", runs::cancel)
            .unknown()
            .reply::<Nothing>("It is cancelled, or had ended before."),
        row("GetRunActions", Method::GET, "/v1/runs/{id}/actions", "What a run has done and will do", runs::actions)
            .unknown()
            .reply::<One<Vec<runs::Action>>>("Steps, failed attempts, and what waits."),
        row("ExplainRun", Method::GET, "/v1/runs/{id}/explain", "What a run waits for", explain::get)
            .unknown()
            .reply::<One<explain::RunExplained>>("Job by job."),
        row("GetRunJobs", Method::GET, "/v1/runs/{id}/jobs", "The jobs of a run", runs::jobs).unknown().reply::<One<
            Vec<runs::Job>,
        >>(
            "At most ten; none if it has ended.",
        ),
        row("AddMetadata", Method::POST, "/v1/runs/{id}/metadata", "Notes about a run, or a part of it", metadata::add)
            .body::<metadata::Request<'static>>()
            .unknown()
            .reply::<Nothing>("They are noted."),
        row("RerunRun", Method::POST, "/v1/runs/{id}/rerun", "Runs a run once more", reruns::one)
            .describe("From its start, or from a step on.")
            .body::<reruns::One<'static>>()
            .unknown()
            .reply::<reruns::New>("The new run."),
        row("RerunRuns", Method::POST, "/v1/reruns", "Runs many runs of a function once more", reruns::many)
            .body::<reruns::Many>()
            .error(404, "There is no such function.")
            .reply::<One<reruns::Counted>>("They are started."),
        row(
            "Checkpoint",
            Method::POST,
            "/v1/checkpoint/{id}/async",
            "Steps that a call has finished",
            checkpoint::asynchronous,
        )
        .describe("For SDKs.")
        .body::<Map<String, Value>>()
        .error(409, "The call does not count any more.")
        .reply::<Nothing>("They are stored."),
        row("ExportSpans", Method::POST, "/v1/traces/userland", "Spans of the user's own code", userland::take)
            .describe("OTLP over HTTP. The reply has the type of the request; one without a type is protobuf.")
            .body::<Map<String, Value>>()
            .media(&userland::MEDIA)
            .refused::<userland::Refused>(&[400, 408, 413, 415, 503], "None of them is stored.")
            .reply::<Map<String, Value>>("They are stored, but for those that are counted as rejected."),
    ]
}

fn of_functions() -> Vec<Row> {
    let held = "New state of the function.";
    vec![
        row("ListFunctions", Method::GET, "/v1/functions", "Functions, by id", functions::list)
            .pages("50 unless it says otherwise, 100 at most.", CURSOR)
            .query("app", "string", "Only functions of this app.")
            .query("archived", "boolean", "Those that are archived, instead of those that are not.")
            .reply::<Many<functions::Described>>("A page."),
        row("GetAppFunctions", Method::GET, "/v1/apps/{app}/functions", "The functions of an app", functions::of_app)
            .bad()
            .reply::<Vec<functions::Described>>("All of them; none if there is no such app."),
        row(
            "PauseFunction",
            Method::POST,
            "/v1/functions/{id}/pause",
            "Stops the calls of a function",
            flow_control::pause,
        )
        .describe("New runs wait, or are skipped.")
        .body::<flow_control::Pause>()
        .unknown()
        .reply::<One<flow_control::HeldFunction>>(held),
        row("ResumeFunction", Method::POST, "/v1/functions/{id}/resume", "Lets a function go on", flow_control::resume)
            .unknown()
            .reply::<One<flow_control::HeldFunction>>(held),
        row(
            "DrainFunction",
            Method::POST,
            "/v1/functions/{id}/drain",
            "Lets no new run of a function start",
            flow_control::drain,
        )
        .unknown()
        .reply::<One<flow_control::HeldFunction>>(held),
        row(
            "GetGatherings",
            Method::GET,
            "/v1/functions/{id}/gatherings",
            "Debounces and batches that wait",
            gatherings::of_function,
        )
        .pages("20 unless it says otherwise, 100 at most.", CURSOR)
        .unknown()
        .reply::<Many<gatherings::Gathered>>("A page."),
        row(
            "GetSkips",
            Method::GET,
            "/v1/functions/{id}/skips",
            "Events that started no run of a function",
            skips::of_function,
        )
        .pages("20 unless it says otherwise, 100 at most.", CURSOR)
        .unknown()
        .reply::<Many<skips::Skipped>>("A page."),
        row("GetFlowControl", Method::GET, "/v1/flow-control", "Limits that functions share", flow_control::get)
            .reply::<One<Map<String, Value>>>("The document."),
        row(
            "SetFlowControl",
            Method::PUT,
            "/v1/flow-control",
            "Sets the limits that functions share",
            flow_control::put,
        )
        .body::<Map<String, Value>>()
        .error(409, "They are set by a file.")
        .reply::<One<Map<String, Value>>>("The document."),
        row("RemoveFlowControl", Method::DELETE, "/v1/flow-control", "Removes these limits", flow_control::remove)
            .error(409, "They are set by a file.")
            .reply::<One<Map<String, Value>>>("They are removed."),
    ]
}

fn of_cancellations() -> Vec<Row> {
    vec![
        row("ListCancellations", Method::GET, "/v1/cancellations", "Cancellations of many runs", cancellations::list)
            .reply::<One<Vec<cancellations::Shown>>>("Those that count still."),
        row(
            "CreateCancellation",
            Method::POST,
            "/v1/cancellations",
            "Cancels many runs of a function",
            cancellations::create,
        )
        .body::<cancellations::Request>()
        .error(404, "There is no such function.")
        .reply::<One<cancellations::Shown>>("All runs that it means are cancelled."),
        row(
            "DeleteCancellation",
            Method::DELETE,
            "/v1/cancellations/{id}",
            "Removes a cancellation",
            cancellations::remove,
        )
        .unknown()
        .reply::<One<cancellations::Removed>>("It counts no more."),
    ]
}

fn of_the_server() -> Vec<Row> {
    let mut ready = elsewhere("Ready", Method::GET, "/ready", "Whether the server may get traffic")
        .open()
        .reply::<Health>("It may.");
    ready.operation = ready.operation.reply::<Health>(503, "It is starting or stopping, or the store is down.");
    vec![
        elsewhere("Health", Method::GET, "/health", "Whether the server is alive").open().reply::<Health>("It is."),
        ready,
        row("Metrics", Method::GET, "/v1/prom/{env}", "What the server counts, for Prometheus", metrics::get)
            .bad()
            .reply::<Nothing>("Text of Prometheus."),
    ]
}
