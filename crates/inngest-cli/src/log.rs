//! Logs go to stderr: for people when stdout is a terminal, as JSON otherwise.

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::Value;
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
    pub(crate) format: String,
    pub(crate) verbose: bool,
    pub(crate) level: Option<String>,
}

/// Installs the logger, and a hook that logs panics.
pub(crate) fn init(wishes: &Wishes) {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let json = is_json(wishes, variable("LOG_HANDLER").as_deref(), std::io::stdout().is_terminal());
    let level = level(wishes, variable("LOG_LEVEL").as_deref());
    // Of libraries only what matters to an operator.
    let libraries = if level == "error" { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{libraries},inngest={level}"));
    let colour = !json && has_colour(std::io::stderr().is_terminal(), variable);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = builder.event_format(Lines { json, colour }).try_init();
    debug_assert!(installed.is_ok(), "the logger is installed once");
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let cause = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(%place, %cause, "a task panicked; this is a bug, please report it");
    }));
}

/// JSON when it was asked for, and whenever nobody reads along; a named format counts more.
fn is_json(wishes: &Wishes, handler: Option<&str>, terminal: bool) -> bool {
    match handler.unwrap_or(&wishes.format) {
        "json" => true,
        "dev" | "txt" | "text" | "pretty" => false,
        _ => wishes.json || !terminal,
    }
}

/// `LOG_LEVEL` counts more than a flag, as with the Go CLI; any word that is no level means info.
fn level(wishes: &Wishes, variable: Option<&str>) -> &'static str {
    let word = variable.or(wishes.level.as_deref()).unwrap_or(if wishes.verbose { "debug" } else { "info" });
    match word.to_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "warn" | "warning" => "warn",
        "error" | "emergency" => "error",
        _ => "info",
    }
}

/// The common rules of terminals: `NO_COLOR` beats `CLICOLOR_FORCE`, which beats what we see ourselves.
fn has_colour(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    if variable("NO_COLOR").is_some() {
        return false;
    }
    let forced = variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    forced || (terminal && variable("TERM").is_none_or(|term| term != "dumb"))
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
        let (level, now) = (*event.metadata().level(), OffsetDateTime::now_utc());
        if self.json { fields.as_json(level, now, &mut out) } else { fields.as_text(level, now, self.colour, &mut out) }
    }
}

/// What a record says.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn as_json(&self, level: Level, now: OffsetDateTime, out: &mut impl fmt::Write) -> fmt::Result {
        let time = now.format(&Rfc3339).unwrap_or_default();
        write!(out, r#"{{"time":"{time}","level":"{level}","msg":{}"#, Value::from(self.message.as_str()))?;
        for (key, value) in &self.values {
            write!(out, ",{}:{value}", Value::from(*key))?;
        }
        out.write_str("}\n")
    }

    fn as_text(&self, level: Level, now: OffsetDateTime, colour: bool, out: &mut impl fmt::Write) -> fmt::Result {
        let (hour, minute, second, milli) = now.to_hms_milli();
        write!(out, "[{hour:02}:{minute:02}:{second:02}.{milli:03}] ")?;
        let (short, code) = match level {
            Level::TRACE => ("TRC", "90"),
            Level::DEBUG => ("DBG", "90"),
            Level::INFO => ("INF", "32"),
            Level::WARN => ("WRN", "33"),
            Level::ERROR => ("ERR", "31"),
        };
        if colour {
            write!(out, "\x1b[{code}m{short}\x1b[0m ")?
        } else {
            write!(out, "{short} ")?
        }
        plain(&self.message, out)?;
        for (key, value) in &self.values {
            match value {
                Value::String(text) if !text.is_empty() && !text.contains(needs_quotes) => {
                    write!(out, " {key}={text}")?
                }
                value => write!(out, " {key}={value}")?,
            }
        }
        out.write_char('\n')
    }

    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.values.push((field.name(), value));
        }
    }
}

fn needs_quotes(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || letter == '"'
}

/// Writes a text that apps may have had a hand in: it must neither break the line nor command the terminal.
pub(crate) fn plain(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    text.chars().try_for_each(|letter| {
        if letter.is_control() { write!(out, "{}", letter.escape_default()) } else { out.write_char(letter) }
    })
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

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Fields {
        Fields {
            message: "an app\nsaid \u{1b}[2J".to_owned(),
            values: vec![("url", json!("http://a")), ("why", json!("no \"route\"")), ("count", json!(3))],
        }
    }

    #[test]
    fn a_record_is_one_line() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::new(3_723, 45_000_000);
        let mut text = String::new();
        record().as_text(Level::INFO, now, false, &mut text).unwrap();
        assert_eq!(text, "[01:02:03.045] INF an app\\nsaid \\u{1b}[2J url=http://a why=\"no \\\"route\\\"\" count=3\n");
        let mut colour = String::new();
        record().as_text(Level::WARN, now, true, &mut colour).unwrap();
        assert!(colour.starts_with("[01:02:03.045] \u{1b}[33mWRN\u{1b}[0m an app"), "{colour}");
        let mut text = String::new();
        record().as_json(Level::ERROR, now, &mut text).unwrap();
        let expected = concat!(
            r#"{"time":"1970-01-01T01:02:03.045Z","level":"ERROR","msg":"an app\nsaid \u001b[2J","#,
            r#""url":"http://a","why":"no \"route\"","count":3}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_level_comes_from_the_strongest_word() {
        let wishes =
            |verbose, level: Option<&str>| Wishes { verbose, level: level.map(str::to_owned), ..Wishes::default() };
        let table = [
            (None, false, None, "info"),
            (None, true, None, "debug"),
            (None, true, Some("warn"), "warn"),
            (Some("error"), true, Some("debug"), "error"),
            (Some("EMERGENCY"), false, None, "error"),
            (None, false, Some("nonsense"), "info"),
            (None, false, Some("Trace"), "trace"),
        ];
        for (variable, verbose, flag, expected) in table {
            assert_eq!(level(&wishes(verbose, flag), variable), expected, "{variable:?} {verbose} {flag:?}");
        }
    }

    #[test]
    fn the_format_is_json_unless_somebody_reads() {
        let table = [
            (None, "", false, true, false),
            (None, "", false, false, true),
            (None, "", true, true, true),
            (None, "text", true, false, false),
            (Some("json"), "text", false, true, true),
            (Some("txt"), "json", true, false, false),
        ];
        for (handler, format, json, terminal, expected) in table {
            let wishes = Wishes { json, format: format.to_owned(), ..Wishes::default() };
            assert_eq!(is_json(&wishes, handler, terminal), expected, "{handler:?} {format} {json} {terminal}");
        }
    }

    #[test]
    fn colours_follow_the_terminal() {
        let table = [
            (true, "", true),
            (false, "", false),
            (true, "TERM=dumb", false),
            (false, "CLICOLOR_FORCE=1", true),
            (false, "CLICOLOR_FORCE=0", false),
            (true, "NO_COLOR=1 CLICOLOR_FORCE=1", false),
        ];
        for (terminal, variables, expected) in table {
            let find = |name: &str| {
                let mut variables = variables.split(' ').filter_map(|variable| variable.split_once('='));
                variables.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
            };
            assert_eq!(has_colour(terminal, find), expected, "{terminal} {variables}");
        }
    }
}
