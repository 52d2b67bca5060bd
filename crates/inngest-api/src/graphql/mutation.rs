//! What can be done.

use std::sync::Arc;

use async_graphql::{Context, InputObject, Object};
use http::uri::Authority;
use inngest_core::{AppId, Payload, RunId, RunStatus, canonical, sessions};
use inngest_executor::apps::normalise_url;
use inngest_executor::engine::{Cancelled, FromStep, InvokeError, RerunError};
use inngest_executor::plan::internal_event::Invocation;

use super::apps::App;
use super::problem::{Nullable, Problem, Result};
use super::runs_v1::{self, FunctionRun};
use super::scalars::{Map, Raw, Text, UlidText, UuidText};
use super::session::Session;
use super::workers::{CreateDebugSessionInput, CreateDebugSessionResponse};

/// A new app.
#[derive(InputObject)]
struct CreateAppInput {
    url: Text,
}

/// Where an app is served.
#[derive(InputObject)]
struct UpdateAppInput {
    id: Text,
    url: Text,
}

/// Where a rerun begins.
#[derive(InputObject)]
struct RerunFromStepInput {
    #[graphql(name = "stepID")]
    step_id: Text,
    input: Option<Raw>,
}

/// What can be done.
pub(crate) struct Mutation;

/// What can be done.
#[Object]
impl Mutation {
    async fn create_app(&self, ctx: &Context<'_>, input: CreateAppInput) -> Result<App> {
        let session = Session::of(ctx);
        let url = url(&input.url.0)?;
        let engine = &session.api.engine;
        // A placeholder until it has answered; it stays if it does not.
        let known = engine.registry().apps().any(|app| *app.url == *url && app.archived_at.is_none());
        if !known {
            engine.report_app(&url, Some("unreachable".to_owned())).await?;
        }
        session.api.apps.sync(&url).await.map_err(Problem::Conflict)?;
        let registry = engine.registry();
        let app = registry.app_by_url(&url).filter(|app| app.archived_at.is_none() && !app.name.is_empty());
        app.map(|app| App(Arc::clone(app))).ok_or_else(|| {
            Problem::Conflict(format!("the app at {url} has registered under another URL; see the list of apps"))
        })
    }

    async fn update_app(&self, ctx: &Context<'_>, input: UpdateAppInput) -> Result<App> {
        let (id, url) = (app_id(&input.id)?, url(&input.url.0)?);
        let app = Session::of(ctx).api.engine.move_app(id, &url).await?;
        app.map(|app| App(app.into())).ok_or_else(|| Problem::NotFound(format!("app not found: {id}")))
    }

    async fn delete_app(&self, ctx: &Context<'_>, id: Text) -> Result<String> {
        let meant = app_id(&id)?;
        Session::of(ctx).api.engine.remove_apps(|app| app.id == meant).await?;
        Ok(id.0)
    }

    async fn delete_app_by_name(&self, ctx: &Context<'_>, name: Text) -> Result<bool> {
        Ok(Session::of(ctx).api.engine.remove_apps(|app| *app.name == *name.0 && !app.name.is_empty()).await?)
    }

    #[expect(clippy::too_many_arguments, reason = "the schema has them")]
    async fn invoke_function(
        &self,
        ctx: &Context<'_>,
        function_slug: Text,
        data: Option<Map>,
        meta: Option<Map>,
        user: Option<Map>,
        #[graphql(name = "debugSessionID")] debug_session_id: Option<UlidText>,
        #[graphql(name = "debugRunID")] debug_run_id: Option<UlidText>,
    ) -> Nullable<bool> {
        let _without_effect = (debug_session_id, debug_run_id);
        Some(invoke(Session::of(ctx), &function_slug.0, data, meta, user).await)
    }

    async fn cancel_run(&self, ctx: &Context<'_>, #[graphql(name = "runID")] run_id: UlidText) -> Result<FunctionRun> {
        let (session, id) = (Session::of(ctx), RunId(run_id.0));
        let outcome = session.api.engine.cancel(id).await?;
        let run = runs_v1::by_id(session, id).await?;
        if outcome == Cancelled::AlreadyEnded && run.0.status != RunStatus::Cancelled {
            return Err(Problem::Conflict("cannot cancel an ended run".to_owned()));
        }
        Ok(run)
    }

