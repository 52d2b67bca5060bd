//! Apps and functions by the names that callers have for them, also those that the registry has forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::{App, AppId, Function, FunctionId};
use inngest_executor::registry::Registry;
use inngest_state::StoreError;
use percent_encoding::percent_decode_str;

use super::error::Error;
use crate::Api;

/// An app by the name that its SDK has for it, or by its id.
pub(super) async fn app(api: &Api, name: &str) -> Result<Option<Arc<App>>, StoreError> {
    let registry = api.engine.registry();
    for name in spellings(name) {
        let by_id = || name.parse().ok().and_then(|id| registry.app(&id));
        if let Some(app) = registry.app_by_name(&name).or_else(by_id) {
            return Ok(Some(Arc::clone(app)));
        }
    }
    let apps = api.engine.history().apps().await?;
    let called = |app: &App, name: &str| *app.name == *name || app.id.to_string() == name;
    Ok(apps.into_iter().find(|app| spellings(name).any(|name| called(app, &name))).map(Arc::new))
}

/// A function of an app by its id there, by its slug, or by its UUID; an active one rather than one that was removed.
pub(super) async fn function(api: &Api, app: &App, name: &str) -> Result<Option<Arc<Function>>, StoreError> {
    let registry = api.engine.registry();
    for name in spellings(name) {
        if let Some(function) =
            registry.functions().find(|known| known.archived_at.is_none() && is_called(known, app, &name))
        {
            return Ok(Some(Arc::clone(function)));
        }
    }
    let mut functions = api.engine.history().functions().await?;
    functions.retain(|known| spellings(name).any(|name| is_called(known, app, &name)));
    // Of those that had one name in turn, the last one is meant.
    Ok(functions.into_iter().max_by_key(|function| function.archived_at).map(Arc::new))
}

/// As [`app`] and [`function`], of what must be there.
pub(super) async fn existing(api: &Api, app_name: &str, name: &str) -> Result<(Arc<App>, Arc<Function>), Error> {
    let not_found = || Error::not_found("Function not found");
    let app = app(api, app_name).await?.ok_or_else(not_found)?;
    let function = function(api, &app, name).await?.ok_or_else(not_found)?;
    Ok((app, function))
}

/// Whether a function of an app is meant.
fn is_called(function: &Function, app: &App, name: &str) -> bool {
    function.app == app.id
        && (*function.slug == *name || short(function, Some(app)) == name || function.id.to_string() == name)
}

/// A name of a path as it is, and as it is when its sender has encoded it twice.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let decoded = percent_decode_str(name).decode_utf8().ok().filter(|decoded| *decoded != name);
    [Some(name.to_owned()), decoded.map(Into::into)].into_iter().flatten()
}

/// The id of a function in its app: without the app's name in front.
pub(super) fn short<'f>(function: &'f Function, app: Option<&App>) -> &'f str {
    let rest = app.and_then(|app| function.slug.strip_prefix(&*app.name)?.strip_prefix('-'));
    rest.unwrap_or(&function.slug)
}

/// The functions of some runs, with their apps.
pub(super) struct Definitions {
    registry: Arc<Registry>,
    functions: HashMap<FunctionId, Function>,
    apps: HashMap<AppId, App>,
}

impl Definitions {
    /// Reads the store only if the registry does not know all of these functions.
    pub(super) async fn of(api: &Api, mut ids: impl Iterator<Item = FunctionId>) -> Result<Self, StoreError> {
        let registry = api.engine.registry();
        let mut known = Self { functions: HashMap::new(), apps: HashMap::new(), registry };
        if !ids.all(|id| known.registry.function(&id).is_some()) {
            let (functions, apps) = (api.engine.history().functions().await?, api.engine.history().apps().await?);
            known.functions = functions.into_iter().map(|function| (function.id, function)).collect();
            known.apps = apps.into_iter().map(|app| (app.id, app)).collect();
        }
        Ok(known)
    }

    pub(super) fn function(&self, id: FunctionId) -> Option<&Function> {
        self.registry.function(&id).map(|function| &**function).or_else(|| self.functions.get(&id))
    }

    pub(super) fn app(&self, id: AppId) -> Option<&App> {
        self.registry.app(&id).map(|app| &**app).or_else(|| self.apps.get(&id))
    }
}
