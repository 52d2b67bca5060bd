//! What people read: tables, times and spans of time.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use inngest_core::Millis;
use inngest_expr::date;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::log;

/// A column is not made narrower than this.
const WIDTH_MIN: usize = 8;
/// Between two columns.
const GAP: usize = 2;

/// Longer names of steps stand out of their column.
pub(crate) const NAME_WIDTH_MAX: usize = 80;

/// Aligned columns under their heads.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    /// As it fits the terminal; whole when nobody looks.
    pub(crate) fn print(&self) -> String {
        self.render(terminal_width())
    }

    /// The widest columns give way until a row fits, but never the first one: it has what other commands ask for.
    fn render(&self, width: Option<usize>) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let longest = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns).map(longest).collect();
        let gaps = GAP * columns.saturating_sub(1);
        while let Some(width) = width
            && widths.iter().sum::<usize>() + gaps > width
        {
            let Some(widest) = widths.iter_mut().skip(1).max().filter(|widest| **widest > WIDTH_MIN) else { break };
            *widest -= 1;
        }
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            // What is missing to the width of the columns before.
            let mut missing = 0;
            for (cell, width) in row.iter().zip(&widths) {
                let cell = shortened(cell, *width);
                line.extend(std::iter::repeat_n(' ', missing));
                line.push_str(&cell);
                missing = GAP + width - cell.chars().count();
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// At most this many letters; what is missing is shown as `…`.
pub(crate) fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// A line of facts: its name, then what it is.
pub(crate) fn fact(out: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _written = writeln!(out, "{name:<10}{value}");
}

/// A text that the server sent, on one line; `-` for none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

/// A text of the server on one line.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _written = log::plain(text, &mut out);
    out
}

/// A text of the server with its lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// A list that the server sent.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A time that the server sent, to the second, in UTC.
pub(crate) fn clock(value: &Value) -> String {
    let at = value.as_str().and_then(date::parse).and_then(date_time);
    at.and_then(|at| at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(at: Millis) -> String {
    date_time(at).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| at.to_string())
}

fn date_time(at: Millis) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).ok()
}

/// How long it took from one time to the other, if both are known.
pub(crate) fn took(from: &Value, to: &Value) -> String {
    let parse = |value: &Value| value.as_str().and_then(date::parse);
    parse(from).zip(parse(to)).map_or_else(|| "-".to_owned(), |(from, to)| span(to.0.saturating_sub(from.0)))
}

/// `12ms`, `1.2s`, `3m5s`, `2h10m`, `4d3h`: two units at most.
fn span(ms: i64) -> String {
    let (seconds, minutes) = (ms / 1_000, ms / 60_000);
    match ms {
        ..=999 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{minutes}m{}s", seconds % 60),
        3_600_000..86_400_000 => format!("{}h{}m", minutes / 60, minutes % 60),
        _ => format!("{}d{}h", minutes / 1_440, minutes / 60 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_give_way_but_the_first() {
        let mut table = Table::new(["RUN", "FUNCTION", "EVENT"]);
        table.push(["01M85QRDBHC70063SSP1V76AAN", "shop-order", "order/paid"].map(str::to_owned));
        table.push(["x", "a-function-with-a-long-name", "ünï"].map(str::to_owned));
        let whole = "\
RUN                         FUNCTION                     EVENT
01M85QRDBHC70063SSP1V76AAN  shop-order                   order/paid
x                           a-function-with-a-long-name  ünï
";
        assert_eq!(table.render(None), whole);
        assert_eq!(table.render(Some(80)), whole);
        let narrow = "\
RUN                         FUNCTION    EVENT
01M85QRDBHC70063SSP1V76AAN  shop-order  order/paid
x                           a-functio…  ünï
";
        assert_eq!(table.render(Some(50)), narrow);
        let narrowest = table.render(Some(1));
        assert!(narrowest.contains("01M85QRDBHC70063SSP1V76AAN  shop-or…  order/p…\n"), "{narrowest}");
    }

    #[test]
    fn a_cell_may_be_longer_than_any_line() {
        let mut table = Table::new(["EVENT", "DATA", "X"]);
        let long = "x".repeat(100_000);
        table.push([&*long, &long, "y"].map(str::to_owned));
        table.push(["a", "b", ""].map(str::to_owned));
        let lines: Vec<String> = table.render(None).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], format!("EVENT{0}  DATA{1}  X", " ".repeat(99_995), " ".repeat(99_996)));
        assert_eq!(lines[1], format!("{long}  {long}  y"));
        assert_eq!(lines[2], format!("a{}  b", " ".repeat(99_999)));
    }

    #[test]
    fn times_and_spans_are_short() {
        assert_eq!(clock(&json!("2026-11-27T12:45:27.036Z")), "2026-11-27 12:45:27");
        assert_eq!((clock(&Value::Null), clock(&json!("soon"))), ("-".to_owned(), "-".to_owned()));
        assert_eq!(rfc3339(Millis(1_700_000_000_000)), "2023-11-14T22:13:20Z");
        let table = [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (59_999, "59.9s"),
            (185_000, "3m5s"),
            (7_800_000, "2h10m"),
            (356_400_000, "4d3h"),
        ];
        for (ms, expected) in table {
            assert_eq!(span(ms), expected);
        }
        assert_eq!(took(&json!("2026-11-27T12:45:27Z"), &json!("2026-11-27T12:45:28.5Z")), "1.5s");
        assert_eq!(took(&json!("2026-11-27T12:45:27Z"), &Value::Null), "-");
    }
}
