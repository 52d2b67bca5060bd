//! Durations as users write them: `1w2d3h4m5s6ms`, `1.5h`, `-5s`, `90s`.

/// A span of time in nanoseconds, possibly negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Nanoseconds.
    pub nanos: i64,
}

impl Span {
    /// Whole milliseconds, rounded toward zero.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.nanos / 1_000_000
    }
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing but white space.
    #[error("a duration is missing")]
    Empty,
    /// A part without number or unit, or with an unknown unit.
    #[error("not a duration: parts such as 30s, 1.5h or 1d12h are expected, with the units w, d, h, m, s, ms, us, ns")]
    Malformed,
    /// Longer than about 292 years.
    #[error("the duration is too long")]
    TooLong,
}

/// Units, longest name first where one begins with another.
const UNITS: [(&str, i64); 10] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    // The micro sign and the Greek letter, as Go reads both.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// About 292 years.
const NANOS_MAX: i128 = i64::MAX as i128;

/// Digits of a number that matter: more are beyond nanoseconds of any unit.
const FRACTION_DIGITS_MAX: u32 = 18;

/// Reads a duration.
pub fn parse(text: &str) -> Result<Span, DurationError> {
    let text = text.trim();
    let (negative, mut rest) = match text.as_bytes() {
        [] => return Err(DurationError::Empty),
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Span::default());
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanos, after) = part(rest)?;
        total += nanos;
        if total > NANOS_MAX {
            return Err(DurationError::TooLong);
        }
        rest = after;
    }
    let nanos = i64::try_from(total).map_err(|_| DurationError::TooLong)?;
    Ok(Span { nanos: if negative { -nanos } else { nanos } })
}

/// One number with its unit, and what comes after it.
fn part(text: &str) -> Result<(i128, &str), DurationError> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole_length = digits(text);
    let (whole, mut rest) = text.split_at(whole_length);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed);
    }
    let (unit, after) = UNITS
        .iter()
        .find_map(|(name, nanos)| rest.strip_prefix(name).map(|after| (i128::from(*nanos), after)))
        .ok_or(DurationError::Malformed)?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::TooLong)? };
    // Bounded here, so that no sum of parts overflows.
    let nanos = whole.checked_mul(unit).filter(|nanos| *nanos <= NANOS_MAX).ok_or(DurationError::TooLong)?;
    Ok((nanos + fraction_of(fraction, unit), after))
}

fn fraction_of(digits: &str, unit: i128) -> i128 {
    let kept = &digits[..digits.len().min(FRACTION_DIGITS_MAX as usize)];
    let scale = 10_i128.pow(u32::try_from(kept.len()).unwrap_or(FRACTION_DIGITS_MAX));
    kept.parse::<i128>().map_or(0, |value| value * unit / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        let table = [
            ("1s", 1_000),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("-5s", -5_000),
            ("+5s", 5_000),
            ("0", 0),
            ("0s", 0),
            (" 2s ", 2_000),
            ("1w2d3h4m5s6ms", 604_800_000 + 172_800_000 + 10_800_000 + 240_000 + 5_000 + 6),
            ("1d12h", 129_600_000),
            ("1500us", 1),
            ("1500\u{b5}s", 1),
            ("1500\u{3bc}s", 1),
            ("9223372036s", 9_223_372_036_000),
            ("400d", 34_560_000_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text).map(Span::millis), Ok(millis), "{text}");
        }
        assert_eq!(parse("1ns").map(|span| span.nanos), Ok(1));
        assert_eq!(parse("1.000000001s").map(|span| span.nanos), Ok(1_000_000_001));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["abc", "1", "1x", "s", "1s2", "1 s", "-", "1..5s", ".s", "nope", "1S", "2026-11-24", "10%"] {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text}");
        }
        assert_eq!(parse(""), Err(DurationError::Empty));
        assert_eq!(parse("1000000w"), Err(DurationError::TooLong));
        let beyond_i128 =
            [format!("{}s", "9".repeat(60)), format!("{}.999us", i128::MAX / 1_000), format!("1s{}ns", i128::MAX)];
        for text in &beyond_i128 {
            assert_eq!(parse(text), Err(DurationError::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}|[-+]?([0-9]{1,42}\\.?[0-9]{0,42}(w|d|h|m|s|ms|us|µs|ns)){0,4}") {
            let _any = parse(&text);
        }
    }
}
