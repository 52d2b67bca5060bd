//! The options of `inngest dev`, typed.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::{ConfigError, Layers, file};

/// What `inngest dev` was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// Serve URLs of apps.
    pub sdk_urls: Vec<String>,
    /// Wanted API port.
    pub port: u16,
    /// Address to listen on; `None` = all.
    pub host: Option<String>,
    /// Look for apps on the usual ports.
    pub discovery: bool,
    /// Ask healthy apps for changes.
    pub poll: bool,
    /// Time between two rounds.
    pub poll_interval: Duration,
    /// Fixed time between attempts.
    pub retry_interval: Option<Duration>,
    /// Calls in flight at a time.
    pub queue_workers: usize,
    /// Keep the database.
    pub persist: bool,
    /// Where.
    pub sqlite_dir: PathBuf,
    /// Fail when the port is taken.
    pub strict_port: bool,
    /// More ports to look for apps on.
    pub discovery_ports: Vec<u16>,
    /// Serve the built-in app.
    pub demo: bool,
    /// Time for calls in flight at the end.
    pub shutdown_timeout: Duration,
    /// Upper bound of the database in bytes.
    pub max_store_size: Option<u64>,
    /// Accepted, shown by `GET /dev`.
    pub tick_ms: u64,
    /// What becomes of the times of schedules that passed while the server was down.
    pub cron_catchup: CronCatchup,
    /// Bytes of one event.
    pub max_event_size: usize,
    /// Bytes of one request to the event API.
    pub max_request_size: usize,
    /// Bytes that one step may return.
    pub max_step_output: usize,
    /// Bytes of all events and results of one run.
    pub max_run_state: usize,
    /// Bytes that one step may report as its input.
    pub max_step_input: usize,
    /// Steps of one run.
    pub max_steps: usize,
    /// Bytes of one reply of an app.
    pub max_response_size: usize,
    /// Bytes of one call to an app.
    pub max_call_size: usize,
    /// Throttles and rate limits that functions share, and the file they come from.
    pub flow_control: Option<(String, Value)>,
    /// Names under which browsers may call the server.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call the server.
    pub cors_origins: Vec<String>,
    /// What the variable `TZ` says, if it says something: the time zone of schedules that name none.
    pub zone: Option<String>,
}

/// What becomes of the times of schedules that passed while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CronCatchup {
    /// The latest fires.
    #[default]
    Latest,
    /// Each fires.
    All,
    /// None does.
    None,
}

/// More workers would only be more memory: a call in flight costs some kilobytes.
const WORKERS_MAX: u64 = 100_000;

/// `GET /dev` shows the tick in nanoseconds.
const TICK_MS_MAX: u64 = 60 * 60 * 1000;

impl DevOptions {
    /// Reads every option from its strongest source.
    pub fn resolve(layers: &Layers) -> Result<Self, ConfigError> {
        layers.check_kinds()?;
        let port = layers.number("port")?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let workers = layers.number("queue-workers")?;
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(layers.wrong("queue-workers", workers.to_string(), "between 1 and 100000"));
        }
        let ports = layers.list("discovery-port");
        let tick_ms = layers.number("tick")?;
        if tick_ms > TICK_MS_MAX {
            return Err(layers.wrong("tick", tick_ms.to_string(), "at most 3600000 milliseconds, which is an hour"));
        }
        let catchup = layers.text("cron-catchup");
        let cron_catchup = match catchup.as_str() {
            "latest" => CronCatchup::Latest,
            "all" => CronCatchup::All,
            "none" => CronCatchup::None,
            _ => return Err(layers.wrong("cron-catchup", catchup, "latest, all or none")),
        };
        let bad_port = |text: &String| layers.wrong("discovery-port", text.clone(), "a port between 1 and 65535");
        Ok(Self {
            sdk_urls: layers.list("sdk-url"),
            port: port.ok_or_else(|| layers.wrong("port", layers.text("port"), "a port between 1 and 65535"))?,
            host: Some(layers.text("host")).filter(|host| !host.is_empty()),
            discovery: !layers.bool("no-discovery")?,
            poll: !layers.bool("no-poll")?,
            // Zero is no interval; the Go server takes it for the default too.
            poll_interval: match layers.seconds("poll-interval")? {
                Duration::ZERO => Duration::from_secs(5),
                interval => interval,
            },
            retry_interval: Some(layers.seconds("retry-interval")?).filter(|interval| !interval.is_zero()),
            queue_workers: usize::try_from(workers).unwrap_or(usize::MAX),
            persist: layers.bool("persist")?,
            sqlite_dir: layers.text("sqlite-dir").into(),
            strict_port: layers.bool("strict-port")?,
            discovery_ports: ports
                .iter()
                .map(|text| text.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad_port(text)))
                .collect::<Result<_, _>>()?,
            demo: layers.bool("demo")?,
            shutdown_timeout: layers.seconds("shutdown-timeout")?,
            max_store_size: Some(layers.number("max-store-size")?).filter(|bytes| *bytes > 0),
            tick_ms,
            cron_catchup,
            max_event_size: size(layers, "max-event-size")?,
            max_request_size: size(layers, "max-request-size")?,
            max_step_output: size(layers, "max-step-output")?,
            max_run_state: size(layers, "max-run-state")?,
            max_step_input: size(layers, "max-step-input")?,
            max_steps: steps(layers)?,
            max_response_size: size(layers, "max-response-size")?,
            max_call_size: size(layers, "max-call-size")?,
            flow_control: match layers.text("flow-control") {
                path if path.is_empty() => None,
                path => {
                    let document = file::read_document(&path)?;
                    Some((path, document))
                }
            },
            allowed_hosts: layers.list("allowed-host"),
            cors_origins: layers.list("cors-origin"),
            zone: std::env::var("TZ").ok().filter(|zone| !zone.trim().is_empty()),
        })
    }
}

