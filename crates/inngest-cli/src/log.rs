//! Logs go to stderr: for people when stdout is a terminal, as JSON otherwise.

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What the user said about logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) json: bool,
    pub(crate) verbose: bool,
    pub(crate) level: Option<String>,
}

/// Installs the logger, and a hook that logs panics.
pub(crate) fn init(wishes: &Wishes) {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let json = match variable("LOG_HANDLER").as_deref() {
        Some("json") => true,
        Some("dev" | "txt" | "text" | "pretty") => false,
        _ => wishes.json || !std::io::stdout().is_terminal(),
    };
    let level = variable("LOG_LEVEL").or_else(|| wishes.level.clone()).or_else(|| variable("INNGEST_LOG_LEVEL"));
    let level = level.map_or(if wishes.verbose { "debug" } else { "info" }, |level| known(&level));
    // Of libraries only what matters to an operator.
    let filter = EnvFilter::new(format!("warn,inngest={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = !json && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let installed = builder.event_format(Lines { json, colour }).try_init();
    debug_assert!(installed.is_ok(), "the logger is installed once");
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let cause = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(%place, %cause, "a task panicked; this is a bug, please report it");
    }));
}

/// The name of a level that we know; any other word means info.
fn known(word: &str) -> &'static str {
    match word.to_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "warn" | "warning" => "warn",
        "error" | "emergency" => "error",
        _ => "info",
    }
}

/// One line a record.
struct Lines {
    json: bool,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = OffsetDateTime::now_utc();
        let level = *event.metadata().level();
        if self.json {
            let mut record = Map::new();
            record.insert("time".into(), now.format(&Rfc3339).unwrap_or_default().into());
            record.insert("level".into(), level.as_str().into());
            record.insert("msg".into(), fields.message.into());
            record.extend(fields.values);
            return writeln!(out, "{}", Value::Object(record));
        }
        let (hour, minute, second, milli) = (now.hour(), now.minute(), now.second(), now.millisecond());
        write!(out, "[{hour:02}:{minute:02}:{second:02}.{milli:03}] ")?;
        let (short, colour) = match level {
            Level::TRACE => ("TRC", "90"),
            Level::DEBUG => ("DBG", "90"),
            Level::INFO => ("INF", "32"),
            Level::WARN => ("WRN", "33"),
            Level::ERROR => ("ERR", "31"),
        };
        if self.colour {
            write!(out, "\x1b[{colour}m{short}\x1b[0m")?;
        } else {
            out.write_str(short)?;
        }
        write!(out, " {}", fields.message)?;
        for (key, value) in fields.values {
            match value {
                Value::String(text) if !text.contains(char::is_whitespace) => write!(out, " {key}={text}")?,
                value => write!(out, " {key}={value}")?,
            }
        }
        writeln!(out)
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.values.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}
