//! What only Inngest Cloud does: known here, so that callers are told so.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::functions;
use super::wire::{Never, Nothing, One};

type Refusal = Result<One<Never>, Error>;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (post, patch) = (Method::POST, Method::PATCH);
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
        Endpoint::send("QueryInsightsPrompt", post, "/insights/query/prompt", "Asks Insights in words", query)
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
    ];
    let endpoints = endpoints.into_iter().chain(sandboxes());
    endpoints.map(|endpoint| endpoint.group("Inngest Cloud").cloud_only()).collect()
}

/// What can be done with sandboxes.
fn sandboxes() -> [Endpoint; 15] {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let root = "/sandboxes";
    let (one, exec, logs) = ("/sandboxes/{sandboxId}", "/sandboxes/{sandboxId}/exec", "/sandboxes/{sandboxId}/logs");
    let (files, processes) = ("/sandboxes/{sandboxId}/files", "/sandboxes/{sandboxId}/processes");
    let process = "/sandboxes/{sandboxId}/processes/{processId}";
    let signals = "/sandboxes/{sandboxId}/processes/{processId}/signals";
    let wait = "/sandboxes/{sandboxId}/processes/{processId}/wait";
    let output = "/sandboxes/{sandboxId}/processes/{processId}/output";
    let stream = "/sandboxes/{sandboxId}/processes/{processId}/output/stream";
    [
        tell::<Nothing>(root, "CreateSandbox", "Makes a sandbox").cli("create-sandbox"),
        ask::<Nothing>(get.clone(), root, "ListSandboxes", "Lists sandboxes").cli("get-sandboxes"),
        ask::<OfSandbox>(get.clone(), one, "GetSandbox", "Gets a sandbox").cli("get-sandbox"),
        ask::<OfSandbox>(delete, one, "DestroySandbox", "Removes a sandbox").cli("destroy-sandbox"),
        tell::<OfSandbox>(exec, "ExecSandbox", "Runs a command in a sandbox").cli("exec-sandbox"),
        ask::<OfSandbox>(get.clone(), logs, "StreamSandboxLogs", "Streams the logs of a sandbox")
            .cli("stream-sandbox-logs"),
        ask::<OfSandbox>(put, files, "WriteSandboxFile", "Writes a file in a sandbox").cli("write-sandbox-file"),
        ask::<OfSandbox>(get.clone(), files, "ReadSandboxFile", "Reads a file of a sandbox").cli("read-sandbox-file"),
        tell::<OfSandbox>(processes, "StartSandboxProcess", "Starts a process in a sandbox")
            .cli("start-sandbox-process"),
        ask::<OfSandbox>(get.clone(), processes, "ListSandboxProcesses", "Lists the processes of a sandbox")
            .cli("get-sandbox-processes"),
        ask::<OfProcess>(get.clone(), process, "GetSandboxProcess", "Gets a process of a sandbox")
            .cli("get-sandbox-process"),
        tell::<OfProcess>(signals, "SignalSandboxProcess", "Sends a signal to a process of a sandbox")
            .cli("signal-sandbox-process"),
        ask::<OfProcess>(post, wait, "WaitSandboxProcess", "Waits for the end of a process of a sandbox")
            .cli("wait-sandbox-process"),
        ask::<OfProcess>(get.clone(), output, "GetSandboxProcessOutput", "Gets the output of a process of a sandbox")
            .cli("get-sandbox-process-output"),
        ask::<OfProcess>(get, stream, "StreamSandboxProcessOutput", "Streams the output of a process of a sandbox")
            .cli("stream-sandbox-process-output"),
    ]
}

fn ask<P>(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Endpoint
where
    P: DeserializeOwned + JsonSchema + Send + 'static,
{
    Endpoint::get(id, path, summary, no_sandboxes::<P, ()>).method(method)
}

fn tell<P>(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint
where
    P: DeserializeOwned + JsonSchema + Send + 'static,
{
    Endpoint::send(id, Method::POST, path, summary, no_sandboxes::<P, Anything>)
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

/// Which process of which sandbox.
#[derive(Debug, Deserialize, JsonSchema)]
struct OfProcess {
    /// The sandbox.
    #[serde(rename = "sandboxId")]
    _sandbox: String,
    /// The process.
    #[serde(rename = "processId")]
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

async fn no_sandboxes<P, B>(_: Call<P, B>) -> Refusal {
    Err(refuse("Sandboxes"))
}
