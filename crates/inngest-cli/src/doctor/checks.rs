//! What `inngest doctor` looks at beside the health of the server.

use inngest_config::DevOptions;
use inngest_core::signing::SigningKey;
use inngest_expr::date;
use serde_json::Value;
use ureq::http::Method;

use super::Target;
use crate::client::{Query, Server};
use crate::output::plain;
use crate::{dev, input};

/// Signatures are refused when the clocks of server and app are five minutes apart; this is told before.
const CLOCK_OFF_MS: u64 = 60_000;
/// Apps that are looked at.
const APPS_MAX: usize = 1_000;

/// The variables and the file that `inngest dev` would read here.
pub(super) fn config(_: &Target) -> Vec<String> {
    let mut problems = Vec::new();
    match dev::surroundings(None) {
        Ok(layers) => {
            problems.extend(layers.warnings.iter().map(|warning| format!("config: {warning}")));
            problems.extend(DevOptions::resolve(&layers).err().map(|error| format!("config: {error}")));
            let key = layers.text("signing-key");
            if let (false, Err(error)) = (key.is_empty(), SigningKey::parse(&key)) {
                problems.push(format!("config: {error}, as 0123abcd or signkey-prod-0123abcd"));
            }
        }
        Err(error) => problems.push(format!("config: {error}")),
    }
    problems
}

/// Whether the server can use its database.
pub(super) fn store(target: &Target) -> Vec<String> {
    let Ok(reply) = Server::at(&target.api(), target.timeout).request(Method::GET, "/ready", None) else {
        return vec!["store: the server does not answer".to_owned()];
    };
    let ready: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    match (reply.status, ready["components"]["store"].as_str()) {
        (200, _) => Vec::new(),
        (_, Some("ok")) => vec![format!("store: it is fine, but the server is {}", ready["message"])],
        (_, Some(cause)) => vec![format!("store: {}", plain(cause))],
        (status, None) => vec![format!("store: status {status}")],
    }
}

/// Whether the clocks of the server and of this machine agree.
pub(super) fn clock(target: &Target) -> Vec<String> {
    let Ok(reply) = Server::at(&target.api(), target.timeout).request(Method::GET, "/health", None) else {
        return vec!["clock: the server does not answer".to_owned()];
    };
    let Some(theirs) = reply.headers.get("date").and_then(|date| date::parse(date.to_str().ok()?)) else {
        return vec!["clock: the server does not tell its time".to_owned()];
    };
    let off = input::now().0.abs_diff(theirs.0);
    if off < CLOCK_OFF_MS {
        return Vec::new();
    }
    vec![format!(
        "clock: that of the server is {} s apart from this machine's; correct the one that is wrong",
        off / 1_000
    )]
}

/// Whether the apps that the server knows answer it.
pub(super) fn apps(target: &Target) -> Vec<String> {
    let server = Server::at(&target.api(), target.timeout);
    match server.list("/v2/apps", &Query::default(), APPS_MAX, None) {
        Ok((apps, _)) => apps.iter().filter_map(problem).collect(),
        Err(error) => vec![format!("apps: {}", plain(&error))],
    }
}

fn problem(app: &Value) -> Option<String> {
    let sync = &app["latestSync"];
    let error = sync["error"].as_str().filter(|error| !error.is_empty())?;
    let name = app["name"].as_str().or_else(|| app["id"].as_str()).unwrap_or("an app");
    let url = sync["url"].as_str().unwrap_or("no URL");
    Some(format!("apps: {} at {}: {}", plain(name), plain(url), plain(error)))
}
