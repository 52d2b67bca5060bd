//! Events, as older clients know them, and the stream of what has started runs.

use std::time::Duration;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use inngest_core::event::is_internal;
use inngest_core::{EventId, Millis, RunStatus};
use inngest_state::history::{EventFilter, EventRecord, RunRecord};

use super::events::external_id;
use super::problem::{Problem, Result};
use super::runs_v1::FunctionRun;
use super::scalars::{Time, UlidText, text};
use super::session::Session;
use super::triggers::{self, Parts};

/// Events of `events`, and how far it looks back.
const EVENTS_MAX: usize = 51;
const EVENTS_WITHIN: Duration = Duration::from_secs(3_600);

/// Items of `stream`; more are cut off.
const STREAM_MAX: i64 = 1_000;
/// Events that `stream` looks at to find those it shows.
const STREAM_LOOKED_AT_MAX: usize = 20_000;
/// Events that it reads at a time.
const STREAM_PAGE: usize = 1_000;

/// The one environment.
#[derive(SimpleObject)]
pub(super) struct Workspace {
    id: ID,
}

/// What became of an event.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
enum EventStatus {
    Running,
    Completed,
    Paused,
    Failed,
    PartiallyFailed,
    NoFunctions,
}

/// An event, as older clients know it.
pub(super) struct Event(pub(super) EventRecord);

/// An event, as older clients know it.
#[Object]
impl Event {
    async fn id(&self) -> UlidText {
        self.0.event.id.into()
    }

    #[graphql(name = "externalID")]
    async fn external_id(&self) -> Option<String> {
        Some(external_id(&self.0))
    }

    async fn workspace(&self) -> Option<Workspace> {
        None
    }

    async fn name(&self) -> Option<&str> {
        Some(&self.0.event.name)
    }

    async fn created_at(&self) -> Option<Time> {
        Some(self.0.event.ts.into())
    }

    async fn payload(&self) -> Option<String> {
        Some(Parts::of(&self.0).data.map_or_else(|| "{}".to_owned(), text))
    }

    async fn schema(&self) -> Option<String> {
        None
    }

    async fn status(&self, ctx: &Context<'_>) -> Result<Option<EventStatus>> {
        let runs = Session::of(ctx).runs_of(self.0.event.id).await?;
        let is = |status: RunStatus| move |run: &RunRecord| run.status == status;
        Ok(Some(if runs.is_empty() {
            EventStatus::NoFunctions
        } else if runs.iter().all(is(RunStatus::Failed)) {
            EventStatus::Failed
        } else if runs.iter().any(is(RunStatus::Failed)) {
            EventStatus::PartiallyFailed
        } else if runs.iter().all(|run| run.status.is_final()) {
            EventStatus::Completed
        } else {
            EventStatus::Running
        }))
    }

    async fn pending_runs(&self, ctx: &Context<'_>) -> Result<Option<i64>> {
        let runs = Session::of(ctx).runs_of(self.0.event.id).await?;
        Ok(i64::try_from(runs.iter().filter(|run| !run.status.is_final()).count()).ok())
    }

    async fn total_runs(&self, ctx: &Context<'_>) -> Result<Option<i64>> {
        Ok(i64::try_from(Session::of(ctx).runs_of(self.0.event.id).await?.len()).ok())
    }

    async fn raw(&self) -> Option<String> {
        Some(Parts::of(&self.0).plain())
    }

    async fn function_runs(&self, ctx: &Context<'_>) -> Result<Option<Vec<FunctionRun>>> {
        let runs = primary_runs(Session::of(ctx), self.0.event.id).await?;
        Ok(Some(runs).filter(|runs| !runs.is_empty()))
    }
}

/// The runs of which an event is the first one.
async fn primary_runs(session: &Session, event: EventId) -> Result<Vec<FunctionRun>> {
    let runs = session.runs_of(event).await?;
    Ok(runs.into_iter().filter(|run| run.event_ids.first() == Some(&event)).map(FunctionRun).collect())
}

/// Which event.
#[derive(InputObject)]
pub(super) struct EventQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    event_id: ID,
}

/// Which events.
#[derive(InputObject)]
pub(super) struct EventsQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    last_event_id: Option<ID>,
}

