//! What only Inngest Cloud does: known here, so that callers are told so.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::functions;
use super::wire::{Never, Nothing, One};

type Refusal = Result<One<Never>, Error>;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    let env = "The environment that is meant.";
    let endpoints = [
        Endpoint::send("CreateEnv", post.clone(), "/envs", "Makes an environment", create_env).cli("create-env"),
        Endpoint::send("PatchEnv", patch, "/envs/{id}", "Changes an environment", patch_env).cli("patch-env"),
        Endpoint::send("CreateWebhook", post.clone(), "/env/webhooks", "Makes a webhook", create_webhook)
            .header("X-Inngest-Env", env)
            .cli("create-webhook"),
        Endpoint::get("ListWebhooks", "/env/webhooks", "Lists webhooks", webhooks)
            .header("X-Inngest-Env", env)
            .cli("get-webhooks"),
        Endpoint::send("CreatePartnerAccount", post.clone(), "/partner/accounts", "Makes an account", create_account),
        Endpoint::get("FetchPartnerAccounts", "/partner/accounts", "Lists accounts", accounts),
        Endpoint::get("FetchInsightsTables", "/insights/tables", "Lists the tables of Insights", insights)
            .cli("get-insights-tables"),
        Endpoint::get("FetchInsightsEventSchemas", "/insights/events/schemas", "Lists the schemas of events", insights)
            .cli("get-insights-event-schemas"),
        Endpoint::send("QueryInsights", post.clone(), "/insights/query", "Asks Insights in SQL", query)
            .cli("query-insights"),
        Endpoint::send("QueryInsightsPrompt", post.clone(), "/insights/query/prompt", "Asks Insights in words", query)
            .cli("query-insights-prompt"),
        Endpoint::get("ListExperiments", "/experiments", "Lists experiments", all_experiments).cli("get-experiments"),
        Endpoint::get(
            "ListFunctionExperiments",
            "/apps/{appId}/functions/{functionId}/experiments",
            "Lists the experiments of a function",
            experiments,
        ),
        Endpoint::get(
            "GetExperiment",
            "/apps/{appId}/functions/{functionId}/experiments/{id}",
            "Gets an experiment",
            experiment,
        )
        .cli("get-experiment"),
        Endpoint::get("ListSessionKeys", "/sessions", "Lists the keys of sessions", session_keys)
            .cli("get-session-keys"),
        Endpoint::get("ListSessions", "/sessions/{key}", "Lists the sessions of a key", sessions).cli("get-sessions"),
        Endpoint::get("ListSessionRuns", "/sessions/{key}/{id}/runs", "Lists the runs of a session", session_runs)
            .cli("get-session-runs"),
        Endpoint::send("CreateSandbox", post, "/sandboxes", "Makes a sandbox", create_sandbox).cli("create-sandbox"),
        Endpoint::get("ListSandboxes", "/sandboxes", "Lists sandboxes", all_sandboxes).cli("get-sandboxes"),
        Endpoint::get("GetSandbox", "/sandboxes/{sandboxId}", "Gets a sandbox", sandbox).cli("get-sandbox"),
        Endpoint::send("DestroySandbox", delete, "/sandboxes/{sandboxId}", "Removes a sandbox", destroy_sandbox)
            .cli("destroy-sandbox"),
    ];
    endpoints.into_iter().map(|endpoint| endpoint.group("Inngest Cloud").cloud_only()).collect()
}

/// Members that this server does not know.
type Anything = Map<String, Value>;

/// Which environment.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfEnv {
    /// Its UUID.
    #[serde(rename = "id")]
    _id: String,
}

/// An environment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct NewEnv {
    /// For people.
    name: String,
}

/// What turns requests of others into events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct NewWebhook {
    /// For people.
    name: String,
    /// A function in JavaScript.
    transform: String,
    /// What an answer is made with.
    response: Option<Value>,
    /// Who may send.
    #[serde(alias = "event_filter")]
    event_filter: Option<Value>,
}

/// Which experiment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OfExperiment {
    /// The app.
    #[serde(rename = "appId")]
    _app_id: String,
    /// The function.
    #[serde(rename = "functionId")]
    _function_id: String,
    /// The experiment.
    #[serde(rename = "id")]
    _id: String,
}

/// Which sessions.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfKey {
    /// Their key.
    #[serde(rename = "key")]
    _key: String,
}

/// Which session.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfSession {
    /// Its key.
    #[serde(rename = "key")]
    _key: String,
    /// Its id.
    #[serde(rename = "id")]
    _id: String,
}

/// Which sandbox.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfSandbox {
    /// Its id.
    #[serde(rename = "sandboxId")]
    _id: String,
}

fn refuse(what: &str) -> Error {
    Error::not_implemented(format!("{what} not implemented in OSS"))
}

async fn create_env(call: Call<Nothing, NewEnv>) -> Refusal {
    if call.body.name.is_empty() {
        return Err(Error::missing("Environment name is required"));
    }
    Err(refuse("Environments"))
}

async fn patch_env(_: Call<OfEnv, Anything>) -> Refusal {
    Err(refuse("Environments"))
}

async fn create_webhook(Call { headers, body, .. }: Call<Nothing, NewWebhook>) -> Refusal {
    named_env(&headers)?;
    if body.name.is_empty() {
        return Err(Error::missing("Webhook name is required"));
    }
    if body.transform.is_empty() {
        return Err(Error::missing("Webhook transform is required"));
    }
    Err(refuse("Webhooks"))
}

async fn webhooks(call: Call<Nothing>) -> Refusal {
    named_env(&call.headers)?;
    Err(refuse("Webhooks"))
}

fn named_env(headers: &http::HeaderMap) -> Result<(), Error> {
    let is_named = headers.get("x-inngest-env").is_some_and(|env| !env.is_empty());
    if is_named { Ok(()) } else { Err(Error::invalid("X-Inngest-Env header is required")) }
}

async fn create_account(_: Call<Nothing, Anything>) -> Refusal {
    Err(refuse("Accounts").and(refuse("Partners")))
}

async fn accounts(_: Call<Nothing>) -> Refusal {
    Err(refuse("Accounts").and(refuse("Partners")))
}

async fn insights(_: Call<Nothing>) -> Refusal {
    Err(refuse("Insights"))
}

async fn query(_: Call<Nothing, Anything>) -> Refusal {
    Err(refuse("Insights"))
}

async fn all_experiments(_: Call<Nothing>) -> Refusal {
    Err(refuse("Experiments"))
}

async fn experiments(_: Call<functions::Named>) -> Refusal {
    Err(refuse("Experiments"))
}

async fn experiment(_: Call<OfExperiment>) -> Refusal {
    Err(refuse("Experiments"))
}

async fn session_keys(_: Call<Nothing>) -> Refusal {
    Err(refuse("Sessions"))
}

async fn sessions(_: Call<OfKey>) -> Refusal {
    Err(refuse("Sessions"))
}

async fn session_runs(_: Call<OfSession>) -> Refusal {
    Err(refuse("Sessions"))
}

async fn create_sandbox(_: Call<Nothing, Anything>) -> Refusal {
    Err(sandboxes())
}

async fn all_sandboxes(_: Call<Nothing>) -> Refusal {
    Err(sandboxes())
}

async fn sandbox(_: Call<OfSandbox>) -> Refusal {
    Err(sandboxes())
}

async fn destroy_sandbox(_: Call<OfSandbox, Nothing>) -> Refusal {
    Err(sandboxes())
}

/// The answer to everything about sandboxes.
pub(super) fn sandboxes() -> Error {
    refuse("Sandboxes")
}
