//! Dates as users and HTTP write them.

use inngest_core::Millis;
use time::format_description::BorrowedFormatItem as Item;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description as format;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

/// Forms with a zone offset.
const WITH_OFFSET: &[&[Item<'_>]] = &[
    // ISO 8601 as `strftime` writes it, without a colon in the offset.
    format!("[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory][offset_minute]"),
    format!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond][offset_hour sign:mandatory][offset_minute]"),
    format!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    ),
    format!("[day] [month repr:short] [year] [hour]:[minute] [offset_hour sign:mandatory][offset_minute]"),
    // As Go prints times.
    format!("[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"),
    format!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond] [offset_hour sign:mandatory][offset_minute]"),
    format!(
        "[weekday repr:short] [month repr:short] [day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute] [year]"
    ),
];

/// Forms whose time is UTC; a zone name stands for UTC.
const UTC: &[&[Item<'_>]] = &[
    format!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
    format!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond]"),
    format!("[year]-[month]-[day] [hour]:[minute]:[second]"),
    format!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second]"),
    format!("[weekday], [day] [month repr:short] [year] [hour]:[minute]:[second]"),
    // Spaces are single by now, so that a day below ten has one digit.
    format!("[weekday repr:short] [month repr:short] [day padding:none] [hour]:[minute]:[second] [year]"),
    format!("[day] [month repr:short] [year] [hour]:[minute]"),
];

/// No form is longer.
const LENGTH_MAX: usize = 64;

/// Reads a date: RFC 3339, `2006-01-02T15:04:05`, `2006-01-02`, RFC 1123, RFC 822, RFC 850, and the forms of
/// `date` and `ctime`. A date without a time is midnight, a time without a zone is UTC.
#[must_use]
pub fn parse(text: &str) -> Option<Millis> {
    let nanos = parse_exactly(text)?.unix_timestamp_nanos();
    Some(Millis(i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX)))
}

/// As [`parse`], to the nanosecond.
pub(crate) fn parse_exactly(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if text.len() > LENGTH_MAX {
        return None;
    }
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(date);
    }
    if let Ok(date) = Date::parse(text, format!("[year]-[month]-[day]")) {
        return Some(date.midnight().assume_utc());
    }
    let text = &with_full_year(text);
    // What Go prints has the name of the zone after its offset, which says it all.
    let named = text.rsplit_once(' ').filter(|(offset, name)| has_offset(offset) && is_zone_name(name));
    let text = named.map_or(text.as_str(), |(offset, _)| offset);
    let with_offset = WITH_OFFSET.iter().find_map(|form| OffsetDateTime::parse(text, form).ok());
    if let Some(date) = with_offset.or_else(|| OffsetDateTime::parse(text, &Rfc2822).ok()) {
        return Some(date);
    }
    let plain = without_zone_name(text);
    UTC.iter().find_map(|form| PrimitiveDateTime::parse(&plain, form).ok()).map(PrimitiveDateTime::assume_utc)
}

