//! Flags that several commands have, and what all lists print.

use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use crate::client::Told;
use crate::input;
use crate::output::{Table, rfc3339};

/// Entries that a list command shows unless it is told otherwise, and at most.
const LIMIT: &str = "20";
const LIMIT_MAX: i64 = 10_000;

/// The text of an argument.
pub(crate) fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// The last section of a command's help. A test runs each of the lines.
pub(crate) fn examples(lines: &[&str]) -> String {
    format!("Examples:\n  {}", lines.join("\n  "))
}

/// `--limit` and `--cursor`.
pub(crate) fn page() -> [Arg; 2] {
    [
        Arg::new("limit")
            .long("limit")
            .value_name("N")
            .value_parser(clap::value_parser!(i64).range(1..=LIMIT_MAX))
            .allow_negative_numbers(true)
            .default_value(LIMIT)
            .help("At most so many."),
        Arg::new("cursor").long("cursor").value_name("CURSOR").help("Go on where a list has ended."),
    ]
}

/// The values of [`page`].
pub(crate) fn limits(matches: &ArgMatches) -> (usize, Option<&str>) {
    let limit = matches.get_one::<i64>("limit").and_then(|limit| usize::try_from(*limit).ok());
    (limit.unwrap_or_default(), text(matches, "cursor"))
}

/// `--since` and `--until`; `what` begins their help.
pub(crate) fn period(what: &str, default: &str) -> [Arg; 2] {
    let time = |name: &'static str| Arg::new(name).long(name).value_name("TIME");
    let default = if default.is_empty() { String::new() } else { format!(" [default: {default}]") };
    [
        time("since").help(format!("{what} after this: a time before now (2h) or a date.{default}")),
        time("until").help(format!("{what} before this: a time before now (2h) or a date.")),
    ]
}

/// The values of [`period`], as the API reads them.
pub(crate) fn bounds(matches: &ArgMatches) -> Result<(Option<String>, Option<String>), String> {
    let now = input::now();
    let bound = |name: &str| {
        let at = text(matches, name).map(|given| input::past(given, now)).transpose();
        at.map(|at| at.map(rfc3339)).map_err(|problem| format!("--{name}: {problem}"))
    };
    Ok((bound("since")?, bound("until")?))
}

/// What a command tells that lists entries: a table, and how the list goes on.
pub(crate) fn listed(table: &Table, entries: &[Value], cursor: Option<&str>) -> Told {
    let more = match (cursor, entries.is_empty()) {
        (Some(cursor), _) => format!("There are more: --cursor {cursor}\n"),
        (None, true) => "There are none.\n".to_owned(),
        (None, false) => String::new(),
    };
    let text = if entries.is_empty() { more } else { format!("{}{more}", table.print()) };
    (json!({ "data": entries, "cursor": cursor }), text)
}
