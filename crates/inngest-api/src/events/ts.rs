//! The time of an event: integer milliseconds, however it was written.

use inngest_core::{Millis, limits};
use inngest_expr::date;

use super::EventError;

/// Reads a `ts` from its canonical JSON text. `None`: the sender leaves it to us.
pub(super) fn read(json: &[u8]) -> Result<Option<Millis>, EventError> {
    let text = std::str::from_utf8(json).unwrap_or_default();
    let millis = match json.first() {
        Some(b'"') => from_text(text.trim_matches('"'))?,
        Some(b'n') => return Ok(None),
        _ => from_number(text)?,
    };
    if millis == 0 {
        return Ok(None);
    }
    if millis < limits::EVENT_TS_MIN {
        return Err(EventError::TooEarly);
    }
    if millis > limits::EVENT_TS_MAX {
        return Err(EventError::TooLate);
    }
    Ok(Some(Millis(millis)))
}

fn from_number(text: &str) -> Result<i64, EventError> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    let value: f64 = text.parse().map_err(|_| EventError::BadTs)?;
    // Far outside of the range anyway; as a float it only must not wrap.
    Ok(value.trunc().clamp(-1e18, 1e18) as i64)
}

fn from_text(text: &str) -> Result<i64, EventError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| EventError::TooLate);
    }
    // Year first: the other forms of dates are for HTTP headers.
    let iso = text.as_bytes().get(4) == Some(&b'-');
    date::parse(text).filter(|_| iso).map(|at| at.0).ok_or(EventError::BadTs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let at = 1_700_000_000_000;
        let table = [
            ("1700000000000", Ok(Some(at))),
            ("1.7e12", Ok(Some(at))),
            ("1700000000000.5", Ok(Some(at))),
            ("\"1700000000000\"", Ok(Some(at))),
            ("\"2023-11-14T22:13:20Z\"", Ok(Some(at))),
            ("\"2023-11-14T23:13:20+01:00\"", Ok(Some(at))),
            ("\"2023-11-14T22:13:20.000000001Z\"", Ok(Some(at))),
            ("\"2023-11-14\"", Ok(Some(at - 80_000_000))),
            ("315532800000", Ok(Some(315_532_800_000))),
            ("4102444800000", Ok(Some(4_102_444_800_000))),
            ("315532799999", Err(EventError::TooEarly)),
            ("4102444800001", Err(EventError::TooLate)),
            ("1700000000", Err(EventError::TooEarly)),
            ("-1", Err(EventError::TooEarly)),
            ("1e300", Err(EventError::TooLate)),
            ("\"99999999999999999999\"", Err(EventError::TooLate)),
            ("\"soon\"", Err(EventError::BadTs)),
            ("\"\"", Err(EventError::BadTs)),
            ("\"Tue, 14 Nov 2023 22:13:20 GMT\"", Err(EventError::BadTs)),
            ("true", Err(EventError::BadTs)),
            ("{}", Err(EventError::BadTs)),
            ("[1]", Err(EventError::BadTs)),
            ("null", Ok(None)),
            ("0", Ok(None)),
        ];
        for (json, expected) in table {
            assert_eq!(read(json.as_bytes()).map(|at| at.map(|at| at.0)), expected, "{json}");
        }
    }
}
