//! Commands that ask a running server.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use serde_json::Value;
use ureq::http::{HeaderValue, Method, Request};

use crate::{args, log};

/// Where a dev server is unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8288";
const SIGNING_KEY: &str = "INNGEST_SIGNING_KEY";
const TIMEOUT: Duration = Duration::from_secs(30);

/// The server that a command asks.
pub(crate) struct Server {
    url: String,
    agent: ureq::Agent,
}

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

/// Runs a command: prints what it tells, as JSON if that was asked for, or why it failed.
pub(crate) fn answer(
    matches: &ArgMatches,
    command: impl FnOnce(&ArgMatches, &Server) -> Result<(Value, String), String>,
) -> ExitCode {
    match command(matches, &Server::of(innermost(matches))) {
        Ok((answer, _)) if matches.get_one("json").copied().unwrap_or(false) => {
            args::out(&format!("{answer}\n"));
            ExitCode::SUCCESS
        }
        Ok((_, text)) => {
            args::out(&text);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            args::err(&format!("Error: {}\n", plain(&problem)));
            ExitCode::FAILURE
        }
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| inner)
}

impl Server {
    fn of(matches: &ArgMatches) -> Self {
        let given = matches.get_one::<String>("url").map(|url| url.trim_end_matches('/')).filter(|url| !url.is_empty());
        // Whom a proxy would serve, the address of a server at hand is not meant for.
        let config =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).http_status_as_error(false);
        Self { url: given.unwrap_or(DEFAULT_URL).to_owned(), agent: config.build().into() }
    }

    /// The `data` of what the server answers.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        self.answer(method, path, body).map_err(|refusal| refusal.text)
    }

    /// As [`Server::ask`], of what may not be there.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>, String> {
        match self.answer(Method::GET, path, None) {
            Ok(found) => Ok(Some(found)),
            Err(refusal) if refusal.is_absence => Ok(None),
            Err(refusal) => Err(refusal.text),
        }
    }

    fn answer(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        let key = std::env::var(SIGNING_KEY).ok();
        if let Some(credentials) = key.as_deref().map(credentials).transpose()?.flatten() {
            request = request.header("authorization", credentials);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(body).map_err(|error| format!("{} is no URL: {error}", self.url))?;
        let mut reply = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        let status = reply.status();
        let text = reply.body_mut().read_to_string().map_err(|error| self.unreachable(&error))?;
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() && answer.get("data").is_some() {
            return Ok(answer["data"].take());
        }
        Err(match (status.as_u16(), answer["error"].as_str()) {
            (401, Some(error)) => format!("{error}: {SIGNING_KEY} must hold the signing key of the server").into(),
            (404, Some(error)) => Refusal { text: error.to_owned(), is_absence: true },
            (_, Some(error)) => error.to_owned().into(),
            (status, None) => {
                format!("{} answered with status {status}, and not as an Inngest server", self.url).into()
            }
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> String {
        format!(
            "the server at {} cannot be reached: {error}. Is it running? Another one is named by --url or INNGEST_BASE_URL",
            self.url
        )
    }
}

/// What a signing key is sent as; nothing for an empty one.
fn credentials(key: &str) -> Result<Option<HeaderValue>, String> {
    let key = key.trim();
    let sent = (!key.is_empty()).then(|| HeaderValue::try_from(format!("Bearer {key}")));
    sent.transpose().map_err(|_| format!("{SIGNING_KEY} holds what no signing key has, such as a line break"))
}

/// A text of the server on one line.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _written = log::plain(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_is_sent_trimmed_or_not_at_all() {
        let sent = |key| credentials(key).map(|sent| sent.map(|sent| sent.to_str().unwrap().to_owned()));
        assert_eq!(sent(" signkey-test-1\n"), Ok(Some("Bearer signkey-test-1".to_owned())));
        assert_eq!((sent(""), sent(" \n")), (Ok(None), Ok(None)));
        assert!(sent("a\nb").unwrap_err().starts_with("INNGEST_SIGNING_KEY holds"));
    }
}
