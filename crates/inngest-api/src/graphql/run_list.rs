//! Lists of runs.

use std::collections::HashSet;

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inngest_core::{FunctionId, Millis, RunId, RunStatus};
use inngest_state::history::{Between, RunFilter, RunRecord, RunTime};

use super::problem::{Problem, Result};
use super::runs::{FunctionRunStatus, FunctionRunV2};
use super::scalars::{Text, Time, UuidText};
use super::search::Search;
use super::session::Session;

/// Longest page of runs.
const PAGE_MAX: i64 = 400;
/// Page of runs when what is asked for is no page.
const PAGE_DEFAULT: i64 = 40;

/// Where a page begins and ends.
#[derive(SimpleObject)]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) has_previous_page: bool,
    pub(super) start_cursor: Option<String>,
    pub(super) end_cursor: Option<String>,
}

/// A time of a run.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[graphql(name = "RunsV2OrderByField")]
#[expect(clippy::enum_variant_names, reason = "the schema calls them so")]
pub(super) enum OrderByField {
    QueuedAt,
    StartedAt,
    EndedAt,
}

impl From<OrderByField> for RunTime {
    fn from(field: OrderByField) -> Self {
        match field {
            OrderByField::QueuedAt => Self::Queued,
            OrderByField::StartedAt => Self::Started,
            OrderByField::EndedAt => Self::Ended,
        }
    }
}

/// Oldest or newest first.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[graphql(name = "RunsOrderByDirection")]
pub(super) enum Direction {
    Asc,
    Desc,
}

/// How runs are ordered.
#[derive(InputObject)]
#[graphql(name = "RunsV2OrderBy")]
pub(super) struct OrderBy {
    field: OrderByField,
    direction: Direction,
}

/// Which runs.
#[derive(InputObject)]
#[graphql(name = "RunsFilterV2")]
pub(super) struct Filter {
    from: Time,
    until: Option<Time>,
    #[graphql(default_with = "Some(OrderByField::QueuedAt)")]
    time_field: Option<OrderByField>,
    status: Option<Vec<FunctionRunStatus>>,
    #[graphql(name = "functionIDs")]
    function_ids: Option<Vec<UuidText>>,
    #[graphql(name = "appIDs")]
    app_ids: Option<Vec<UuidText>>,
    is_deferred: Option<bool>,
    query: Option<Text>,
}

/// A page of runs.
pub(super) struct RunsV2Connection {
    runs: Vec<RunRecord>,
    has_next: bool,
    filter: RunFilter,
    search: Option<Search>,
}

/// A run in its list.
#[derive(SimpleObject)]
pub(super) struct FunctionRunV2Edge {
    node: FunctionRunV2,
    cursor: String,
}

