//! Apps.

use std::collections::HashMap;

use http::Method;
use inngest_core::{App as Registered, AppId};
use inngest_executor::apps::normalise_url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::definitions;
use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::wire::{Many, One, Part, Timestamp};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoints = [
        Endpoint::get("GetApps", "/apps", "Lists apps", list)
            .describe("Lists the apps that are registered, or those that were removed.")
            .cli("get-apps")
            .tool("get_apps", "Get apps"),
        Endpoint::get("GetApp", "/apps/{appId}", "Gets an app", get)
            .error(404, "There is no such app.")
            .cli("get-app")
            .tool("get_app", "Get app"),
        Endpoint::send("SyncApp", Method::POST, "/apps/{appId}/syncs", "Asks an app for its functions", sync)
            .describe(
                "Asks the app at this URL, or where it was registered, which functions it serves, and registers them.",
            )
            .error(404, "There is no such app, and no URL is given.")
            .also::<One<Synced>>(422, "The app cannot be used; the reply tells why.")
            .cli("sync-app"),
    ];
    endpoints.into_iter().map(|endpoint| endpoint.group("Apps")).collect()
}

/// An app: some functions that are served together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct App {
    /// The id that its SDK has for it; its UUID as long as it has not answered.
    id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// How it is reached.
    method: AppMethod,
    /// Its own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    /// When it was registered for the first time.
    created_at: Timestamp,
    /// Whether it was removed.
    is_archived: bool,
    /// When it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_at: Option<Timestamp>,
    /// How many functions it has.
    function_count: usize,
    /// What it told when it was asked last.
    latest_sync: Sync,
}

/// How an app is reached.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "what clients must be ready for")]
enum AppMethod {
    /// By HTTP.
    Serve,
    /// By a connection that it has opened.
    Connect,
    /// By its own HTTP API.
    Api,
}

/// What an app told when it was asked last.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AppSync")]
struct Sync {
    /// Whether it can be used.
    status: SyncStatus,
    /// Language of its SDK.
    #[serde(skip_serializing_if = "String::is_empty")]
    sdk_language: String,
    /// Version of its SDK.
    #[serde(skip_serializing_if = "String::is_empty")]
    sdk_version: String,
    /// What serves it.
    #[serde(skip_serializing_if = "String::is_empty")]
    framework: String,
    /// Where it is reached.
    url: String,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
}

/// Whether an app can be used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AppSyncStatus")]
enum SyncStatus {
    Pending,
    Success,
    Error,
}

/// Which apps.
#[derive(Debug, Deserialize, JsonSchema)]
struct List {
    /// Those that were removed instead of those that are there.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    part: Part,
}

/// Which app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    /// The id that its SDK has for it, or its UUID.
    pub(super) app_id: String,
}

/// Where an app is to be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SyncRequest {
    /// Where it is served.
    url: Option<String>,
}

/// What came of asking an app.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Synced {
    /// UUID of the app.
    id: String,
    /// The id that its SDK has for it.
    app_id: String,
    /// What it means for what is registered.
    status: SyncedStatus,
    /// Why the app cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SyncProblem>,
}

/// What a sync means for what is registered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SyncedStatus {
    /// Something of it is new.
    Success,
    /// It is what was registered before.
    Duplicate,
    /// It stays as it was.
    Error,
}

/// Why an app cannot be used.
#[derive(Debug, Serialize, JsonSchema)]
struct SyncProblem {
    /// Names the kind of problem, and does not change.
    code: &'static str,
    /// For people.
    message: String,
}

async fn list(Call { api, parameters, .. }: Call<List>) -> Result<Many<App>, Error> {
    let mut apps = api.engine.history().apps().await?;
    apps.retain(|app| app.archived_at.is_some() == parameters.archived);
    let (apps, limit, cursor) = parameters.part.by_id(apps, |app| app.id)?;
    let mut counts: HashMap<AppId, usize> = HashMap::new();
    for function in api.engine.registry().functions().filter(|function| function.archived_at.is_none()) {
        *counts.entry(function.app).or_default() += 1;
    }
    let shown = apps.iter().map(|app| render(app, counts.get(&app.id).copied().unwrap_or(0)));
    Ok(Many::page(&api, shown.collect(), limit, cursor))
}

async fn get(Call { api, parameters, .. }: Call<Named>) -> Result<One<App>, Error> {
    let app = definitions::app(&api, &parameters.app_id).await?.ok_or_else(|| Error::not_found("App not found"))?;
    let registry = api.engine.registry();
    let functions = registry.functions().filter(|function| function.app == app.id && function.archived_at.is_none());
    Ok(One::of(&api, render(&app, functions.count())))
}

async fn sync(Call { api, parameters, body, .. }: Call<Named, SyncRequest>) -> Result<One<Synced>, Error> {
    let known = definitions::app(&api, &parameters.app_id).await?;
    let url = match (body.url, &known) {
        (Some(url), _) => usable(&url)?,
        (None, Some(app)) => app.url.to_string(),
        (None, None) => return Err(Error::not_found("App not found")),
    };
    let before = api.engine.registry().app_by_url(&url).map(|app| app.checksum.clone());
    let outcome = api.apps.sync(&url).await;
    let registry = api.engine.registry();
    let app = registry.app_by_url(&url).or(known.as_ref());
    let id = app.map_or_else(|| AppId::of_name(&url), |app| app.id).to_string();
    let app_id = app.filter(|app| !app.name.is_empty()).map_or(parameters.app_id, |app| app.name.to_string());
    let synced = |status, error| Synced { id, app_id, status, error };
    Ok(match outcome {
        Ok(()) if app.map(|app| app.checksum.clone()) == before => One::of(&api, synced(SyncedStatus::Duplicate, None)),
        Ok(()) => One::of(&api, synced(SyncedStatus::Success, None)),
        Err(problem) => {
            let message = format!("The app at {url} cannot be used: {problem}");
            let error = SyncProblem { code: "app_sync_failed", message };
            One::of(&api, synced(SyncedStatus::Error, Some(error))).with_status(422)
        }
    })
}

/// An address of an app in the form in which apps are known.
fn usable(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let url = normalise_url(&if text.contains("://") { text.to_owned() } else { format!("http://{text}") });
    let is_usable = url.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if is_usable { Ok(url) } else { Err(Error::bad_field("url must be an http or https URL")) }
}

fn render(app: &Registered, function_count: usize) -> App {
    let is_known = !app.name.is_empty();
    App {
        id: if is_known { app.name.to_string() } else { app.id.to_string() },
        name: is_known.then(|| app.name.to_string()),
        method: if app.url.starts_with("ws") { AppMethod::Connect } else { AppMethod::Serve },
        app_version: app.app_version.clone(),
        created_at: Timestamp(app.created_at),
        is_archived: app.archived_at.is_some(),
        archived_at: app.archived_at.map(Timestamp),
        function_count,
        latest_sync: Sync {
            status: match (&app.error, is_known) {
                (Some(_), _) => SyncStatus::Error,
                (None, true) => SyncStatus::Success,
                (None, false) => SyncStatus::Pending,
            },
            sdk_language: app.sdk_language.clone(),
            sdk_version: app.sdk_version.clone(),
            framework: app.framework.clone(),
            url: app.url.to_string(),
            error: app.error.clone(),
            app_version: app.app_version.clone(),
        },
    }
}
