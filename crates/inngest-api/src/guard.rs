//! Pages of foreign sites must not talk to a server that needs no key: neither through a name that resolves
//! to this machine (DNS rebinding) nor by posting across sites.

use http::{HeaderMap, header};

use crate::cors;
use crate::paths::is_at_or_below;

/// Whom a server trusts besides this machine.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Names under which it is called (`--allowed-host`).
    pub hosts: Vec<String>,
    /// Origins whose pages may call it (`--cors-origin`).
    pub origins: Vec<String>,
}

impl Trusted {
    fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name_of(host)))
    }

    pub(crate) fn has_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }
}

/// Why a request is refused with 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("Forbidden: Host {0:?} is not a name of this server; use localhost or an IP address, or --allowed-host")]
    Host(String),
    #[error("Forbidden: pages of {0} may not call this endpoint; --cors-origin allows them")]
    Origin(String),
}

/// Paths that SDKs and event senders call from anywhere.
const OPEN_ROOTS: [&str; 8] = ["/e", "/fn", "/v0/runs", "/v0/connect", "/v1", "/api/v1", "/health", "/ready"];

/// Checks the host and, for requests that may change something, the origin.
pub(crate) fn check(trusted: &Trusted, path: &str, is_safe_method: bool, headers: &HeaderMap) -> Result<(), Foreign> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let open = OPEN_ROOTS.iter().any(|root| is_at_or_below(path, root));
    if let Some(host) = text(header::HOST).filter(|host| !open && !is_local(host) && !trusted.has_host(host)) {
        return Err(Foreign::Host(host.to_owned()));
    }
    // A browser sends an origin with every cross-site post; SDKs and scripts send none.
    let is_known = |origin: &str| is_local(host_of(origin)) || origin == cors::WEB_SITE || trusted.has_origin(origin);
    let is_foreign = |origin: &&str| !is_known(origin);
    match text(header::ORIGIN).filter(|_| !is_safe_method && !cors::is_open(path)).filter(is_foreign) {
        Some(origin) => Err(Foreign::Origin(origin.to_owned())),
        None => Ok(()),
    }
}

/// The host and port of an origin. `null`, which is no origin, has none.
pub(crate) fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or("", |(_, host)| host)
}

/// An IP address, a name without dots, or a name that always means this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let name = name_of(host);
    name.parse::<std::net::IpAddr>().is_ok()
        || (!name.is_empty() && !name.contains('.'))
        || name.ends_with(".localhost")
        || name == "host.docker.internal"
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let table = [
            ("/", "GET", "localhost:8288", "", true),
            ("/", "GET", "127.0.0.1:8288", "", true),
            ("/dev", "GET", "[::1]:8288", "", true),
            ("/dev", "GET", "inngest:8288", "", true),
            ("/dev", "GET", "app.localhost", "", true),
            ("/dev", "GET", "host.docker.internal:8288", "", true),
            ("/dev", "GET", "evil.example", "", false),
            ("/", "GET", "localhost.evil.example:8288", "", false),
            ("/e/key", "POST", "evil.example", "https://any.site", true),
            ("/fn/register", "POST", "evil.example", "", true),
            ("/v1/runs/x", "GET", "evil.example", "", true),
            ("/fn/register", "POST", "localhost", "https://evil.example", false),
            ("/v1/runs/x", "DELETE", "localhost", "https://evil.example", false),
            ("/v1/runs/x", "DELETE", "localhost", "http://localhost:3000", true),
            ("/fn/remove", "DELETE", "localhost", "https://app.inngest.com", true),
            ("/events", "GET", "evil.example", "", false),
            ("/events", "POST", "localhost", "https://evil.example", false),
            ("/events", "POST", "dev.corp.example:8288", "https://ops.example", true),
            ("/events", "GET", "corp.example", "", false),
            ("/api/v1/runs/x", "GET", "evil.example", "", true),
            ("/v0/connect/start", "POST", "evil.example", "", true),
            ("/v0/gql", "POST", "localhost", "null", false),
            ("/v1/realtime/publish", "POST", "localhost", "https://any.site", true),
        ];
        let trusted =
            Trusted { hosts: vec!["Dev.corp.example".to_owned()], origins: vec!["https://ops.example".to_owned()] };
        for (path, method, host, origin, allowed) in table {
            let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            if !origin.is_empty() {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let found = check(&trusted, path, method == "GET", &headers);
            assert_eq!(found.is_ok(), allowed, "{method} {path} {host} {origin}");
        }
    }
}