/// A page of runs.
#[Object]
impl RunsV2Connection {
    async fn edges(&self) -> Vec<FunctionRunV2Edge> {
        let edge = |run: &RunRecord| FunctionRunV2Edge { cursor: self.cursor(run), node: FunctionRunV2(run.clone()) };
        self.runs.iter().map(edge).collect()
    }

    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: false,
            start_cursor: self.runs.first().map(|run| self.cursor(run)),
            end_cursor: self.runs.last().map(|run| self.cursor(run)),
        }
    }

    async fn total_count(&self, ctx: &Context<'_>, preview: Option<bool>) -> Result<i64> {
        // Both lists of the peer are one here.
        let _either = preview;
        let session = Session::of(ctx);
        let filter = RunFilter { cursor: None, ..self.filter.clone() };
        let count = match &self.search {
            None => session.history().count_runs(filter).await?,
            Some(search) => search.count(session, filter).await?,
        };
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl RunsV2Connection {
    pub(super) async fn of(
        session: &Session,
        first: i64,
        after: Option<&str>,
        order_by: &[OrderBy],
        filter: Filter,
    ) -> Result<Self> {
        let limit = page(first);
        let mut wanted = of_filter(session, &filter).await?;
        // Times are told in milliseconds and the id settles the rest, so further fields would decide nothing.
        if let Some(OrderBy { field, direction }) = order_by.first() {
            wanted.order = (*field).into();
            wanted.ascending = *direction == Direction::Asc;
        }
        wanted.cursor =
            after.filter(|after| !after.is_empty()).map(|after| from_cursor(after, wanted.order)).transpose()?;
        wanted.limit = limit + 1;
        let search = filter.query.map(|query| Search::of(&query.0)).transpose()?.flatten();
        let mut runs = match &search {
            None => session.history().runs(wanted.clone()).await?,
            Some(search) => {
                search.narrow_runs(session, &mut wanted).await?;
                let found = search.find(session, wanted.clone(), wanted.limit).await?;
                found.into_iter().map(|(run, _)| run).collect()
            }
        };
        let has_next = runs.len() > limit;
        runs.truncate(limit);
        Ok(Self { runs, has_next, filter: wanted, search })
    }

    fn cursor(&self, run: &RunRecord) -> String {
        let at = run.time(self.filter.order).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(format!("{}:{at}:{}", order_code(self.filter.order), run.id))
    }
}

/// How long a page of runs is.
pub(super) fn page(first: i64) -> usize {
    let length = if first > 0 { first.min(PAGE_MAX) } else { PAGE_DEFAULT };
    usize::try_from(length).unwrap_or(1)
}

fn order_code(order: RunTime) -> char {
    match order {
        RunTime::Queued => 'q',
        RunTime::Started => 's',
        RunTime::Ended => 'e',
    }
}

/// A cursor holds only in the order in which it was given.
fn from_cursor(text: &str, order: RunTime) -> Result<(Millis, RunId)> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = std::str::from_utf8(&bytes).ok()?.strip_prefix(order_code(order))?.strip_prefix(':')?;
        let (at, id) = text.split_once(':')?;
        Some((Millis(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| Problem::InvalidArgument("invalid cursor".to_owned()))
}

async fn of_filter(session: &Session, filter: &Filter) -> Result<RunFilter> {
    let between = Between {
        after: Some(filter.from.millis()),
        before: Some(filter.until.map_or_else(|| session.now(), Time::millis)),
    };
    let statuses: Vec<RunStatus> = filter.status.iter().flatten().map(|status| RunStatus::from(*status)).collect();
    let mut wanted = RunFilter {
        statuses,
        functions: functions(session, filter).await?,
        deferred: filter.is_deferred,
        ..RunFilter::default()
    };
    match filter.time_field.unwrap_or(OrderByField::QueuedAt) {
        OrderByField::QueuedAt => wanted.queued = between,
        OrderByField::StartedAt => wanted.started = between,
        OrderByField::EndedAt => wanted.ended = between,
    }
    Ok(wanted)
}

/// The functions that a filter names, by themselves or by their apps; `None` when it names none.
async fn functions(session: &Session, filter: &Filter) -> Result<Option<Vec<FunctionId>>> {
    let named: Option<Vec<FunctionId>> = filter
        .function_ids
        .as_ref()
        .filter(|ids| !ids.is_empty())
        .map(|ids| ids.iter().map(|id| FunctionId(id.0)).collect());
    let Some(apps) = filter.app_ids.as_ref().filter(|ids| !ids.is_empty()) else { return Ok(named) };
    let apps: HashSet<_> = apps.iter().map(|id| id.0).collect();
    let of_apps = session.functions().await?.filter(|(function, _)| {
        apps.contains(&function.app.0) && named.as_ref().is_none_or(|named| named.contains(&function.id))
    });
    Ok(Some(of_apps.map(|(function, _)| function.id).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_a_length() {
        for (first, length) in [(-1, 40), (0, 40), (1, 1), (399, 399), (400, 400), (500, 400), (i64::MAX, 400)] {
            assert_eq!(page(first), length, "{first}");
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["x", "!!", "cTp4OnA", ""] {
            assert!(from_cursor(text, RunTime::Queued).is_err(), "{text}");
        }
        let cursor = URL_SAFE_NO_PAD.encode("q:5:01M85QG3Q1DH641JJ6C83V6CS8");
        assert!(from_cursor(&cursor, RunTime::Queued).is_ok());
        assert!(from_cursor(&cursor, RunTime::Ended).is_err(), "that of another order");
    }
}
