//! `GET /v1/functions`, `GET /v1/apps/{app}/functions`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::Response;
use inngest_core::{App, AppId, Function, FunctionId};
use inngest_state::Hold;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::flow_control::Held;
use super::query::Query;
use super::{ENVIRONMENT, ZERO_TIME, bare, paged, rfc3339};
use crate::Api;
use crate::dev;
use crate::error::ApiError;
use crate::paths::Path;

pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, ApiError> {
    let query = Query::of(query.as_deref());
    let limit = query.limit(50, 100);
    let cursor: Option<FunctionId> = query
        .first("cursor")
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::bad_request("Invalid cursor query parameter"))?;
    let archived = query.flag("archived")?;
    let apps = apps(&api).await?;
    let mut functions = api.engine.history().functions().await?;
    functions.sort_by_key(|function| function.id);
    functions.retain(|function| {
        function.archived_at.is_some() == archived
            && cursor.is_none_or(|cursor| function.id > cursor)
            && query.first("app").is_none_or(|app| apps.get(&function.app).is_some_and(|known| *known.name == *app))
    });
    let cursor = functions.get(limit).and_then(|_| functions.get(limit - 1)).map(|last| last.id.to_string());
    let registry = api.engine.registry();
    let shown = |function: &Function| render(function, apps.get(&function.app), registry.hold(&function.id));
    let data = functions.iter().take(limit).map(shown).collect();
    Ok(paged(api.engine.ids(), data, cursor, limit))
}

/// A bare array, empty for an unknown app.
pub(crate) async fn of_app(State(api): State<Api>, Path(name): Path<String>) -> Result<Response<Body>, ApiError> {
    let apps = apps(&api).await?;
    let functions = api.engine.history().functions().await?;
    let of_app = functions.iter().filter(|function| {
        function.archived_at.is_none() && apps.get(&function.app).is_some_and(|app| *app.name == *name)
    });
    let registry = api.engine.registry();
    let shown = |function: &Function| render(function, apps.get(&function.app), registry.hold(&function.id));
    Ok(bare(&of_app.map(shown).collect::<Vec<_>>()))
}

pub(super) async fn apps(api: &Api) -> Result<HashMap<AppId, App>, ApiError> {
    Ok(api.engine.history().apps().await?.into_iter().map(|app| (app.id, app)).collect())
}

/// A function by slug or id. The registry does not know those that are archived and have nothing left to do.
pub(super) async fn find(api: &Api, name: &str) -> Result<Arc<Function>, ApiError> {
    let (registry, id) = (api.engine.registry(), name.parse::<FunctionId>().ok());
    if let Some(known) = registry.by_slug(name).or_else(|| registry.function(&id?)) {
        return Ok(Arc::clone(known));
    }
    let mut functions = api.engine.history().functions().await?;
    // Of those that had one slug in turn, the last one is meant.
    functions.sort_by_key(|function| Reverse(function.archived_at));
    let found = functions.into_iter().find(|function| &*function.slug == name || Some(function.id) == id);
    found.map(Arc::new).ok_or_else(|| ApiError::not_found(format!("Function not found: {name}")))
}

/// The slugs of functions, also of those that the registry does not know.
pub(super) async fn slugs(
    api: &Api,
    of: impl Iterator<Item = FunctionId>,
) -> Result<HashMap<FunctionId, Arc<str>>, ApiError> {
    let registry = api.engine.registry();
    let mut slugs = HashMap::new();
    let mut is_any_unknown = false;
    for id in of {
        match registry.function(&id) {
            Some(function) => drop(slugs.insert(id, Arc::clone(&function.slug))),
            None => is_any_unknown = true,
        }
    }
    if is_any_unknown {
        let functions = api.engine.history().functions().await?;
        slugs.extend(functions.into_iter().map(|function| (function.id, function.slug)));
    }
    Ok(slugs)
}

/// A registered function.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Described {
    internal_id: String,
    env_id: &'static str,
    app_id: String,
    app_name: Option<String>,
    /// `<app>-<function>`.
    id: String,
    name: String,
    /// `{"event":..,"expression":..}` or `{"cron":..}`.
    #[schemars(with = "Vec<Map<String, Value>>")]
    triggers: Vec<Value>,
    /// As registered.
    #[schemars(with = "Map<String, Value>")]
    config: Value,
    is_paused: bool,
    /// What an operator has stopped of it.
    hold: Option<Held>,
    created_at: String,
    /// `0001-01-01T00:00:00Z` if it is not archived.
    archived_at: String,
}

fn render(function: &Function, app: Option<&App>, hold: Option<Hold>) -> Described {
    Described {
        internal_id: function.id.to_string(),
        env_id: ENVIRONMENT,
        app_id: function.app.to_string(),
        app_name: app.map(|app| app.name.to_string()),
        id: function.slug.to_string(),
        name: function.name.to_string(),
        triggers: function.triggers.iter().map(dev::trigger).collect(),
        config: dev::describe(function),
        is_paused: matches!(hold, Some(Hold::PausedQueue | Hold::PausedSkip)),
        hold: hold.map(Held::of),
        created_at: rfc3339(function.created_at),
        archived_at: function.archived_at.map_or_else(|| ZERO_TIME.to_owned(), rfc3339),
    }
}
