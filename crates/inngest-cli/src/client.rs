//! Commands that ask a running server.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use inngest_core::canonical;
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::args;
use crate::output::plain_lines;

/// Where a dev server is unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8288";
const SIGNING_KEY: &str = "INNGEST_SIGNING_KEY";
/// The header by which every server of Inngest tells what it is.
pub(crate) const KIND: &str = "x-inngest-server-kind";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Entries that a server lists at a time.
const PAGE: usize = 100;
/// A longer answer is refused; this one has a page of the largest events.
const ANSWER_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Payloads may be nested as deeply as events may be, and what reads and writes them goes down with them.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// The server that a command asks.
pub(crate) struct Server {
    pub(crate) url: String,
    agent: ureq::Agent,
    /// What a signing key is sent as.
    credentials: Option<HeaderValue>,
    /// What to do when it cannot be reached.
    hint: &'static str,
}

/// What a server answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// What a command tells: to programs and to people.
pub(crate) type Told = (Value, String);

/// Why there is no answer.
struct Refusal {
    text: String,
    /// The server has no such thing.
    is_absence: bool,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { text, is_absence: false }
    }
}

/// `--url`, which every such command has.
pub(crate) fn url() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .env("INNGEST_BASE_URL")
        .hide_env(true)
        .help(format!("The server to ask. [default: {DEFAULT_URL}] [env: INNGEST_BASE_URL]"))
}

/// Runs a command that asks a server.
pub(crate) fn answer(
    matches: &ArgMatches,
    command: impl FnOnce(&ArgMatches, &Server) -> Result<Told, String> + Send,
) -> ExitCode {
    let run = || tell(matches, Server::of(innermost(matches)).and_then(|server| command(matches, &server)));
    std::thread::scope(|scope| match std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run) {
        Ok(running) => running.join().unwrap_or(ExitCode::FAILURE),
        Err(error) => tell(matches, Err(format!("no thread can be started: {error}"))),
    })
}

/// Prints what a command tells, as JSON if that was asked for, or why it failed.
pub(crate) fn tell(matches: &ArgMatches, told: Result<Told, String>) -> ExitCode {
    match told {
        Ok((answer, _)) if matches.get_one("json").copied().unwrap_or(false) => args::out(&format!("{answer}\n")),
        Ok((_, text)) => args::out(&text),
        Err(problem) => {
            args::err(&format!("Error: {}\n", plain_lines(&problem)));
            ExitCode::FAILURE
        }
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| innermost(inner))
}

impl Server {
    fn of(matches: &ArgMatches) -> Result<Self, String> {
        let given = matches.get_one::<String>("url").map(|url| url.trim()).filter(|url| !url.is_empty());
        let hint = ". Is it running? Another one is named by --url or INNGEST_BASE_URL";
        Ok(Self { hint, credentials: credentials()?, ..Self::at(&base(given.unwrap_or(DEFAULT_URL))?, TIMEOUT) })
    }

    /// The server at this URL. A signing key that cannot be sent is not sent.
    pub(crate) fn at(url: &str, timeout: Duration) -> Self {
        // Whom a proxy would serve, the address of a server at hand is not meant for.
        let config =
            ureq::Agent::config_builder().timeout_global(Some(timeout)).proxy(None).http_status_as_error(false);
        Self {
            url: url.to_owned(),
            agent: config.build().into(),
            credentials: credentials().unwrap_or_default(),
            hint: "",
        }
    }

