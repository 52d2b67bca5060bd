//! Runs, as older clients know them.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use inngest_core::{EventId, RunId, RunStatus};
use inngest_state::history::RunRecord;

use super::functions::Function;
use super::history::{self, RunHistoryItem};
use super::problem::{Nullable, Problem, Result, nullable};
use super::runs::{self, FunctionRunStatus};
use super::scalars::{Time, UlidText, text};
use super::session::Session;
use super::stream::{Event, Workspace};
use super::triggers;

/// What a step waits for.
#[derive(SimpleObject)]
pub(super) struct StepEventWait {
    event_name: Option<String>,
    expression: Option<String>,
    expiry_time: Time,
}

/// A run, as older clients know it.
pub(super) struct FunctionRun(pub(super) RunRecord);

/// A run, as older clients know it.
#[Object]
impl FunctionRun {
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    #[graphql(name = "functionID")]
    async fn function_id(&self) -> String {
        self.0.function.to_string()
    }

    async fn function(&self, ctx: &Context<'_>) -> Nullable<Function> {
        Some(Session::of(ctx).function(self.0.function).await.map(Function))
    }

    async fn workspace(&self) -> Option<Workspace> {
        None
    }

    async fn event(&self, ctx: &Context<'_>) -> Result<Option<Event>> {
        let Some(event) = self.0.event_ids.first() else { return Ok(None) };
        Ok(Session::of(ctx).event(*event).await?.map(Event))
    }

    async fn events(&self, ctx: &Context<'_>) -> Result<Vec<Event>> {
        Ok(Session::of(ctx).events(&self.0.event_ids).await?.into_iter().map(Event).collect())
    }

    #[graphql(name = "batchID")]
    async fn batch_id(&self) -> Option<UlidText> {
        triggers::batch_id(&self.0)
    }

    async fn batch_created_at(&self) -> Option<Time> {
        triggers::batch_began(&self.0).map(Time::from)
    }

    async fn status(&self) -> Option<FunctionRunStatus> {
        Some(match self.0.status {
            RunStatus::Scheduled => FunctionRunStatus::Running,
            status => status.into(),
        })
    }

    async fn waiting_for(&self) -> Option<StepEventWait> {
        None
    }

    #[graphql(deprecation)]
    async fn pending_steps(&self, ctx: &Context<'_>) -> Result<Option<i64>> {
        let view = Session::of(ctx).trace(self.0.id).await?;
        Ok(view.and_then(|view| i64::try_from(view.trace.jobs.len()).ok()))
    }

    async fn started_at(&self) -> Option<Time> {
        Some(self.0.queued_at.into())
    }

    async fn finished_at(&self) -> Option<Time> {
        self.0.ended_at.map(Time::from)
    }

    async fn output(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if self.0.status == RunStatus::Cancelled {
            return Ok(Some("{}".to_owned()));
        }
        let Some(output) = runs::output(&self.0) else { return Ok(None) };
        // What is no SDK's reply is text, which is stored as a JSON string and told as it came.
        if output.starts_with(b"\"") {
            let view = Session::of(ctx).trace(self.0.id).await?;
            let last = view.as_ref().and_then(|view| view.trace.last_call.as_ref()?.response.as_ref());
            if last.is_some_and(|reply| reply.status < 300 && !reply.headers.names("X-Inngest-Sdk")) {
                return Ok(serde_json::from_slice(&output).ok());
            }
        }
        Ok(Some(text(&output)))
    }

    async fn history(&self, ctx: &Context<'_>) -> Result<Vec<RunHistoryItem>> {
        let view = Session::of(ctx).trace(self.0.id).await?;
        Ok(view.map(|view| history::of(&view)).unwrap_or_default())
    }

    async fn history_item_output(&self, ctx: &Context<'_>, id: UlidText) -> Result<Option<String>> {
        let view = Session::of(ctx).trace(self.0.id).await?;
        Ok(view.and_then(|view| history::output(&view, id)))
    }

    #[graphql(name = "eventID")]
    async fn event_id(&self) -> ID {
        self.0.event_ids.first().map_or_else(|| ID(String::new()), |event: &EventId| event.into())
    }

    async fn cron(&self, ctx: &Context<'_>) -> Nullable<String> {
        nullable(triggers::cron(Session::of(ctx), &self.0).await)
    }
}

/// Which run.
#[derive(InputObject)]
pub(super) struct FunctionRunQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    function_run_id: ID,
}

/// One run by its id.
pub(super) async fn find(session: &Session, query: &FunctionRunQuery) -> Result<FunctionRun> {
    let id = query.function_run_id.as_str();
    if id.is_empty() {
        return Err(Problem::InvalidArgument("function run id is required".to_owned()));
    }
    let id = UlidText::read(id).map_err(|problem| Problem::InvalidArgument(format!("invalid run ID: {problem}")))?;
    by_id(session, RunId(id.0)).await
}

pub(super) async fn by_id(session: &Session, id: RunId) -> Result<FunctionRun> {
    session.run(id).await?.map(FunctionRun).ok_or_else(|| Problem::NotFound("not found".to_owned()))
}
