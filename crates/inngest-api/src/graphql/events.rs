//! Events, as they are shown now.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inngest_core::EventId;
use inngest_state::history::{EventFilter, EventRecord};
use uuid::Uuid;

use super::problem::{Problem, Result};
use super::run_list::PageInfo;
use super::runs::FunctionRunV2;
use super::scalars::{Text, Time, UlidText, UuidText};
use super::search::Search;
use super::session::Session;
use super::triggers::Parts;

/// Longest page of events.
const PAGE_MAX: i64 = 51;
/// Page of events when what is asked for is no page.
const PAGE_DEFAULT: i64 = 40;

/// Names in a filter; more are refused. Each is looked up by itself.
const NAMES_MAX: usize = 1_000;

/// An event.
pub(super) struct EventV2(pub(super) EventRecord);

/// Where an event came from.
#[derive(SimpleObject)]
struct EventSource {
    id: ID,
    name: Option<String>,
    source_kind: String,
}

/// An event.
#[Object]
impl EventV2 {
    #[graphql(name = "envID")]
    async fn env_id(&self) -> UuidText {
        UuidText(Uuid::nil())
    }

    async fn id(&self) -> UlidText {
        self.0.event.id.into()
    }

    async fn idempotency_key(&self) -> Option<String> {
        Some(external_id(&self.0))
    }

    async fn name(&self) -> &str {
        &self.0.event.name
    }

    async fn occurred_at(&self) -> Time {
        self.0.event.ts.into()
    }

    async fn raw(&self) -> String {
        Parts::of(&self.0).sorted()
    }

    async fn received_at(&self) -> Time {
        self.0.event.id.timestamp().into()
    }

    async fn runs(&self, ctx: &Context<'_>) -> Result<Vec<FunctionRunV2>> {
        let runs = Session::of(ctx).runs_of(self.0.event.id).await?;
        Ok(runs.into_iter().map(FunctionRunV2).collect())
    }

    async fn source(&self) -> Option<EventSource> {
        None
    }

    async fn version(&self) -> Option<String> {
        Some(Parts::of(&self.0).version())
    }
}

/// The id that the sender gave, else ours.
pub(super) fn external_id(record: &EventRecord) -> String {
    record.event.external_id.as_ref().map_or_else(|| record.event.id.to_string(), ToString::to_string)
}

/// Which events.
#[derive(InputObject)]
pub(super) struct EventsFilter {
    event_names: Option<Vec<Text>>,
    from: Time,
    #[graphql(default = false)]
    include_internal_events: bool,
    query: Option<Text>,
    until: Option<Time>,
}

/// A page of events.
pub(super) struct EventsConnection {
    events: Vec<EventRecord>,
    has_previous: bool,
    has_next: bool,
    filter: EventFilter,
    search: Option<Search>,
}

/// An event in its list.
#[derive(SimpleObject)]
struct EventsEdge {
    node: EventV2,
    cursor: String,
}

/// A page of events.
#[Object]
impl EventsConnection {
    async fn edges(&self) -> Vec<EventsEdge> {
        let edge = |record: &EventRecord| EventsEdge { cursor: cursor(record), node: EventV2(record.clone()) };
        self.events.iter().map(edge).collect()
    }

    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: self.events.first().map(cursor),
            end_cursor: self.events.last().map(cursor),
        }
    }

    async fn total_count(&self, ctx: &Context<'_>) -> Result<i64> {
        let session = Session::of(ctx);
        let filter = EventFilter { cursor: None, ..self.filter.clone() };
        let count = match &self.search {
            None => session.history().count_events(filter).await?,
            Some(search) => search.count(session, filter).await?,
        };
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

fn cursor(record: &EventRecord) -> String {
    URL_SAFE_NO_PAD.encode(record.event.id.to_string())
}

fn from_cursor(text: &str) -> Result<EventId> {
    let problem = || Problem::InvalidArgument("error decoding eventsv2 cursor: invalid cursor".to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| problem())?;
    std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(problem)
}

/// How long a page of events is.
pub(super) fn page(first: i64) -> usize {
    let length = if (1..=PAGE_MAX).contains(&first) { first } else { PAGE_DEFAULT };
    usize::try_from(length).unwrap_or(1)
}

impl EventsConnection {
    pub(super) async fn of(session: &Session, first: i64, after: Option<&str>, filter: EventsFilter) -> Result<Self> {
        let limit = page(first);
        let names: Vec<String> = filter.event_names.unwrap_or_default().into_iter().map(|name| name.0).collect();
        if names.len() > NAMES_MAX {
            return Err(Problem::InvalidArgument(format!("eventNames: more than {NAMES_MAX} names; ask for fewer")));
        }
        let mut wanted = EventFilter {
            names,
            received_after: Some(filter.from.millis()),
            received_before: Some(filter.until.map_or_else(|| session.now(), Time::millis)),
            include_internal: filter.include_internal_events,
            cursor: after.filter(|after| !after.is_empty()).map(from_cursor).transpose()?,
            limit: limit + 1,
        };
        let search = filter.query.map(|query| Search::of(&query.0)).transpose()?.flatten();
        let mut events = match &search {
            None => session.history().events(wanted.clone()).await?,
            Some(search) => {
                search.narrow_events(&mut wanted);
                search.find(session, wanted.clone(), limit + 1).await?
            }
        };
        let has_next = events.len() > limit;
        events.truncate(limit);
        Ok(Self {
            events,
            has_previous: after.is_some_and(|after| !after.is_empty()),
            has_next,
            filter: wanted,
            search,
        })
    }
}
