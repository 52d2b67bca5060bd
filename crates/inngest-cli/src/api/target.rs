//! Whom `inngest api` asks, and with which key.

use std::time::Duration;

use clap::ArgMatches;
use inngest_config::Layers;
use ureq::http::{HeaderValue, Request, Uri};

use super::request::Asked;
use crate::{dev, flags, input};

const CLOUD: &str = "https://api.inngest.com/v2";
const PATH: &str = "/api/v2";
const PORT: u16 = 8288;
const TIMEOUT: Duration = Duration::from_secs(30);
/// A longer answer is refused.
const ANSWER_BYTES_MAX: u64 = 25 * 1024 * 1024;

/// Whom to ask.
pub(super) struct Target {
    /// With its path, without a slash at its end.
    base: String,
    key: Option<String>,
    environment: Option<String>,
    timeout: Option<Duration>,
    pub(super) is_cloud: bool,
    /// Nobody has named a server.
    is_default: bool,
}

/// What was said about the server.
#[derive(Default)]
struct Wishes<'w> {
    host: Option<&'w str>,
    port: Option<u16>,
    is_cloud: bool,
}

impl Target {
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, String> {
        let layers = dev::surroundings(flags::text(matches, "config")).map_err(|error| error.to_string())?;
        let host = flags::text(matches, "api-host").map_or_else(|| layers.text("api-host"), str::to_owned);
        let wishes = Wishes {
            host: Some(&*host).filter(|host| !host.is_empty()),
            port: matches.get_one("api-port").copied().map_or_else(|| port(&layers), |port| Ok(Some(port)))?,
            is_cloud: matches.get_flag("prod") || layers.bool("prod").map_err(|error| error.to_string())?,
        };
        let base = wishes.base()?;
        let said = |name| flags::text(matches, name).filter(|key| !key.is_empty()).map(str::to_owned);
        let key = said("api-key").or_else(|| said("signing-key"));
        if let (Some(_), Some(host)) = (&key, exposed(&base)) {
            return Err(format!("refusing to send credentials over plaintext HTTP to {host}; use an https:// target"));
        }
        let timeout = flags::text(matches, "timeout").map_or(Ok(Some(TIMEOUT)), timeout)?;
        let is_default = wishes.host.is_none() && wishes.port.is_none() && !wishes.is_cloud;
        let is_cloud = base.starts_with("https://") && base.contains("inngest.com/");
        Ok(Self { base, key, environment: said("env"), timeout, is_cloud, is_default })
    }

    /// The body of the answer.
    pub(super) fn send(&self, asked: Asked) -> Result<String, String> {
        let url = format!("{}{}", self.base, asked.path);
        let mut request = Request::builder()
            .method(asked.method)
            .uri(&url)
            .header("user-agent", format!("inngest-cli/{}", crate::VERSION))
            .header("accept", "application/json");
        if asked.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let header = |name: &str, value: String| {
            HeaderValue::try_from(value)
                .map_err(|_| format!("the {name} holds what no header may, such as a line break"))
        };
        if let Some(key) = &self.key {
            request = request.header("authorization", header("key", format!("Bearer {}", key.trim()))?);
        }
        if let Some(environment) = &self.environment {
            request = request.header("x-inngest-env", header("environment", environment.clone())?);
        }
        let request =
            request.body(asked.body.unwrap_or_default()).map_err(|error| format!("{url} is no URL: {error}"))?;
        let config = ureq::Agent::config_builder().timeout_global(self.timeout).http_status_as_error(false);
        // A proxy is for servers elsewhere.
        let config = if is_local_url(&self.base) { config.proxy(None) } else { config };
        let mut reply = ureq::Agent::from(config.build()).run(request).map_err(|error| self.unreachable(&error))?;
        let body = reply.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"),
            error => self.unreachable(&error),
        })?;
        if reply.status().as_u16() >= 400 {
            return Err(format!("{}: {}", reply.status(), body.trim_end()));
        }
        Ok(body)
    }

    fn unreachable(&self, error: &ureq::Error) -> String {
        let hint =
            if self.is_default { "; start one with inngest dev, or use --prod to ask Inngest Cloud" } else { "" };
        format!("no server answers at {} ({error}){hint}", self.base)
    }
}

