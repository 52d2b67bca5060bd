//! Runs, as they are shown now.

use async_graphql::{Context, Enum, EnumType as _, Object};
use inngest_core::{Payload, RunId, RunStatus};
use inngest_state::DeferStatus;
use inngest_state::history::{DeferRecord, RunRecord};
use std::sync::Arc;

use super::apps::App;
use super::functions::Function;
use super::problem::{Nullable, Problem, Result, nullable};
use super::scalars::{Raw, Time, UlidText, UuidText};
use super::session::Session;
use super::spans::RunTraceSpan;
use super::triggers::{self, Parts};
use crate::trace::{self, RunView, trace_id};

/// Where a run stands.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub(super) enum FunctionRunStatus {
    Completed,
    Failed,
    Cancelled,
    Running,
    Queued,
    Skipped,
}

impl FunctionRunStatus {
    /// The text of a status, as searches compare it.
    pub(super) fn text(of: RunStatus) -> &'static str {
        let mut items = Self::items().iter();
        items.find(|item| item.value == Self::from(of)).map_or("", |item| item.name)
    }
}

impl From<RunStatus> for FunctionRunStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => Self::Completed,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Running => Self::Running,
            RunStatus::Scheduled => Self::Queued,
            RunStatus::Skipped => Self::Skipped,
        }
    }
}

impl From<FunctionRunStatus> for RunStatus {
    fn from(status: FunctionRunStatus) -> Self {
        match status {
            FunctionRunStatus::Completed => Self::Completed,
            FunctionRunStatus::Failed => Self::Failed,
            FunctionRunStatus::Cancelled => Self::Cancelled,
            FunctionRunStatus::Running => Self::Running,
            FunctionRunStatus::Queued => Self::Scheduled,
            FunctionRunStatus::Skipped => Self::Skipped,
        }
    }
}

/// What a run gave: its result, or the error as it was sent.
pub(super) fn output(run: &RunRecord) -> Option<Payload> {
    match run.status {
        RunStatus::Completed | RunStatus::Failed => run.output.clone().or_else(|| run.error.clone()),
        _ => None,
    }
}

/// A run.
pub(super) struct FunctionRunV2(pub(super) RunRecord);

/// A run.
#[Object]
impl FunctionRunV2 {
    async fn id(&self) -> UlidText {
        self.0.id.into()
    }

    #[graphql(name = "appID")]
    async fn app_id(&self, ctx: &Context<'_>) -> Result<UuidText> {
        Ok(UuidText(Session::of(ctx).function(self.0.function).await?.app.0))
    }

    async fn app(&self, ctx: &Context<'_>) -> Result<App> {
        let session = Session::of(ctx);
        Ok(App(session.app(session.function(self.0.function).await?.app).await?))
    }

    #[graphql(name = "functionID")]
    async fn function_id(&self) -> UuidText {
        UuidText(self.0.function.0)
    }

    async fn function(&self, ctx: &Context<'_>) -> Result<Function> {
        Ok(Function(Session::of(ctx).function(self.0.function).await?))
    }

    #[graphql(name = "traceID")]
    async fn trace_id(&self) -> String {
        trace_id(self.0.id)
    }

    async fn queued_at(&self) -> Time {
        self.0.queued_at.into()
    }

    async fn started_at(&self) -> Option<Time> {
        self.0.started_at.map(Time::from)
    }

    async fn ended_at(&self) -> Option<Time> {
        self.0.ended_at.filter(|_| self.0.status != RunStatus::Skipped).map(Time::from)
    }

    async fn status(&self) -> FunctionRunStatus {
        self.0.status.into()
    }

    #[graphql(name = "sourceID")]
    async fn source_id(&self) -> Option<String> {
        None
    }

    #[graphql(name = "triggerIDs")]
    async fn trigger_ids(&self) -> Vec<UlidText> {
        self.0.event_ids.iter().copied().map(UlidText::from).collect()
    }

    async fn event_name(&self) -> Option<&str> {
        let has_one = !self.0.is_scheduled() && !triggers::is_batch(&self.0);
        Some(&*self.0.event_name).filter(|_| has_one)
    }

    async fn is_batch(&self) -> bool {
        triggers::is_batch(&self.0)
    }

    async fn batch_created_at(&self) -> Option<Time> {
        triggers::batch_began(&self.0).map(Time::from)
    }

    async fn cron_schedule(&self, ctx: &Context<'_>) -> Nullable<String> {
        nullable(triggers::cron(Session::of(ctx), &self.0).await)
    }

    async fn output(&self) -> Option<Raw> {
        output(&self.0).map(Raw)
    }