/// One event, by our id.
pub(super) async fn event(session: &Session, query: &EventQuery) -> Result<Event> {
    let unknown = || Problem::NotFound(format!("event not found: {}", *query.event_id));
    let id = query.event_id.parse().map_err(|_| unknown())?;
    session.event(id).await?.map(Event).ok_or_else(unknown)
}

/// The newest events of the last hour.
pub(super) async fn events(session: &Session, query: &EventsQuery) -> Result<Vec<Event>> {
    let within = i64::try_from(EVENTS_WITHIN.as_millis()).unwrap_or(i64::MAX);
    let filter = EventFilter {
        received_after: Some(Millis(session.now().0 - within)),
        cursor: query.last_event_id.as_ref().map(bound).transpose()?,
        limit: EVENTS_MAX,
        ..EventFilter::default()
    };
    Ok(session.history().events(filter).await?.into_iter().map(Event).collect())
}

fn bound(id: &ID) -> Result<EventId> {
    UlidText::read(id).map(|id| EventId(id.0)).map_err(|problem| Problem::InvalidArgument(problem.to_owned()))
}

/// Which part of the stream.
#[derive(InputObject)]
pub(super) struct StreamQuery {
    after: Option<ID>,
    before: Option<ID>,
    #[graphql(default = 20)]
    pub(super) limit: i64,
    include_internal_events: Option<bool>,
}

/// What starts runs.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
enum StreamType {
    Event,
    Cron,
}

/// An event, or a time of a schedule, with the runs it started.
pub(super) struct StreamItem(EventRecord);

/// An event, or a time of a schedule, with the runs it started.
#[Object]
impl StreamItem {
    async fn id(&self) -> ID {
        self.0.event.id.into()
    }

    async fn trigger(&self) -> String {
        self.schedule().unwrap_or_else(|| self.0.event.name.to_string())
    }

    async fn r#type(&self) -> StreamType {
        if self.schedule().is_some() { StreamType::Cron } else { StreamType::Event }
    }

    async fn created_at(&self) -> Time {
        self.0.event.ts.into()
    }

    async fn runs(&self, ctx: &Context<'_>) -> Result<Option<Vec<Option<FunctionRun>>>> {
        let runs = primary_runs(Session::of(ctx), self.0.event.id).await?;
        Ok(Some(runs.into_iter().map(Some).collect()))
    }

    async fn in_batch(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx).runs_of(self.0.event.id).await?.iter().any(triggers::is_batch))
    }
}

impl StreamItem {
    fn schedule(&self) -> Option<String> {
        let is_scheduled = &*self.0.event.name == inngest_core::event::SCHEDULED_TIMER;
        is_scheduled.then(|| Parts::of(&self.0).datum("/cron")).flatten()
    }
}

/// How many items there may be.
pub(super) fn length(limit: i64) -> usize {
    usize::try_from(limit.clamp(0, STREAM_MAX)).unwrap_or(0)
}

/// Events, newest first; those of the server itself if they started something, or when asked for.
pub(super) async fn stream(session: &Session, query: &StreamQuery) -> Result<Vec<StreamItem>> {
    let limit = length(query.limit);
    let all = query.include_internal_events == Some(true);
    let after = query.after.as_ref().map(bound).transpose()?;
    let mut cursor = query.before.as_ref().map(bound).transpose()?;
    let (mut items, mut looked_at) = (Vec::new(), 0);
    while items.len() < limit && looked_at < STREAM_LOOKED_AT_MAX {
        let page = if all { limit } else { STREAM_PAGE };
        let received_after = after.map(EventId::timestamp);
        let filter =
            EventFilter { include_internal: true, received_after, cursor, limit: page, ..EventFilter::default() };
        let events = session.history().events(filter).await?;
        cursor = events.last().map(|record| record.event.id);
        let is_last = events.len() < page;
        looked_at += events.len();
        let newer = events.into_iter().filter(|record| after.is_none_or(|after| record.event.id > after));
        let shown = newer.filter(|record| all || !record.runs.is_empty() || !is_internal(&record.event.name));
        items.extend(shown.take(limit - items.len()).map(StreamItem));
        if is_last {
            break;
        }
    }
    Ok(items)
}