/// One GiB: what is larger would be copied too often for one machine.
const SIZE_MAX: u64 = 1 << 30;

/// Each call lists all steps of its run, so their number is squared in the bytes that a run takes.
const STEPS_MAX: u64 = 100_000;

fn steps(layers: &Layers) -> Result<usize, ConfigError> {
    let steps = layers.number("max-steps")?;
    let number = usize::try_from(steps).ok().filter(|_| (1..=STEPS_MAX).contains(&steps));
    number.ok_or_else(|| layers.wrong("max-steps", steps.to_string(), "between 1 and 100000"))
}

fn size(layers: &Layers, name: &'static str) -> Result<usize, ConfigError> {
    let bytes = layers.number(name)?;
    let size = usize::try_from(bytes).ok().filter(|_| (1_024..=SIZE_MAX).contains(&bytes));
    size.ok_or_else(|| layers.wrong(name, bytes.to_string(), "between 1024 and 1073741824 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::File;

    fn layers(flags: &[(&'static str, &str)], variables: &[(&str, &str)], file: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::default();
        layers.add_flags(flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])));
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        layers.add_environment(variables).unwrap();
        let values = file.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        layers.add_file(File { path: "inngest.yaml".into(), values });
        layers
    }

    #[test]
    fn flags_beat_variables_beat_files_beat_defaults() {
        let port = |flags: &[(&'static str, &str)], variables: &[(&str, &str)], file: &[(&str, &str)]| {
            DevOptions::resolve(&layers(flags, variables, file)).unwrap().port
        };
        assert_eq!(port(&[], &[], &[]), 8288);
        assert_eq!(port(&[], &[], &[("port", "1")]), 1);
        assert_eq!(port(&[], &[("INNGEST_PORT", "2")], &[("port", "1")]), 2);
        assert_eq!(port(&[("port", "3")], &[("INNGEST_PORT", "2")], &[("port", "1")]), 3);
    }

    #[test]
    fn lists_switches_and_aliases() {
        let given = layers(
            &[("no-poll", "true")],
            &[
                ("INNGEST_SDK_URL", "http://a, http://b"),
                ("INNGEST_DEV", "1"),
                ("OTHER", "x"),
                ("INNGEST_NO_DISCOVERY", "T"),
            ],
            &[("urls", "ignored"), ("data-dir", "d"), ("poort", "1"), ("nonsense-key", "x"), ("sdk-ulr", "x")],
        );
        let options = DevOptions::resolve(&given).unwrap();
        assert_eq!(options.sdk_urls, ["http://a", "http://b"]);
        assert_eq!((options.discovery, options.poll, options.sqlite_dir), (false, false, "d".into()));
        assert_eq!(
            given.warnings,
            [
                "inngest.yaml: unknown key \"poort\" is ignored; did you mean port?",
                "inngest.yaml: unknown key \"nonsense-key\" is ignored",
                "inngest.yaml: unknown key \"sdk-ulr\" is ignored; did you mean sdk-url?",
            ]
        );
    }

    #[test]
    fn bad_values_are_named_with_their_source() {
        let table: [(&[(&str, &str)], &str); 10] = [
            (&[("INNGEST_PORT", "abc")], "invalid value \"abc\" for port (INNGEST_PORT): must be an integer"),
            (
                &[("INNGEST_PORT", "99999")],
                "invalid value \"99999\" for port (INNGEST_PORT): must be a port between 1 and 65535",
            ),
            (
                &[("INNGEST_PERSIST", "maybe")],
                "invalid value \"maybe\" for persist (INNGEST_PERSIST): must be true or false",
            ),
            (
                &[("INNGEST_QUEUE_WORKERS", "0")],
                "invalid value \"0\" for queue-workers (INNGEST_QUEUE_WORKERS): must be between 1 and 100000",
            ),
            (
                &[("INNGEST_DISCOVERY_PORT", "80,x")],
                "invalid value \"x\" for discovery-port (INNGEST_DISCOVERY_PORT): must be a port between 1 and 65535",
            ),
            (
                &[("INNGEST_DISCOVERY_PORT", "0")],
                "invalid value \"0\" for discovery-port (INNGEST_DISCOVERY_PORT): must be a port between 1 and 65535",
            ),
            (
                &[("INNGEST_CONNECT_GATEWAY_PORT", "x")],
                "invalid value \"x\" for connect-gateway-port (INNGEST_CONNECT_GATEWAY_PORT): must be an integer",
            ),
            (
                &[("INNGEST_RETRY_INTERVAL", "18446744073709551615")],
                "invalid value \"18446744073709551615\" for retry-interval (INNGEST_RETRY_INTERVAL): must be at most 31536000 seconds, which is a year",
            ),
            (
                &[("INNGEST_TICK", "18446744073709551615")],
                "invalid value \"18446744073709551615\" for tick (INNGEST_TICK): must be at most 3600000 milliseconds, which is an hour",
            ),
            (&[("INNGEST_JSON", "maybe")], "invalid value \"maybe\" for json (INNGEST_JSON): must be true or false"),
        ];
        for (variables, expected) in table {
            let error = DevOptions::resolve(&layers(&[], variables, &[])).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn flags_and_files_are_named_as_sources() {
        let error = DevOptions::resolve(&layers(&[("port", "-1")], &[], &[])).unwrap_err().to_string();
        assert_eq!(error, "invalid value \"-1\" for port (--port): must be an integer");
        let error = DevOptions::resolve(&layers(&[], &[], &[("port", "x")])).unwrap_err().to_string();
        assert_eq!(error, "invalid value \"x\" for port (inngest.yaml): must be an integer");
    }

    #[test]
    fn an_empty_variable_is_not_set_and_names_beat_aliases() {
        let given = layers(&[], &[("INNGEST_PORT", ""), ("INNGEST_DATA_DIR", "a"), ("INNGEST_SQLITE_DIR", "b")], &[]);
        let options = DevOptions::resolve(&given).unwrap();
        assert_eq!((options.port, options.sqlite_dir), (8288, "b".into()));
    }

    #[test]
    fn a_document_of_flow_control_is_read_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flow.yaml");
        std::fs::write(&path, "adaptive: [a]").unwrap();
        let path = path.to_str().unwrap();
        let resolve = |path| DevOptions::resolve(&layers(&[], &[("INNGEST_FLOW_CONTROL", path)], &[]));
        let expected = (path.to_owned(), serde_json::json!({ "adaptive": ["a"] }));
        assert_eq!(resolve(path).unwrap().flow_control, Some(expected));
        assert_eq!(resolve("").unwrap().flow_control, None);
        assert!(
            resolve("/nowhere.json").unwrap_err().to_string().starts_with("error reading config file /nowhere.json")
        );
    }

    #[test]
    fn zero_intervals_mean_the_default() {
        let options =
            DevOptions::resolve(&layers(&[("poll-interval", "0"), ("retry-interval", "0")], &[], &[])).unwrap();
        assert_eq!((options.poll_interval, options.retry_interval), (Duration::from_secs(5), None));
    }

    #[test]
    fn secrets_may_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "abcd\n").unwrap();
        let given = layers(&[], &[("INNGEST_SIGNING_KEY_FILE", path.to_str().unwrap())], &[]);
        assert_eq!(given.text("signing-key"), "abcd");
        let both =
            layers(&[], &[("INNGEST_SIGNING_KEY_FILE", path.to_str().unwrap()), ("INNGEST_SIGNING_KEY", "plain")], &[]);
        assert_eq!(both.text("signing-key"), "plain");
        // Only secrets are read from files.
        assert_eq!(layers(&[], &[("INNGEST_PORT_FILE", "/nowhere")], &[]).text("port"), "8288");
        let missing = Layers::default().add_environment([("INNGEST_EVENT_KEY_FILE".to_owned(), "/nowhere".to_owned())]);
        assert!(missing.unwrap_err().to_string().starts_with("error reading config file /nowhere: "));
    }
}