    async fn rerun(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "runID")] run_id: UlidText,
        from_step: Option<RerunFromStepInput>,
        #[graphql(name = "debugSessionID")] debug_session_id: Option<UlidText>,
        #[graphql(name = "debugRunID")] debug_run_id: Option<UlidText>,
    ) -> Result<UlidText> {
        let _without_effect = (debug_session_id, debug_run_id);
        let from = from_step.map(|from| FromStep { step: from.step_id.0, input: from.input.map(|input| input.0) });
        let rerun = Session::of(ctx).api.engine.rerun(RunId(run_id.0), from.as_ref()).await;
        rerun.map(UlidText::from).map_err(|error| match error {
            RerunError::UnknownRun(id) => Problem::NotFound(format!("run not found: {id}")),
            RerunError::UnknownFunction(id) => Problem::NotFound(format!("function not found: {id}")),
            RerunError::UnknownStep => Problem::NotFound(format!("error reconstructing input state: {error}")),
            RerunError::AmbiguousStep | RerunError::BadInput => Problem::InvalidArgument(error.to_string()),
            RerunError::Store(error) => error.into(),
        })
    }

    async fn create_debug_session(
        &self,
        ctx: &Context<'_>,
        input: CreateDebugSessionInput,
    ) -> CreateDebugSessionResponse {
        let _whatever_is_asked_for = input;
        CreateDebugSessionResponse::new(Session::of(ctx))
    }
}

/// The one spelling of the URL of an app.
fn url(text: &str) -> Result<String> {
    let text = text.trim();
    let url = normalise_url(&if text.contains("://") { text.to_owned() } else { format!("http://{text}") });
    let is_usable = url.parse::<http::Uri>().is_ok_and(|url| {
        // What is written behind the host must be a port.
        let is_whole = |place: &Authority| place.port().is_some() || place.as_str().ends_with(place.host());
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|place| !place.host().is_empty() && is_whole(place))
    });
    if is_usable { Ok(url) } else { Err(Problem::InvalidArgument(format!("not an http or https URL: {text:?}"))) }
}

async fn invoke(
    session: &Session,
    function: &str,
    data: Option<Map>,
    meta: Option<Map>,
    user: Option<Map>,
) -> Result<bool> {
    let invocation = Invocation {
        data: data.as_ref().map(payload).transpose()?,
        user: user.as_ref().map(payload).transpose()?,
        meta: meta.as_ref().map(of_meta).transpose()?.flatten(),
        ..Invocation::default()
    };
    let bytes: usize = [&invocation.data, &invocation.user].into_iter().flatten().map(Payload::len).sum();
    if bytes > session.api.limits.event_bytes_max {
        let max = session.api.limits.event_bytes_max;
        return Err(Problem::InvalidArgument(format!("data and user are longer than {max} bytes")));
    }
    match session.api.engine.invoke(function, &invocation, None).await {
        Ok(_) => Ok(true),
        Err(InvokeError::NotFound(name)) => Err(Problem::NotFound(format!("function not found: {name}"))),
        Err(InvokeError::Store(error)) => Err(error.into()),
    }
}

fn app_id(text: &Text) -> Result<AppId> {
    UuidText::read(&text.0).map(|id| AppId(id.0)).map_err(Problem::InvalidArgument)
}

fn payload(map: &Map) -> Result<Payload> {
    let json = canonical::canonicalise(map.0.to_string().as_bytes(), canonical::Numbers::Exact);
    json.map(Payload::from).map_err(|error| Problem::InvalidArgument(error.to_string()))
}

/// Of `meta` an invocation may have sessions.
fn of_meta(meta: &Map) -> Result<Option<Payload>> {
    if let Some(other) = meta.0.as_object().and_then(|meta| meta.keys().find(|name| *name != "sessions")) {
        return Err(Problem::InvalidArgument(format!("event meta {other:?} is not supported")));
    }
    let merged = sessions::merge(&payload(meta)?).map_err(|error| Problem::InvalidArgument(error.to_string()))?;
    Ok(merged.map(Payload::from))
}