    /// The `data` of what the server answers.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let body = body.map(Value::to_string);
        self.data(method, path, body.as_deref()).map_err(|refusal| refusal.text)
    }

    /// As [`Server::ask`], of what may not be there.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>, String> {
        match self.data(Method::GET, path, None) {
            Ok(found) => Ok(Some(found)),
            Err(refusal) if refusal.is_absence => Ok(None),
            Err(refusal) => Err(refusal.text),
        }
    }

    /// The whole answer, which may be empty.
    pub(crate) fn send(&self, method: Method, path: &str, body: Option<&str>) -> Result<Value, String> {
        self.whole(method, path, body).map_err(|refusal| refusal.text)
    }

    /// Up to `limit` entries of a list, from `cursor` on, and the cursor of those that follow.
    pub(crate) fn list(
        &self,
        path: &str,
        query: &Query,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), String> {
        let (mut found, mut cursor) = (Vec::new(), cursor.map(str::to_owned));
        loop {
            let asked = (limit - found.len()).min(PAGE);
            let page = query.clone().with("limit", &asked.to_string()).with_some("cursor", cursor.as_deref());
            let mut answer = self.send(Method::GET, &format!("{path}{}", page.text()), None)?;
            let Value::Array(entries) = answer["data"].take() else {
                return Err(format!("{} answered without a list; is it an Inngest server?", self.url));
            };
            // Lists of events have no page: a full one may be followed by another.
            let last = entries.last().filter(|_| answer.get("page").is_none() && entries.len() == asked);
            cursor = answer["page"]["cursor"].as_str().or_else(|| last?["internal_id"].as_str()).map(str::to_owned);
            let is_empty = entries.is_empty();
            found.extend(entries);
            if found.len() >= limit || cursor.is_none() || is_empty {
                return Ok((found, cursor));
            }
        }
    }

    fn data(&self, method: Method, path: &str, body: Option<&str>) -> Result<Value, Refusal> {
        let mut answer = self.whole(method, path, body)?;
        match answer.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => Err(self.stranger(200).into()),
        }
    }

    fn whole(&self, method: Method, path: &str, body: Option<&str>) -> Result<Value, Refusal> {
        let Reply { status, headers, text } = self.request(method, path, body)?;
        let answer: Option<Value> = if text.trim().is_empty() { Some(Value::Null) } else { parse(&text) };
        if let (200..300, Some(answer)) = (status, &answer) {
            return Ok(answer.clone());
        }
        let answer = answer.unwrap_or_default();
        let error = answer["error"].as_str().or_else(|| answer["errors"][0]["message"].as_str());
        Err(match (status, error) {
            (_, Some(error)) if answer["event"].is_u64() => {
                format!("{error} (event {}, counted from 0)", answer["event"]).into()
            }
            (401, Some(error)) => format!("{error}: {SIGNING_KEY} must hold the signing key of the server").into(),
            (404, Some(error)) => Refusal { text: error.to_owned(), is_absence: true },
            (_, Some(error)) => error.to_owned().into(),
            (status, None) if headers.contains_key(KIND) => {
                let path = path.split('?').next().unwrap_or(path);
                let url = &self.url;
                format!(
                    "{url} is an Inngest server, but answers {path} with status {status}; is it of another version?"
                )
                .into()
            }
            (status, None) => self.stranger(status).into(),
        })
    }

    /// Any answer of the server.
    pub(crate) fn request(&self, method: Method, path: &str, body: Option<&str>) -> Result<Reply, String> {
        self.exchange(method, path, body).map_err(|cause| {
            let Self { url, hint, .. } = self;
            format!("the server at {url} cannot be reached: {cause}{hint}")
        })
    }

    /// Any answer of the server, or just why there is none.
    pub(crate) fn exchange(&self, method: Method, path: &str, body: Option<&str>) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(credentials) = &self.credentials {
            request = request.header("authorization", credentials);
        }
        let request = request.body(body.unwrap_or_default().to_owned());
        let request = request.map_err(|error| format!("this is no URL: {error}"))?;
        let mut reply = self.agent.run(request).map_err(|error| error.to_string())?;
        let body = reply.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = body.map_err(|error| error.to_string())?;
        Ok(Reply { status: reply.status().as_u16(), headers: std::mem::take(reply.headers_mut()), text })
    }

    fn stranger(&self, status: u16) -> String {
        format!("{} answered with status {status}, and not as an Inngest server", self.url)
    }
}

/// The URL of a server, without a slash at its end; `http` unless it says otherwise.
fn base(given: &str) -> Result<String, String> {
    let url = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
    let url = url.trim_end_matches('/').to_owned();
    let is_usable = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    is_usable.then_some(url).ok_or_else(|| {
        format!("{given:?} is no http or https URL; --url or INNGEST_BASE_URL names a server, such as {DEFAULT_URL}")
    })
}

