//! Apps and functions by the names that callers have for them, also those that the registry has forgotten.

use std::sync::Arc;

use inngest_core::{App, Function};
use inngest_state::StoreError;
use percent_encoding::percent_decode_str;

use super::error::Error;
use crate::Api;

/// An app by the name that its SDK has for it, or by its id.
pub(super) async fn app(api: &Api, name: &str) -> Result<Option<Arc<App>>, StoreError> {
    // Apps that have not answered yet are called nothing.
    if name.is_empty() {
        return Ok(None);
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::World;

    #[tokio::test]
    async fn an_app_that_has_not_told_its_name_is_known_by_its_id_alone() {
        let world = World::new().await;
        let refused = json!({ "appName": "x", "url": "http://localhost:1/", "sdk": "js:v3.50.0", "functions": [] });
        assert_eq!(world.request("POST", "/fn/register", &[], &refused.to_string()).await.status, 400);
        let apps = world.request("GET", "/v2/apps", &[], "").await.json();
        let id = apps["data"][0]["id"].as_str().unwrap();
        assert_eq!(world.request("GET", &format!("/v2/apps/{id}"), &[], "").await.status, 200);
        assert_eq!(world.request("POST", "/v2/apps//syncs", &[], "").await.status, 404);
    }
}
