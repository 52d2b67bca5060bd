//! The table of options.

/// What kind of value an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; the bare flag means `true`.
    Bool,
    /// A whole number, zero or more.
    Number,
    /// Any text.
    Text,
    /// Several texts: repeated, or separated by commas.
    List,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Kebab-case: the flag, the key of a file, and (as `INNGEST_X_Y`) the variable.
    pub name: &'static str,
    /// One-letter flag.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// The default as text, shown in the help; empty when there is none.
    pub default: &'static str,
    /// What it does, in one or two sentences.
    pub help: &'static str,
    /// Accepted, but not shown: without effect, or for tests.
    pub hidden: bool,
    /// Other names of the same option.
    pub aliases: &'static [&'static str],
}

const fn option(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Spec {
    Spec { name, short: None, kind, default, help, hidden: false, aliases: &[] }
}

const fn hidden(name: &'static str, kind: Kind) -> Spec {
    Spec { hidden: true, ..option(name, kind, "", "Accepted for compatibility; without effect.") }
}

/// A flag of all commands has its own line in the help.
const fn global(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Spec {
    Spec { hidden: true, ..option(name, kind, default, help) }
}

/// Options of `inngest dev`.
pub const DEV: [Spec; 54] = [
    Spec {
        short: Some('u'),
        aliases: &["urls"],
        ..option(
            "sdk-url",
            Kind::List,
            "",
            "Serve URL of an app, for example http://localhost:3000/api/inngest. May be repeated.",
        )
    },
    Spec {
        short: Some('p'),
        ..option("port", Kind::Number, "8288", "Port of the API. The next free one is used when it is taken.")
    },
    option(
        "host",
        Kind::Text,
        "",
        "Address to listen on. All interfaces by default, because containers call a dev server; 127.0.0.1 narrows it.",
    ),
    option("no-discovery", Kind::Bool, "false", "Do not look for apps on the usual ports."),
    option("no-poll", Kind::Bool, "false", "Do not ask healthy apps for changes; apps with an error are still asked."),
    option("poll-interval", Kind::Number, "5", "Seconds between two rounds of asking apps for changes."),
    option(
        "retry-interval",
        Kind::Number,
        "0",
        "Seconds between two attempts, always the same; 0 uses the growing intervals of production.",
    ),
    option("queue-workers", Kind::Number, "100", "Calls to apps that may be in flight at a time."),
    option(
        "persist",
        Kind::Bool,
        "false",
        "Keep the database over restarts, in ./.inngest or --sqlite-dir. Otherwise every start is a fresh one.",
    ),
    Spec {
        aliases: &["data-dir"],
        ..option("sqlite-dir", Kind::Text, ".inngest", "Directory of the database with --persist.")
    },
    option("strict-port", Kind::Bool, "false", "Fail when the port is taken, instead of using the next free one."),
    option("discovery-port", Kind::List, "", "More ports to look for apps on."),
    option(
        "demo",
        Kind::Bool,
        "false",
        "Serve a small built-in app and send it events, to see runs without an app of your own.",
    ),
    option(
        "cron-catchup",
        Kind::Text,
        "latest",
        "What becomes of the times of cron schedules that passed while the server was down: latest (the last one fires), all or none.",
    ),
    option(
        "shutdown-timeout",
        Kind::Number,
        "1",
        "Seconds that calls in flight may take to finish after SIGINT or SIGTERM; the rest is taken up by the next start.",
    ),
    option(
        "max-store-size",
        Kind::Number,
        "0",
        "Bytes that the database may grow to; then events are refused with 503 as on a full disk. 0 = no limit.",
    ),
    option("max-event-size", Kind::Number, "3145728", "Bytes of one event; a larger one is refused."),
    option(
        "max-request-size",
        Kind::Number,
        "67108864",
        "Bytes of one request to the event API; a larger one is refused.",
    ),
    option("max-step-output", Kind::Number, "4194304", "Bytes that one step may return; more fails the attempt."),
    option(
        "max-run-state",
        Kind::Number,
        "33554432",
        "Bytes of all events and results of one run; more fails the run.",
    ),
    option(
        "max-step-input",
        Kind::Number,
        "4194304",
        "Bytes that a step may report as its input; more fails the attempt.",
    ),
    option("max-steps", Kind::Number, "1000", "Steps that one run may have; more fails the run."),
    option(
        "max-response-size",
        Kind::Number,
        "8388608",
        "Bytes of one reply of an app, never less than two of the largest steps; more fails the attempt.",
    ),
    option(
        "max-call-size",
        Kind::Number,
        "4194304",
        "Bytes of one call to an app; if the state of the run is larger, SDKs that can do so are told to fetch it.",
    ),
    option(
        "flow-control",
        Kind::Text,
        "",
        "File (JSON, YAML or TOML) with throttles and rate limits that functions share. The API cannot change them then.",
    ),
    option(
        "allowed-host",
        Kind::List,
        "",
        "Name under which browsers may call the server, besides localhost, IP addresses and names without dots. May be repeated.",
    ),
    option(
        "cors-origin",
        Kind::List,
        "",
        "Origin whose pages may call the server, for example https://ops.example.com. May be repeated.",
    ),
    Spec {
        help: "Milliseconds; accepted for compatibility. Nothing here polls, so it has no effect.",
        hidden: false,
        ..option("tick", Kind::Number, "150", "")
    },
    hidden("in-memory", Kind::Bool),
    hidden("no-ui", Kind::Bool),
    hidden("redis-uri", Kind::Text),
    hidden("postgres-uri", Kind::Text),
    hidden("postgres-max-idle-conns", Kind::Number),
    hidden("postgres-max-open-conns", Kind::Number),
    hidden("postgres-conn-max-idle-time", Kind::Number),
    hidden("postgres-conn-max-lifetime", Kind::Number),
    hidden("connect-gateway-port", Kind::Number),
    hidden("connect-gateway-grpc-port", Kind::Number),
    hidden("connect-executor-grpc-port", Kind::Number),
    hidden("connect-gateway-grpc-ip", Kind::Text),
    hidden("connect-executor-grpc-ip", Kind::Text),
    hidden("debug-api-port", Kind::Number),
    hidden("system-trace-endpoint", Kind::Text),
    hidden("system-trace-url-path", Kind::Text),
    hidden("signing-key", Kind::Text),
    hidden("event-key", Kind::List),
    global("json", Kind::Bool, "false", "Write logs as JSON, also on a terminal."),
    global("verbose", Kind::Bool, "false", "Log at level debug, when no level is given."),
    global("log-level", Kind::Text, "", "trace, debug, info, warn or error."),
    global("log-format", Kind::Text, "", "json or text; json is the default unless stdout is a terminal."),
    global("config", Kind::Text, "", "Read options from this file."),
    global("api-host", Kind::Text, "", "Where `inngest api` finds a server."),
    global("api-port", Kind::Text, "", "The port of a server on this machine, for `inngest api`."),
    global("prod", Kind::Bool, "false", "`inngest api` asks Inngest Cloud."),
];

/// Secrets: their variables may end in `_FILE` and then name a file with the value.
const SECRETS: [&str; 4] = ["signing-key", "event-key", "postgres-uri", "redis-uri"];

/// Options that are no flags of `dev` alone: flags of all commands or of another one. The environment and files
/// may hold them.
pub const NOT_FLAGS_OF_DEV: [&str; 10] = [
    "signing-key",
    "event-key",
    "json",
    "verbose",
    "log-level",
    "log-format",
    "config",
    "api-host",
    "api-port",
    "prod",
];

/// The option of a name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    DEV.iter().find(|spec| spec.name == name || spec.aliases.contains(&name))
}

/// The option of this name, if it is a secret.
#[must_use]
pub fn secret(name: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| *secret == name)
}

/// The environment variable of an option.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("INNGEST_{}", name.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_documented_once() {
        for (index, spec) in DEV.iter().enumerate() {
            assert!(spec.help.ends_with('.'), "{}", spec.name);
            assert!(!DEV[index + 1..].iter().any(|other| other.name == spec.name), "{} twice", spec.name);
        }
        assert!(NOT_FLAGS_OF_DEV.iter().all(|name| find(name).is_some_and(|spec| spec.hidden)));
        assert_eq!(find("urls").map(|spec| spec.name), Some("sdk-url"));
        assert_eq!(variable("sdk-url"), "INNGEST_SDK_URL");
    }
}
