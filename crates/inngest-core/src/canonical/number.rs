//! The spelling of numbers.

use super::Numbers;

/// Significant digits that every double keeps: a number of so few digits is its own shortest spelling.
const DIGITS_KEPT: usize = 15;

/// Appends a number that has the form of a JSON number; false when it is out of range.
#[must_use]
pub(super) fn write(out: &mut Vec<u8>, number: &[u8], numbers: Numbers) -> bool {
    if is_es6_already(number) {
        out.extend_from_slice(number);
        return true;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    let value: f64 = text.parse().unwrap_or(f64::INFINITY);
    if !value.is_finite() {
        if numbers == Numbers::Exact {
            out.extend_from_slice(number);
        }
        return numbers == Numbers::Exact;
    }
    let mut buffer = ryu_js::Buffer::new();
    let printed = buffer.format_finite(value);
    let lossless = numbers == Numbers::Double || printed == text || decimal(printed) == decimal(text);
    out.extend_from_slice(if lossless { printed } else { text }.as_bytes());
    true
}

/// Whether this is surely the ES6 spelling, by its looks: few digits, no exponent, no zero at the end of a
/// fraction, not minus zero, and not so small that ES6 would use an exponent.
fn is_es6_already(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if digits.len() > DIGITS_KEPT + 1 {
        return false;
    }
    match digits.iter().position(|byte| !byte.is_ascii_digit()) {
        None => digits.len() <= DIGITS_KEPT && number != b"-0",
        Some(point) => {
            digits[point] == b'.'
                && digits[point + 1..].iter().all(u8::is_ascii_digit)
                && digits.last() != Some(&b'0')
                && !digits.starts_with(b"0.000000")
        }
    }
}

/// A decimal number as sign, digits without zeros at either end, and the power of ten of the last digit.
fn decimal(text: &str) -> (bool, Vec<u8>, i64) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // An exponent near or beyond the ends of i64 belongs to zero, or to a number that is kept as text anyway.
    let mut power: i64 = exponent.parse().unwrap_or(i64::MAX);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    power = power.saturating_sub_unsigned(fraction.len() as u64);
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
        power = power.saturating_add(1);
    }
    if digits.is_empty() { (false, digits, 0) } else { (negative, digits, power) }
}