impl Wishes<'_> {
    /// A host counts more than a port, and that more than the cloud.
    fn base(&self) -> Result<String, String> {
        match (self.host, self.port) {
            (Some(host), port) => base_of_host(host, port),
            (None, Some(port)) => Ok(format!("http://localhost:{port}{PATH}")),
            (None, None) if self.is_cloud => Ok(CLOUD.to_owned()),
            (None, None) => Ok(format!("http://localhost:{PORT}{PATH}")),
        }
    }
}

/// A host, a host with its port, or a URL. Without a scheme it is `https`, but on this machine `http`.
fn base_of_host(given: &str, port: Option<u16>) -> Result<String, String> {
    let wrong = || format!("--api-host {given:?} is no host and no URL of the API; one is http://localhost:8288");
    let has_scheme = given.contains("://");
    let text = if has_scheme { given.to_owned() } else { format!("http://{given}") };
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) if has_scheme => scheme,
        Some("http") if is_local(host) => "http",
        Some("http") => "https",
        _ => return Err(wrong()),
    };
    let port = uri.port_u16().or(port).or_else(|| (!has_scheme && is_local(host)).then_some(PORT));
    let path = match uri.path() {
        "" | "/" | "/api" => PATH,
        path @ ("/api/v2" | "/v2") => path,
        _ => return Err(format!("--api-host {given:?}: its path must be /api/v2 or /v2, if it has one")),
    };
    if uri.query().is_some() {
        return Err(wrong());
    }
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Ok(format!("{scheme}://{host}{port}{path}"))
}

fn is_local(host: &str) -> bool {
    matches!(host.trim_matches(['[', ']']), "localhost" | "127.0.0.1" | "::1" | "0.0.0.0")
}

fn is_local_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(is_local))
}

/// The host of a URL over which nothing secret may go.
fn exposed(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host().filter(|host| uri.scheme_str() == Some("http") && !is_local(host))?;
    Some(host.to_owned())
}

fn port(layers: &Layers) -> Result<Option<u16>, String> {
    let text = layers.text("api-port");
    if text.is_empty() {
        return Ok(None);
    }
    let port = text.trim().parse().ok().filter(|port| *port > 0);
    port.map(Some).ok_or_else(|| layers.wrong("api-port", text, "a port between 1 and 65535").to_string())
}

/// A span of time; `0` is none.
fn timeout(text: &str) -> Result<Option<Duration>, String> {
    let span = (text != "0").then(|| input::span(text)).transpose();
    span.map_err(|problem| format!("--timeout: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_in_every_form() {
        let table = [
            (None, None, false, "http://localhost:8288/api/v2"),
            (None, None, true, "https://api.inngest.com/v2"),
            (None, Some(9), true, "http://localhost:9/api/v2"),
            (Some("example.com"), Some(9), true, "https://example.com:9/api/v2"),
            (Some("example.com"), None, false, "https://example.com/api/v2"),
            (Some("example.com:4"), Some(9), false, "https://example.com:4/api/v2"),
            (Some("localhost"), None, false, "http://localhost:8288/api/v2"),
            (Some("127.0.0.1"), Some(9), false, "http://127.0.0.1:9/api/v2"),
            (Some("[::1]:7"), None, false, "http://[::1]:7/api/v2"),
            (Some("http://example.com/"), None, false, "http://example.com/api/v2"),
            (Some("https://example.com/api"), None, false, "https://example.com/api/v2"),
            (Some("https://example.com/v2/"), None, false, "https://example.com/v2"),
        ];
        for (host, port, is_cloud, expected) in table {
            assert_eq!(Wishes { host, port, is_cloud }.base().as_deref(), Ok(expected), "{host:?} {port:?}");
        }
        for host in ["ftp://x", "http://", "a b", "https://example.com/v1", "https://example.com/v2?x=1"] {
            assert!(base_of_host(host, None).unwrap_err().starts_with("--api-host "), "{host}");
        }
    }

    #[test]
    fn keys_go_over_plaintext_to_this_machine_only() {
        assert_eq!(exposed("http://example.test/api/v2").as_deref(), Some("example.test"));
        for url in ["https://example.test/v2", "http://localhost:1/v2", "http://[::1]:1/v2", "http://0.0.0.0/v2"] {
            assert_eq!(exposed(url), None, "{url}");
        }
    }

    #[test]
    fn a_timeout_of_zero_is_none() {
        assert_eq!(timeout("0"), Ok(None));
        assert_eq!(timeout("1m"), Ok(Some(Duration::from_secs(60))));
        assert!(timeout("soon").is_err() && timeout("-1s").is_err());
    }
}
