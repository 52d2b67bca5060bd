//! The server itself: its health, its one account and environment, its keys.

use inngest_core::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::wire::{Limit, Many, Nothing, One, Timestamp};
use crate::rest::{ACCOUNT, ENVIRONMENT};

/// When the account and the environment were made: 2021-05-13T09:30:04Z.
const CREATED: Timestamp = Timestamp(Millis(1_620_898_204_000));

/// The only environment.
const NAME: &str = "dev";

const ENVS: Limit = Limit { default: 250, max: 250 };
const KEYS: Limit = Limit { default: 100, max: 100 };

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoints = [
        Endpoint::get("Health", "/health", "Tells whether the server is up", health)
            .cli("health")
            .tool("health", "Health"),
        Endpoint::get("FetchAccount", "/account", "Gets the account", account).cli("get-account"),
        Endpoint::get("FetchAccountEnvs", "/envs", "Lists the environments", envs).cli("get-account-envs"),
        Endpoint::get("FetchAccountEventKeys", "/keys/events", "Lists the event keys, masked", event_keys)
            .header("X-Inngest-Env", "Only the keys of this environment.")
            .cli("get-account-event-keys"),
        Endpoint::get("FetchAccountSigningKeys", "/keys/signing", "Lists the signing keys, masked", signing_keys)
            .header("X-Inngest-Env", "Only the keys of this environment.")
            .cli("get-account-signing-keys"),
    ];
    endpoints.into_iter().map(|endpoint| endpoint.group("Account")).collect()
}

/// Which part of a list.
#[derive(Debug, Deserialize, JsonSchema)]
struct List {
    /// Without effect: there is one page only.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1))]
    limit: Option<i32>,
}

/// Whether the server is up.
#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    /// `ok`
    status: &'static str,
}

/// The account.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Account {
    /// A UUID.
    id: &'static str,
    /// For people.
    name: &'static str,
    /// Of nobody.
    email: &'static str,
    /// When it was made.
    created_at: Timestamp,
    /// When it was changed.
    updated_at: Timestamp,
}

/// An environment.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Environment")]
struct Env {
    /// A UUID.
    id: &'static str,
    /// For people.
    name: &'static str,
    /// `TEST`
    r#type: &'static str,
    /// When it was made.
    created_at: Timestamp,
}

/// A key, of which enough is shown to tell it from others.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Key {
    /// Its environment.
    environment: &'static str,
    /// Its ends.
    key: String,
    /// Since when it is known.
    created_at: Timestamp,
}

async fn health(Call { api, .. }: Call<Nothing>) -> Result<One<Health>, Error> {
    Ok(One::of(&api, Health { status: "ok" }))
}

async fn account(Call { api, .. }: Call<Nothing>) -> Result<One<Account>, Error> {
    let (name, email) = ("Dev Server", "dev@inngest.local");
    Ok(One::of(&api, Account { id: ACCOUNT, name, email, created_at: CREATED, updated_at: CREATED }))
}

async fn envs(Call { api, parameters, .. }: Call<List>) -> Result<Many<Env>, Error> {
    let limit = parameters.limit(ENVS)?;
    let env = Env { id: ENVIRONMENT, name: NAME, r#type: "TEST", created_at: CREATED };
    Ok(Many::page(&api, vec![env], limit, None))
}

async fn event_keys(call: Call<List>) -> Result<Many<Key>, Error> {
    let keys = call.api.auth.masked_event_keys();
    list(&call, keys)
}

async fn signing_keys(call: Call<List>) -> Result<Many<Key>, Error> {
    let keys = call.api.auth.masked_signing_keys();
    list(&call, keys)
}

fn list(Call { api, headers, parameters, .. }: &Call<List>, mut keys: Vec<String>) -> Result<Many<Key>, Error> {
    let limit = parameters.limit(KEYS)?;
    if headers.get("x-inngest-env").is_some_and(|env| env != NAME && !env.is_empty()) {
        keys.clear();
    }
    keys.truncate(limit);
    let created_at = Timestamp(api.engine.ids().now());
    let shown = keys.into_iter().map(|key| Key { environment: NAME, key, created_at });
    Ok(Many::page(api, shown.collect(), limit, None))
}

impl List {
    /// Here 0 is not the default.
    fn limit(&self, limit: Limit) -> Result<usize, Error> {
        limit.of(self.limit.map(|limit| if limit == 0 { -1 } else { limit }))
    }
}
