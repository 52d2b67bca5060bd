//! Functions.

use std::sync::Arc;

use inngest_core::function::Trigger as RegisteredTrigger;
use inngest_core::{App, Function as Registered};
use inngest_executor::registry::Registry;
use inngest_state::Hold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::definitions::{self, existing, short};
use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::runs::AppName;
use super::wire::{Many, One, Part};
use crate::function_config::FunctionConfig;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoints = [
        Endpoint::get("GetFunctions", "/apps/{appId}/functions", "Lists the functions of an app", list)
            .cli("get-functions")
            .tool("list_functions", "List functions"),
        Endpoint::get("GetFunction", "/apps/{appId}/functions/{functionId}", "Gets a function", get)
            .error(404, "There is no such function.")
            .cli("get-function")
            .tool("get_function", "Get function"),
    ];
    endpoints.into_iter().map(|endpoint| endpoint.group("Functions")).collect()
}

/// A function.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Function {
    /// Its id in its app.
    id: String,
    /// Its id on this server: that of its app and its own.
    slug: String,
    /// For people.
    name: String,
    /// Its app.
    app: AppName,
    /// Whether it starts no runs for now.
    is_paused: bool,
    /// Whether it was removed.
    is_archived: bool,
    /// What starts it.
    triggers: Vec<Trigger>,
    /// What runs when one of its runs fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_handler: Option<FailureHandler>,
    /// What was registered besides.
    configuration: FunctionConfig,
}

/// What starts a function.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FunctionTrigger")]
struct Trigger {
    /// Of which kind.
    r#type: TriggerType,
    /// Name of the event, or schedule.
    value: String,
    /// What must hold of the event.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
}

/// Kind of a trigger.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum TriggerType {
    Event,
    Cron,
}

/// A function that runs when a run of another one fails.
#[derive(Debug, Serialize, JsonSchema)]
struct FailureHandler {
    /// Its id on this server.
    slug: String,
    /// For people.
    name: String,
}

/// Which functions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct List {
    /// The app: the id that its SDK has for it, or its UUID.
    app_id: String,
    #[serde(flatten)]
    part: Part,
}

/// Which function.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    /// The app: the id that its SDK has for it, or its UUID.
    pub(super) app_id: String,
    /// Its id in the app, its slug, or its UUID.
    pub(super) function_id: String,
}

async fn list(Call { api, parameters, .. }: Call<List>) -> Result<Many<Function>, Error> {
    let app = definitions::app(&api, &parameters.app_id).await?;
    let registry = api.engine.registry();
    let of_app =
        |known: &&Arc<Registered>| known.archived_at.is_none() && app.as_ref().is_some_and(|app| app.id == known.app);
    let functions = registry.functions().filter(of_app).collect();
    let (functions, limit, cursor) = parameters.part.by_id(functions, |function| function.id)?;
    let shown = functions.iter().filter_map(|function| Some(render(function, app.as_ref()?, &registry)));
    Ok(Many::page(&api, shown.collect(), limit, cursor))
}

async fn get(Call { api, parameters, .. }: Call<Named>) -> Result<One<Function>, Error> {
    let (app, function) = existing(&api, &parameters.app_id, &parameters.function_id).await?;
    Ok(One::of(&api, render(&function, &app, &api.engine.registry())))
}

fn render(function: &Registered, app: &App, registry: &Registry) -> Function {
    let handler = registry.by_slug(&format!("{}-failure", function.slug));
    let handler = handler.filter(|handler| handler.app == function.app && handler.archived_at.is_none());
    let hold = registry.hold(&function.id);
    Function {
        id: short(function, Some(app)).to_owned(),
        slug: function.slug.to_string(),
        name: function.name.to_string(),
        app: AppName { id: app.name.to_string() },
        is_paused: matches!(hold, Some(Hold::PausedQueue | Hold::PausedSkip)),
        is_archived: function.archived_at.is_some(),
        triggers: function.triggers.iter().map(trigger).collect(),
        failure_handler: handler
            .map(|handler| FailureHandler { slug: handler.slug.to_string(), name: handler.name.to_string() }),
        configuration: FunctionConfig::of(function),
    }
}

fn trigger(trigger: &RegisteredTrigger) -> Trigger {
    match trigger {
        RegisteredTrigger::Event { name, expression } => {
            let condition = expression.as_ref().map(ToString::to_string);
            Trigger { r#type: TriggerType::Event, value: name.to_string(), condition }
        }
        RegisteredTrigger::Cron { schedule, .. } => {
            Trigger { r#type: TriggerType::Cron, value: schedule.to_string(), condition: None }
        }
    }
}
