//! `inngest explain`: what a run waits for, or what became of an event.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use crate::client::{self, Server, Told, ulid};
use crate::flags;
use crate::output::{NAME_WIDTH_MAX, plain};

pub(crate) fn command() -> Command {
    Command::new("explain")
        .about("Tell what a run waits for: which limit, who holds it, when it goes on; or what became of an event.")
        .arg(Arg::new("id").value_name("ID").required(true).help("Id of a run or of an event."))
        .arg(client::url())
        .after_help(flags::examples(&["inngest explain 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD"]))
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let id = matches.get_one::<String>("id").map(String::as_str).unwrap_or_default();
    let id = ulid("a run or an event", id)?;
    if let Some(run) = server.find(&format!("/v1/runs/{id}/explain"))? {
        let text = table(&run);
        return Ok((run, text));
    }
    let event = server.find(&format!("/v1/events/{id}/explain"))?;
    let event = event.ok_or_else(|| format!("there is no run and no event {id}"))?;
    let text = outcomes(&event);
    Ok((event, text))
}

/// What became of an event: a line a function.
fn outcomes(event: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = String::new();
    for (name, member) in [("Event", "event_id"), ("Name", "event_name"), ("What", "text")] {
        // Writing to a string does not fail.
        let _written = writeln!(out, "{name:<10}{}", text(&event[member]));
    }
    let functions = event["functions"].as_array().map_or(&[][..], Vec::as_slice);
    let lines: Vec<(String, String)> =
        functions.iter().map(|function| (text(&function["function_slug"]), text(&function["text"]))).collect();
    if let Some(width) = lines.iter().map(|(name, _)| name.chars().count().max("FUNCTION".len())).max() {
        let _written = writeln!(out, "\n{:<width$}  WHAT", "FUNCTION");
        for (name, text) in lines {
            let _written = writeln!(out, "{name:<width$}  {text}");
        }
    }
    out
}

/// A job, as a line of the table.
struct Line {
    name: String,
    status: String,
    attempt: String,
    text: String,
}

fn table(explained: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = String::new();
    let head = [("Run", "run_id"), ("Function", "function_slug"), ("Status", "status"), ("Why", "text")];
    for (name, member) in head {
        // Writing to a string does not fail.
        let _written = writeln!(out, "{name:<10}{}", text(&explained[member]));
    }
    let jobs = explained["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let lines = jobs.iter().map(|job| Line {
        name: job["step"]["name"].as_str().map_or_else(|| text(&job["kind"]), plain),
        status: text(&job["status"]),
        attempt: job["attempt"].to_string(),
        text: text(&job["text"]),
    });
    let title = |text: &str| text.to_owned();
    let titles = Line { name: title("JOB"), status: title("STATUS"), attempt: title("ATTEMPT"), text: title("WHY") };
    let lines: Vec<Line> = std::iter::once(titles).chain(lines).collect();
    if lines.len() > 1 {
        let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX);
        out.push('\n');
        for Line { name, status, attempt, text } in lines {
            let _written = writeln!(out, "{name:<width$}  {status:<8}  {attempt:<7}  {text}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_told_function_by_function() {
        let event = json!({
            "event_id": "01M85QRDBHC70063SSP1V76AAN", "event_name": "order/paid", "text": "It matched 2 functions.",
            "functions": [
                { "function_slug": "shop-order", "text": "It started the run x (Running)." },
                { "function_slug": null, "text": "It was skipped." },
            ],
        });
        let expected = "\
Event     01M85QRDBHC70063SSP1V76AAN
Name      order/paid
What      It matched 2 functions.

FUNCTION    WHAT
shop-order  It started the run x (Running).
-           It was skipped.
";
        assert_eq!(outcomes(&event), expected);
    }

    #[test]
    fn people_get_a_table() {
        let explained = json!({
            "run_id": "01M85QRDBHC70063SSP1V76AAN", "function_slug": "shop-order", "status": "Running",
            "text": "It sleeps.",
            "jobs": [
                { "kind": "sleep", "step": { "id": "1", "name": "a long\u{1b}[2J nap" }, "attempt": 0,
                  "status": "Waiting", "text": "It sleeps." },
                { "kind": "start", "step": null, "attempt": 12, "status": "Queued", "text": "It is next." },
            ],
        });
        let expected = "\
Run       01M85QRDBHC70063SSP1V76AAN
Function  shop-order
Status    Running
Why       It sleeps.

JOB                     STATUS    ATTEMPT  WHY
a long\\u{1b}[2J nap  Waiting   0        It sleeps.
start                   Queued    12       It is next.
";
        let width = "a long\\u{1b}[2J nap".len();
        let expected = expected.replace("JOB                     ", &format!("{:<width$}  ", "JOB"));
        let expected = expected.replace("start                   ", &format!("{:<width$}  ", "start"));
        assert_eq!(table(&explained), expected);
        let ended =
            json!({ "run_id": "x", "function_slug": null, "status": "Completed", "text": "It has ended.", "jobs": [] });
        assert_eq!(table(&ended), "Run       x\nFunction  -\nStatus    Completed\nWhy       It has ended.\n");
    }
}