/// Reads `Jan _2 15:04:05`, with or without a fraction: a time in the year 0, as Go has it.
pub(crate) fn parse_stamp(text: &str) -> Option<OffsetDateTime> {
    const FORMS: [&[Item<'_>]; 2] = [
        format!("[year] [month repr:short] [day padding:none] [hour]:[minute]:[second]"),
        format!("[year] [month repr:short] [day padding:none] [hour]:[minute]:[second].[subsecond]"),
    ];
    if text.len() > LENGTH_MAX {
        return None;
    }
    let text = std::iter::once("0000").chain(text.split_whitespace()).collect::<Vec<_>>().join(" ");
    FORMS.iter().find_map(|form| PrimitiveDateTime::parse(&text, form).ok()).map(PrimitiveDateTime::assume_utc)
}

/// Whether the last word is an offset such as `+0100`.
fn has_offset(text: &str) -> bool {
    let last = text.rsplit(' ').next().unwrap_or_default();
    last.len() == 5 && last.starts_with(['+', '-']) && last[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// `CET`, or an offset where a zone has no name.
fn is_zone_name(word: &str) -> bool {
    let is_name = (3..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase());
    is_name || word.starts_with(['+', '-']) && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// Brings `15-Nov-23` and `15 Nov 23` into the form `15 Nov 2023`; two digits from 69 on mean the last century.
fn with_full_year(text: &str) -> String {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if let Some(dashed) = words.iter().position(|word| has_month_name(word)) {
        let parts: Vec<String> = words[dashed].split('-').map(str::to_owned).collect();
        words.splice(dashed..=dashed, parts);
    }
    let is_month = |word: &String| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let short_year = (1..words.len()).find(|at| {
        words[*at].len() == 2 && words[*at].bytes().all(|byte| byte.is_ascii_digit()) && is_month(&words[at - 1])
    });
    if let Some(at) = short_year.filter(|at| *at >= 2 && words[at - 2].parse::<u8>().is_ok()) {
        let century = if words[at].as_str() >= "69" { "19" } else { "20" };
        words[at].insert_str(0, century);
    }
    words.join(" ")
}

/// Whether a word is of the form `15-Nov-23`.
fn has_month_name(word: &str) -> bool {
    let mut parts = word.split('-');
    let (_, month) = (parts.next(), parts.next());
    month.is_some_and(|month| month.len() == 3 && month.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

/// Removes ` UTC`, ` GMT` and ` Z`, wherever the form has its zone.
fn without_zone_name(text: &str) -> String {
    let mut text = text.to_owned();
    for zone in [" UTC", " GMT", " Z"] {
        text = text.replacen(zone, "", 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read() {
        let noon = 1_700_049_600_000; // 2023-11-15T12:00:00Z
        let table = [
            ("2023-11-15T12:00:00Z", noon),
            ("2023-11-15T12:00:00.250Z", noon + 250),
            ("2023-11-15T13:00:00+01:00", noon),
            ("2023-11-15T12:00:00.123456789Z", noon + 123),
            ("2023-11-15T12:00:00", noon),
            ("2023-11-15 12:00:00", noon),
            ("2023-11-15", noon - 43_200_000),
            ("Wed, 15 Nov 2023 12:00:00 GMT", noon),
            ("Wed, 15 Nov 2023 12:00:00 UTC", noon),
            ("Wed, 15 Nov 2023 13:00:00 +0100", noon),
            ("Wednesday, 15-Nov-23 12:00:00 GMT", noon),
            ("Wednesday, 15-Nov-23 12:00:00 UTC", noon),
            ("15 Nov 23 12:00 GMT", noon),
            ("15 Nov 23 13:00 +0100", noon),
            ("Wed Nov 15 12:00:00 2023", noon),
            ("Wed Nov 15 12:00:00 UTC 2023", noon),
            ("Wed Nov 15 12:00:00 +0000 2023", noon),
            ("Sun Nov  5 12:00:00 2023", noon - 864_000_000),
            ("Sun Nov  5 12:00:00 UTC 2023", noon - 864_000_000),
            ("Sun Nov 05 12:00:00 2023", noon - 864_000_000),
            ("Sun, 05 Nov 2023 12:00:00 GMT", noon - 864_000_000),
            ("2023-11-15T13:00:00+0100", noon),
            ("2023-11-15T13:00:00.250+0100", noon + 250),
            ("15 Nov 70 12:00 GMT", 27_518_400_000),
            ("2023-11-15 12:00:00 +0000 UTC", noon),
            ("2023-11-15 13:00:00.25 +0100 CET", noon + 250),
            ("2023-11-15 15:00:00.123456789 +0300 +03", noon + 123),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Some(Millis(expected)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in ["", "soon", "1700000000", "2023-13-01", "2023-02-30", "12:00", "1s", "2023-11-15T25:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}|[-+0-9:TZ ]{0,30}") {
            let _any = (parse(&text), parse_stamp(&text));
        }
    }
}