/// JSON, nested as deeply as payloads may be.
fn parse(text: &str) -> Option<Value> {
    // It refuses what is nested more deeply.
    canonical::canonicalise(text.as_bytes(), canonical::Numbers::Exact).ok()?;
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    reader.into_iter().next()?.ok()
}

/// Parameters of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn with_some(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub(crate) fn with_all<'v>(self, name: &'static str, values: impl IntoIterator<Item = &'v str>) -> Self {
        values.into_iter().fold(self, |query, value| query.with(name, value))
    }

    fn text(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        format!("?{}", pairs.join("&"))
    }
}

/// A text as one part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// An id of a run or an event. What is none must not become another path.
pub(crate) fn ulid<'t>(what: &str, text: &'t str) -> Result<&'t str, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("{text:?} is no id of {what}; one has 26 letters and digits"));
    }
    Ok(text)
}

/// An id of a function, as one part of a path. It may have any letters; but clients take parts that are only dots for
/// another path.
pub(crate) fn slug(text: &str) -> Result<String, String> {
    if text.chars().all(|letter| letter == '.') {
        return Err(format!("{text:?} is no id of a function; one is such as shop-order"));
    }
    Ok(encoded(text))
}

/// What the signing key of the environment is sent as.
fn credentials() -> Result<Option<HeaderValue>, String> {
    bearer(&std::env::var(SIGNING_KEY).unwrap_or_default())
}

/// What a signing key is sent as; nothing for an empty one.
fn bearer(key: &str) -> Result<Option<HeaderValue>, String> {
    let key = key.trim();
    let sent = (!key.is_empty()).then(|| HeaderValue::try_from(format!("Bearer {key}")));
    sent.transpose().map_err(|_| format!("{SIGNING_KEY} holds what no signing key has, such as a line break"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_is_sent_trimmed_or_not_at_all() {
        let sent = |key| bearer(key).map(|sent| sent.map(|sent| sent.to_str().unwrap().to_owned()));
        assert_eq!(sent(" signkey-test-1\n"), Ok(Some("Bearer signkey-test-1".to_owned())));
        assert_eq!((sent(""), sent(" \n")), (Ok(None), Ok(None)));
        assert!(sent("a\nb").unwrap_err().starts_with("INNGEST_SIGNING_KEY holds"));
    }

    #[test]
    fn a_server_is_named_with_or_without_its_scheme() {
        for (given, expected) in [
            ("http://127.0.0.1:8288/", "http://127.0.0.1:8288"),
            ("localhost:8288", "http://localhost:8288"),
            ("inngest", "http://inngest"),
            ("https://inngest.example/", "https://inngest.example"),
        ] {
            assert_eq!(base(given).as_deref(), Ok(expected));
        }
        for given in ["ftp://x", "http://", "not a url", "file:///x"] {
            assert!(base(given).unwrap_err().contains("is no http or https URL"), "{given}");
        }
    }

    #[test]
    fn ids_stay_one_part_of_a_path() {
        for (id, expected) in
            [("shop-order", "shop-order"), ("a_b.c", "a_b.c"), ("größe", "gr%C3%B6%C3%9Fe"), ("a b/c?", "a%20b%2Fc%3F")]
        {
            assert_eq!(slug(id).as_deref(), Ok(expected));
        }
        for text in ["", ".", ".."] {
            assert!(slug(text).is_err(), "{text}");
        }
        assert_eq!(ulid("a run", "01M85QRDBHC70063SSP1V76AAN"), Ok("01M85QRDBHC70063SSP1V76AAN"));
        assert!(ulid("a run", "../x").unwrap_err().contains("is no id of a run"));
    }

    #[test]
    fn parameters_are_encoded() {
        let query = Query::default().with("name", "a/b c").with_some("cursor", None).with_all("status", ["x", "y"]);
        assert_eq!(query.text(), "?name=a%2Fb%20c&status=x&status=y");
    }
}
