//! What a run of the suites is told: by flags, else by a file.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use inngest_config::file;
use inngest_core::signing::SigningKey;
use serde_json::Value;

use super::catalogue::{self, Case};
use crate::{flags, input};

const DEV_URL: &str = "http://127.0.0.1:8288";
const EVENT_KEY: &str = "test";
/// A case that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(240);
/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Settings {
    pub(super) transport: String,
    pub(super) cases: Vec<Case>,
    pub(super) timeout: Duration,
    pub(super) sdk_url: String,
    pub(super) introspect_path: String,
    pub(super) dev_url: String,
    pub(super) api_url: String,
    pub(super) event_url: String,
    pub(super) event_key: String,
    pub(super) key: Option<SigningKey>,
    pub(super) format: String,
    pub(super) output: Option<String>,
}

/// A flag, its place in a file, and what it says.
type Setting = (&'static str, &'static str, &'static str, &'static str);

const OPTIONS: [Setting; 10] = [
    ("transport", "/transport", "NAME", "How the server calls the app: serve, or connect. [default: serve]"),
    ("timeout", "/timeout", "TIME", "A case that takes longer has failed. [default: 4m]"),
    ("sdk-url", "/sdk/url", "URL", "Where the app with the functions of the suites is served."),
    ("introspect-path", "/sdk/introspect_path", "PATH", "Where the app tells about itself, if not at its URL."),
    ("dev-url", "/dev/url", "URL", "The server. [default: http://127.0.0.1:8288] [env: INNGEST_BASE_URL]"),
    ("api-url", "/dev/api_url", "URL", "Its API, if that is elsewhere."),
    ("event-url", "/dev/event_url", "URL", "Its event API, if that is elsewhere."),
    ("event-key", "/dev/event_key", "KEY", "Event key of the server. [default: test]"),
    ("signing-key", "/dev/signing_key", "KEY", "Signing key of server and app; a dev server needs none."),
    ("report-out", "/report/output", "FILE", "Write the report to this file."),
];

const LISTS: [Setting; 3] = [
    ("suite", "/suites", "NAME", "Only cases of this suite. May be repeated."),
    ("case", "/cases", "NAME", "Only this case. May be repeated."),
    ("feature", "/features", "NAME", "Only cases of this feature. May be repeated."),
];

pub(super) fn format() -> Arg {
    Arg::new("report-format")
        .long("report-format")
        .value_name("FORMAT")
        .value_parser(["pretty", "json", "junit", "markdown"])
        .help("Form of the report. [default: pretty]")
}

pub(super) fn args() -> Vec<Arg> {
    let arg = |(name, _, value, help): Setting| Arg::new(name).long(name).value_name(value).help(help);
    let lists = LISTS.into_iter().map(|list| arg(list).action(ArgAction::Append).value_delimiter(','));
    let config =
        Arg::new("config").long("config").value_name("FILE").help("Read all of these from a YAML or JSON file.");
    [config, format()].into_iter().chain(lists).chain(OPTIONS.into_iter().map(arg)).collect()
}

impl Settings {
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, String> {
        let file = flags::text(matches, "config").map(file::read_document).transpose();
        let file = file.map_err(|error| error.to_string())?.unwrap_or_default();
        let place = |name: &str| {
            OPTIONS.iter().chain(&LISTS).find(|(flag, ..)| *flag == name).map_or("", |(_, place, ..)| place)
        };
        let text = |name: &str| {
            let filed = || file.pointer(place(name)).and_then(Value::as_str).map(str::to_owned);
            flags::text(matches, name).map(str::to_owned).or_else(filed)
        };
        let list = |name: &str| -> Vec<String> {
            let given = matches.get_many::<String>(name).into_iter().flatten().cloned().collect::<Vec<_>>();
            let filed = file.pointer(place(name)).and_then(Value::as_array).into_iter().flatten();
            let filed = filed.filter_map(Value::as_str).map(str::to_owned);
            if given.is_empty() { filed.collect() } else { given }
        };
        let url = |name: &str| text(name).map(|url| url.trim_end_matches('/').to_owned());
        let key = text("signing-key").filter(|key| !key.is_empty()).map(|key| SigningKey::parse(&key)).transpose();
        let from_environment = || std::env::var("INNGEST_BASE_URL").ok().filter(|url| !url.is_empty());
        let dev_url = url("dev-url").or_else(from_environment).unwrap_or_else(|| DEV_URL.to_owned());
        let format = flags::text(matches, "report-format").or_else(|| file.pointer("/report/format")?.as_str());
        let is_json = matches.get_one("json").copied().unwrap_or(false);
        let transport = text("transport").unwrap_or_else(|| "serve".to_owned());
        // Apps of other transports are not at a URL.
        let sdk_url = url("sdk-url").or_else(|| (transport != "serve").then(String::new));
        Ok(Self {
            transport,
            cases: catalogue::selected(&list("suite"), &list("case"), &list("feature"))?,
            timeout: text("timeout").map_or(Ok(TIMEOUT), |text| input::span(&text))?,
            sdk_url: sdk_url
                .ok_or("--sdk-url is required: where the app with the functions of the suites is served")?,
            introspect_path: text("introspect-path").unwrap_or_default(),
            api_url: url("api-url").unwrap_or_else(|| dev_url.clone()),
            event_url: url("event-url").unwrap_or_else(|| dev_url.clone()),
            event_key: text("event-key").unwrap_or_else(|| EVENT_KEY.to_owned()),
            key: key.map_err(|error| format!("{error}, as 0123abcd or signkey-test-0123abcd"))?,
            format: format.unwrap_or(if is_json { "json" } else { "pretty" }).to_owned(),
            output: text("report-out"),
            dev_url,
        })
    }

    /// Where the app tells about itself.
    pub(super) fn introspection(&self) -> String {
        match (self.introspect_path.as_str(), self.sdk_url.split('/').take(3).collect::<Vec<_>>().join("/")) {
            ("", _) => self.sdk_url.clone(),
            (path, origin) => format!("{origin}/{}", path.trim_start_matches('/')),
        }
    }

    pub(super) fn agent(&self) -> ureq::Agent {
        let config = ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false);
        config.proxy(None).build().into()
    }
}
