//! "A duration or a date": sleeps, timeouts, `Retry-After`.

use inngest_core::{Millis, limits};

use crate::date;
use crate::duration::{self, DurationError};

/// Why a text names no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Too short for a date, and no duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Long enough for a date, but neither.
    #[error("neither a duration such as 30s or 1d12h, nor a date such as 2026-11-24T09:30:00Z")]
    Neither,
}

/// No date is shorter.
const DATE_LENGTH_MIN: usize = 10;

/// The time that `text` names, seen from `now`: a duration from now on, or a date.
/// An empty text and everything in the past is `now`.
pub fn until(text: &str, now: Millis) -> Result<Millis, TimeError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(now);
    }
    let at = match duration::parse(text) {
        Ok(span) => Millis(now.0.saturating_add(span.millis())),
        Err(error) if text.len() < DATE_LENGTH_MIN || error == DurationError::TooLong => return Err(error.into()),
        Err(_) => date::parse(text).ok_or(TimeError::Neither)?,
    };
    Ok(at.max(now))
}

/// Digits of a `Retry-After` in seconds; anything longer is a date.
const SECONDS_DIGITS_MAX: usize = 7;

/// When a `Retry-After` asks to be tried again: seconds, counted from the current whole second, or a date;
/// clamped to one second and one day. `None` when it asks for nothing that we understand.
#[must_use]
pub fn retry_after(text: &str, now: Millis) -> Option<Millis> {
    let text = text.trim();
    let at = if text.len() <= SECONDS_DIGITS_MAX {
        let seconds: i64 = text.parse().ok().filter(|seconds| *seconds > 0)?;
        Millis(now.0.div_euclid(1_000).saturating_add(seconds).saturating_mul(1_000))
    } else {
        date::parse(text)?
    };
    Some(at.clamp(now.plus(limits::RETRY_AFTER_MIN), now.plus(limits::RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_049_600_250); // 2023-11-15T12:00:00.250Z

    #[test]
    fn a_duration_or_a_date() {
        let table = [
            ("1s", Ok(1_000)),
            ("", Ok(0)),
            ("-5s", Ok(0)),
            ("2023-11-15T12:00:03.600Z", Ok(3_350)),
            ("2023-11-15T12:00:03.400Z", Ok(3_150)),
            ("2020-01-01", Ok(0)),
            ("1w2d3h4m5s", Ok(788_645_000)),
            ("abc", Err(TimeError::Duration(DurationError::Malformed))),
            ("2023-99-99T00", Err(TimeError::Neither)),
            ("9999999999w", Err(TimeError::Duration(DurationError::TooLong))),
        ];
        for (text, expected) in table {
            assert_eq!(until(text, NOW).map(|at| at.0 - NOW.0), expected, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_within_bounds() {
        let table = [
            ("3", Some(2_750)),
            ("1", Some(1_000)),
            ("9999999", Some(86_400_000)),
            ("0", None),
            ("-5", None),
            ("junk", None),
            ("junkjunk", None),
            ("1.5", None),
            ("2023-11-15T12:00:10Z", Some(9_750)),
            ("Wed, 15 Nov 2023 12:00:10 GMT", Some(9_750)),
            ("2020-01-01T00:00:00Z", Some(1_000)),
            ("2050-01-01T00:00:00Z", Some(86_400_000)),
        ];
        for (text, expected) in table {
            assert_eq!(retry_after(text, NOW).map(|at| at.0 - NOW.0), expected, "{text}");
        }
    }
}
