//! What can be asked.

use async_graphql::{Context, ID, InputObject, Object};
use inngest_core::{AppId, EventId, RunId};

use super::apps::{self, App, AppsFilter};
use super::events::{EventV2, EventsConnection, EventsFilter};
use super::functions::Function;
use super::problem::{Nullable, Problem, Result};
use super::run_list::{self, RunsV2Connection};
use super::runs::{self, FunctionRunV2};
use super::runs_v1::{self, FunctionRun, FunctionRunQuery};
use super::scalars::{Text, UlidText, UuidText};
use super::session::Session;
use super::spans::{self, RunTraceSpan, RunTraceSpanOutput};
use super::stream::{self, Event, EventQuery, EventsQuery, StreamItem, StreamQuery};
use super::triggers::RunTraceTrigger;
use super::workers::{
    self, DebugRun, DebugRunQuery, DebugSession, DebugSessionQuery, WorkerConnection, WorkerConnections,
};
use crate::trace;

/// The one environment there is.
pub(super) fn local() -> ID {
    ID("local".to_owned())
}

/// Which function.
#[derive(InputObject)]
pub(super) struct FunctionQuery {
    #[graphql(default_with = "local()")]
    workspace_id: ID,
    function_slug: Text,
}

/// What can be asked.
pub(crate) struct Query;

/// What can be asked.
#[Object]
impl Query {
    async fn apps(&self, ctx: &Context<'_>, filter: Option<AppsFilter>) -> Vec<App> {
        apps::list(Session::of(ctx), filter.as_ref())
    }

    async fn app(&self, ctx: &Context<'_>, id: UuidText) -> Nullable<App> {
        let registry = &Session::of(ctx).registry;
        let app = registry.app(&AppId(id.0)).filter(|app| app.archived_at.is_none());
        Some(app.map(|app| App(app.clone())).ok_or_else(|| Problem::NotFound("app not found".to_owned())))
    }

    #[graphql(complexity = "stream::length(query.limit).max(1) * (child_complexity + 1)")]
    async fn stream(&self, ctx: &Context<'_>, query: StreamQuery) -> Result<Vec<StreamItem>> {
        stream::stream(Session::of(ctx), &query).await
    }

    async fn event(&self, ctx: &Context<'_>, query: EventQuery) -> Nullable<Event> {
        Some(stream::event(Session::of(ctx), &query).await)
    }

    async fn events(&self, ctx: &Context<'_>, query: EventsQuery) -> Nullable<Vec<Event>> {
        Some(stream::events(Session::of(ctx), &query).await)
    }

    #[graphql(name = "eventV2")]
    async fn event_v2(&self, ctx: &Context<'_>, id: UlidText) -> Result<EventV2> {
        let event = Session::of(ctx).event(EventId(id.0)).await?;
        event.map(EventV2).ok_or_else(|| Problem::NotFound(format!("event not found: {}", id.0)))
    }

    #[graphql(name = "eventsV2", complexity = "super::events::page(first) * (child_complexity + 1)")]
    async fn events_v2(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 40)] first: i64,
        after: Option<Text>,
        filter: EventsFilter,
    ) -> Result<EventsConnection> {
        EventsConnection::of(Session::of(ctx), first, after.as_ref().map(|after| &*after.0), filter).await
    }

    async fn function_by_slug(&self, ctx: &Context<'_>, query: FunctionQuery) -> Nullable<Function> {
        let registry = &Session::of(ctx).registry;
        let found = registry.by_slug(&query.function_slug.0).filter(|function| registry.is_active(function));
        let unknown = || Problem::NotFound(format!("function not found: {}", query.function_slug.0));
        Some(found.map(|function| Function(function.clone())).ok_or_else(unknown))
    }

    async fn functions(&self, ctx: &Context<'_>) -> Option<Vec<Function>> {
        Some(Function::live(&Session::of(ctx).registry, |_| true))
    }

    async fn function_run(&self, ctx: &Context<'_>, query: FunctionRunQuery) -> Nullable<FunctionRun> {
        Some(runs_v1::find(Session::of(ctx), &query).await)
    }

    #[graphql(complexity = "run_list::page(first) * (child_complexity + 1)")]
    async fn runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 100)] first: i64,
        after: Option<Text>,
        order_by: Vec<run_list::OrderBy>,
        filter: run_list::Filter,
        preview: Option<bool>,
    ) -> Result<RunsV2Connection> {
        // Both lists of the peer are one here.
        let _either = preview;
        RunsV2Connection::of(Session::of(ctx), first, after.as_ref().map(|after| &*after.0), &order_by, filter).await
    }

    async fn run(&self, ctx: &Context<'_>, #[graphql(name = "runID")] run_id: Text) -> Nullable<FunctionRunV2> {
        Some(runs::find(Session::of(ctx), &run_id.0).await.map(FunctionRunV2))
    }

    #[graphql(name = "runTraceSpanOutputByID")]
    async fn run_trace_span_output_by_id(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "outputID")] output_id: Text,
    ) -> Result<RunTraceSpanOutput> {
        spans::output(Session::of(ctx), &output_id.0).await
    }

    async fn run_trigger(&self, ctx: &Context<'_>, #[graphql(name = "runID")] run_id: Text) -> Result<RunTraceTrigger> {
        let session = Session::of(ctx);
        let run = runs::find(session, &run_id.0).await?;
        RunTraceTrigger::of(session, &run).await
    }

    async fn run_trace(&self, ctx: &Context<'_>, #[graphql(name = "runID")] run_id: Text) -> Result<RunTraceSpan> {
        let id = UlidText::read(&run_id.0)
            .map_err(|problem| Problem::InvalidArgument(format!("error parsing runID: {problem}")))?;
        let view = Session::of(ctx).trace(RunId(id.0)).await?;
        // Dashboards wait on this text.
        let view = view.ok_or_else(|| Problem::NotFound(format!("trace run not found: {}", run_id.0)))?;
        Ok(RunTraceSpan::of(&view, trace::tree(&view)))
    }

    async fn debug_run(&self, query: DebugRunQuery) -> Option<DebugRun> {
        Some(workers::debug_run(&query))
    }

    async fn debug_session(&self, query: DebugSessionQuery) -> Nullable<DebugSession> {
        Some(workers::debug_session(&query))
    }

    async fn worker_connections(
        &self,
        #[graphql(default = 100)] first: i64,
        after: Option<Text>,
        order_by: Vec<workers::OrderBy>,
        filter: workers::Filter,
    ) -> WorkerConnections {
        let _whatever_is_asked_for = (first, after, order_by, filter);
        WorkerConnections::none()
    }

    async fn worker_connection(&self, connection_id: UlidText) -> Nullable<WorkerConnection> {
        workers::connection(connection_id.0)
    }
}