    async fn trace(&self, ctx: &Context<'_>, preview: Option<bool>) -> Nullable<RunTraceSpan> {
        let shown = |view: Arc<RunView>| {
            let root = if preview == Some(true) { trace::tree(&view) } else { trace::legacy(&view) };
            RunTraceSpan::of(&view, root)
        };
        nullable(Session::of(ctx).trace(self.0.id).await.map(|view| view.map(shown)))
    }

    #[graphql(name = "hasAI")]
    async fn has_ai(&self, ctx: &Context<'_>) -> Result<bool> {
        Session::of(ctx).has_ai(self.0.id).await
    }

    async fn defers(&self, ctx: &Context<'_>) -> Result<Vec<RunDefer>> {
        Ok(Session::of(ctx).defers(self.0.id).await?.into_iter().map(RunDefer).collect())
    }

    async fn sibling_defers(&self, ctx: &Context<'_>) -> Result<Vec<RunDefer>> {
        let session = Session::of(ctx);
        let Some(parent) = self.parent(session).await? else { return Ok(Vec::new()) };
        let defers = session.defers(parent).await?;
        Ok(defers.into_iter().filter(|defer| defer.run != Some(self.0.id)).map(RunDefer).collect())
    }

    async fn deferred_from(&self, ctx: &Context<'_>) -> Result<Vec<RunDeferredFrom>> {
        let session = Session::of(ctx);
        let Some(parent) = self.parent(session).await? else { return Ok(Vec::new()) };
        let run = session.run(parent).await?;
        Ok(run.map(RunDeferredFrom).into_iter().collect())
    }

    async fn is_deferred(&self) -> bool {
        self.0.is_deferred()
    }
}

impl FunctionRunV2 {
    /// The run that has deferred this one.
    async fn parent(&self, session: &Session) -> Result<Option<RunId>> {
        let Some(event) = self.0.event_ids.first().filter(|_| self.0.is_deferred()) else { return Ok(None) };
        let record = session.event(*event).await?;
        Ok(record.and_then(|record| Parts::of(&record).datum("/_inngest/parent_run_id")?.parse().ok()))
    }
}

/// What becomes of a deferred run.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
enum RunDeferStatus {
    Scheduled,
    Aborted,
    Rejected,
}

/// A run that starts when another one ends.
pub(super) struct RunDefer(DeferRecord);

/// A run that starts when another one ends.
#[Object]
impl RunDefer {
    #[graphql(name = "hashedDeferID")]
    async fn hashed_defer_id(&self) -> &str {
        self.0.defer.id.as_str()
    }

    /// The id before it was hashed, which is not kept.
    #[graphql(name = "userlandDeferID")]
    async fn userland_defer_id(&self) -> &str {
        match &*self.0.defer.name {
            "" => self.0.defer.id.as_str(),
            name => name,
        }
    }

    async fn fn_slug(&self) -> &str {
        &self.0.defer.function
    }

    async fn status(&self) -> RunDeferStatus {
        match self.0.defer.status {
            DeferStatus::AfterRun => RunDeferStatus::Scheduled,
            DeferStatus::Aborted => RunDeferStatus::Aborted,
            DeferStatus::Rejected => RunDeferStatus::Rejected,
        }
    }

    async fn function(&self, ctx: &Context<'_>) -> Option<Function> {
        Session::of(ctx).registry().by_slug(&self.0.defer.function).map(|function| Function(Arc::clone(function)))
    }

    #[graphql(name = "runID")]
    async fn run_id(&self) -> Option<UlidText> {
        self.0.run.map(UlidText::from)
    }

    async fn run(&self, ctx: &Context<'_>) -> Result<Option<FunctionRunV2>> {
        let Some(run) = self.0.run else { return Ok(None) };
        Ok(Session::of(ctx).run(run).await?.map(FunctionRunV2))
    }
}

/// The run that has deferred another one.
pub(super) struct RunDeferredFrom(RunRecord);

/// The run that has deferred another one.
#[Object]
impl RunDeferredFrom {
    #[graphql(name = "runID")]
    async fn run_id(&self) -> UlidText {
        self.0.id.into()
    }

    async fn function(&self, ctx: &Context<'_>) -> Result<Function> {
        Ok(Function(Session::of(ctx).function(self.0.function).await?))
    }

    async fn run(&self) -> Option<FunctionRunV2> {
        Some(FunctionRunV2(self.0.clone()))
    }
}

/// A run by the text of its id.
pub(super) async fn find(session: &Session, text: &str) -> Result<RunRecord> {
    let id =
        UlidText::read(text).map_err(|problem| Problem::InvalidArgument(format!("error parsing runID: {problem}")))?;
    let found = session.run(RunId(id.0)).await?;
    found.ok_or_else(|| Problem::NotFound(format!("error retrieving run: run not found: {text}")))
}
