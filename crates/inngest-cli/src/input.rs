//! What people write: times, and JSON on the command line, in files and on stdin.

use std::io::Read as _;
use std::time::Duration;

use inngest_core::{Clock as _, Millis, SystemClock};
use inngest_expr::{date, duration};
use serde_json::value::RawValue;

/// A file or stdin that is larger is refused.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A date, as an example.
const DATE: &str = "2026-01-31T10:00:00Z";

/// What the wall clock says.
pub(crate) fn now() -> Millis {
    SystemClock.now()
}

/// A time in the past: a duration before `now`, or a date.
pub(crate) fn past(text: &str, now: Millis) -> Result<Millis, String> {
    if let Ok(span) = duration::parse(text) {
        let before = (span.nanos >= 0).then(|| Millis(now.0.saturating_sub(span.millis())));
        return before.ok_or_else(|| format!("{text} is in the future; 2h means two hours ago"));
    }
    date::parse(text).ok_or_else(|| format!("{text:?} is no time; one is 2h30m or {DATE}"))
}

/// How long something may take.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let nanos = duration::parse(text).ok().and_then(|span| u64::try_from(span.nanos).ok()).filter(|nanos| *nanos > 0);
    nanos.map(Duration::from_nanos).ok_or_else(|| format!("{text:?} is no span of time; one is 30s"))
}

/// A date.
pub(crate) fn moment(text: &str) -> Result<Millis, String> {
    date::parse(text).ok_or_else(|| format!("{text:?} is no date; one is {DATE}"))
}

/// JSON that is given itself, in a file, or on stdin (`-`). `what` names it in errors.
pub(crate) fn json(what: &str, given: &str) -> Result<Box<RawValue>, String> {
    let begins = given.trim_start();
    let is_path = !begins.starts_with(['{', '[', '"']) && serde_json::from_str::<&RawValue>(begins).is_err();
    let text = if is_path { file(given)? } else { given.to_owned() };
    serde_json::from_str(&text).map_err(|error| format!("{what} is no JSON: {error}"))
}

/// The text of a file, or of stdin (`-`).
pub(crate) fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text)),
    };
    let read = read.map_err(|error| format!("{} cannot be read: {error}", named(path)))?;
    if read as u64 > BYTES_MAX {
        return Err(format!("{} is longer than {BYTES_MAX} bytes", named(path)));
    }
    Ok(text)
}

/// What a path is called in errors.
pub(crate) fn named(path: &str) -> &str {
    if path == "-" { "stdin" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_or_dates() {
        let now = Millis(1_700_000_000_000);
        assert_eq!(past("2h", now), Ok(Millis(1_700_000_000_000 - 7_200_000)));
        assert_eq!(past("2023-11-14T22:13:20Z", now), Ok(now));
        assert_eq!(past("-2h", now), Err("-2h is in the future; 2h means two hours ago".to_owned()));
        for text in ["", "soon", "2 hours"] {
            assert!(past(text, now).unwrap_err().contains("is no time; one is 2h30m or"), "{text}");
        }
        assert_eq!(moment("2h"), Err("\"2h\" is no date; one is 2026-01-31T10:00:00Z".to_owned()));
    }

    #[test]
    fn spans_are_longer_than_nothing() {
        assert_eq!((span("1.5s"), span("1m")), (Ok(Duration::from_millis(1_500)), Ok(Duration::from_secs(60))));
        for text in ["0s", "-1s", "soon", ""] {
            assert_eq!(span(text), Err(format!("{text:?} is no span of time; one is 30s")));
        }
    }

    #[test]
    fn json_is_given_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("event.json").display().to_string();
        std::fs::write(&path, "{\"n\": 12345678901234567890123}").unwrap();
        assert_eq!(json("--data", &path).unwrap().get(), "{\"n\": 12345678901234567890123}");
        for given in ["{\"a\":1}", "[1]", "7", "null", "\"x\""] {
            assert_eq!(json("--data", given).unwrap().get(), given);
        }
        assert!(json("--data", "{a:1}").unwrap_err().starts_with("--data is no JSON: "));
        assert!(json("--data", "no/such/file").unwrap_err().starts_with("no/such/file cannot be read: "));
    }
}
