//! The probes of `inngest doctor healthcheck`: the API, and the Connect gateway where there is one.

use serde_json::Value;
use ureq::http::Method;

use super::Target;
use crate::client::Server;
use crate::output::{plain, shortened};

/// Letters of a body that `--verbose` shows.
const BODY_SHOWN: usize = 200;

/// What is wrong: a line for each probe that failed.
pub(super) fn run(target: &Target) -> Vec<String> {
    std::thread::scope(|scope| {
        let gateway = scope.spawn(|| {
            let asked = !target.skips_gateway && has_gateway(target);
            asked.then(|| probe(target, "connect-gateway", &target.gateway(), "/ready")).flatten()
        });
        let api = probe(target, "api", &target.api(), "/health");
        let gateway =
            gateway.join().unwrap_or_else(|_| Some("healthcheck: connect-gateway: the probe failed".to_owned()));
        api.into_iter().chain(gateway).collect()
    })
}

/// Whether the server should have a gateway. One that tells its components, but none of that name, has none; all others
/// are taken to have one, as the Go server always has.
fn has_gateway(target: &Target) -> bool {
    let ready = Server::at(&target.api(), target.timeout).request(Method::GET, "/ready", None);
    let ready = ready.ok().and_then(|reply| serde_json::from_str::<Value>(&reply.text).ok());
    ready.is_none_or(|ready| ready["components"].as_object().is_none_or(|parts| parts.contains_key("connect")))
}

fn probe(target: &Target, name: &str, base: &str, path: &str) -> Option<String> {
    let cause = match Server::at(base, target.timeout).exchange(Method::GET, path, None) {
        Ok(reply) if reply.status == 200 => return None,
        Ok(reply) if target.is_verbose => {
            format!("status {}: {}", reply.status, plain(&shortened(&reply.text, BODY_SHOWN)))
        }
        Ok(reply) => format!("status {}", reply.status),
        Err(cause) => cause,
    };
    Some(format!("healthcheck: {name} {base}{path}: {cause}"))
}
